/** What npm installs is what was looked at: each package of the lock file has its hash. */
import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'

test('every package of package-lock.json has its integrity', () => {
  const { packages } = JSON.parse(readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8')) as {
    packages: Record<string, { link?: boolean; integrity?: string }>
  }
  const lacking = Object.entries(packages).filter(
    ([at, { link, integrity = '' }]) => at !== '' && !link && !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity),
  )
  expect(lacking.map(([at]) => at)).toEqual([])
  expect(Object.keys(packages).length).toBeGreaterThan(100)
})
