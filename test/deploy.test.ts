/** What deploy/ and the docs say in two places says the same in both. */
import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'

const text = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('the SQL of the roles in docs/deployment.md is that of deploy/postgres/roles.sql', () => {
  expect(/```sql\n([\s\S]*?)```/.exec(text('docs/deployment.md'))?.[1]).toBe(text('deploy/postgres/roles.sql'))
})

test('no password stands in a command, an entrypoint or a health check of the compose file', () => {
  const arguments_ = text('docker-compose.yml')
    .split('\n')
    .filter((line) => /^\s*(command|entrypoint|test):|^\s+\[?(sh, |CMD|'?(curl|printf))/.test(line))
  expect(arguments_.length).toBeGreaterThan(10)
  // `$$` is the container's own environment, which the shell reads.
  expect(arguments_.filter((line) => /(?<!\$)\$\{?\w*(PASSWORD|SECRET|KEY)/.test(line))).toEqual([])
})
