/**
 * Tests that read what Firn wrote with other people's tools. `npm test` needs npm alone, so there a tool that the machine lacks skips
 * its tests by name; in the tier with services (FIRN_TEST_SERVICES=1), which installs the tools, a missing one fails.
 */
import { spawnSync } from 'node:child_process'
import { describe, test } from '@jest/globals'

const demanded = process.env['FIRN_TEST_SERVICES'] === '1'

/** `describe`, if every tool is there (or must be). */
export function describeWith(tools: readonly string[], name: string, tests: () => void): void {
  const missing = tools.filter((tool) => spawnSync(tool, ['--version']).error !== undefined)
  if (missing.length === 0 || demanded) describe(name, tests)
  else describe.skip(`${name} (skipped: no ${missing.join(', ')} on this machine)`, tests)
}

/** `describe` with the address of a real server, which `npm run test:services` starts and names in a variable of the environment. */
export function describeWithServer(variable: string, name: string, tests: (url: string) => void): void {
  const url = process.env[variable]
  if (url) describe(name, () => tests(url))
  else if (demanded) {
    describe(name, () => {
      test('has its server', () => void serverUrl(variable))
    })
  } else describe.skip(`${name} (skipped: npm run test:services starts its server)`, () => tests('none:'))
}

/** The address of a further server that a suite needs. */
export function serverUrl(variable: string): string {
  const url = process.env[variable]
  if (!url) throw new Error(`${variable} is not set: the tier with services must start this server`)
  return url
}
