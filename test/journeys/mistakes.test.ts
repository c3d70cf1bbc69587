/** Mistakes that users make, and what they must not cost. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { type Home, openHome } from '../firn.js'
import { makeFiles } from '../tree.js'

describe('a vault whose disk is not mounted', () => {
  let at: Home
  let vault: string

  beforeAll(async () => {
    at = openHome()
    vault = at.path('disk')
    at.env['FIRN_VAULT_URL'] = `local:${vault}`
    makeFiles(at.path('tree'), 5)
    expect((await at.run('archive-files', ['-r', 'tree'])).code).toBe(0)
    renameSync(vault, at.path('unmounted'))
  })
  afterAll(() => at.dispose())

  const left = () => [existsSync(vault) ? readdirSync(vault) : undefined, readdirSync(at.path('tree')).length]
  const AWAY = /is its disk mounted\?/

  for (const place of ['is not there', 'is an empty mount point', 'is another disk'] as const) {
    test(`and whose place ${place}: nothing is made, marked or removed, exit 75`, async () => {
      if (place !== 'is not there') mkdirSync(vault, { recursive: true })
      if (place === 'is another disk') writeFileSync(at.path('disk/other'), 'x')
      const before = left()
      writeFileSync(at.path('tree/new'), place)
      const archived = await at.run('archive-files', ['-r', '--delete-after-archive', '--yes', 'tree'])
      expect(archived).toMatchObject({ code: 75, stderr: expect.stringMatching(AWAY) })
      rmSync(at.path('tree/new'))
      const doctor = await at.run('firn', ['doctor'])
      expect([doctor.code, doctor.stdout + doctor.stderr]).toEqual([1, expect.stringMatching(AWAY)])
      const checked = await at.run('firn', ['check', '--json'])
      expect(checked.code).toBe(75)
      expect(checked.stderr).not.toContain('all is well')
      expect(checked.summary).toMatchObject({ bundles: 0, wrong: 0, vaults_away: 1 })
      expect(left()).toEqual(before)
    }, 60_000)
  }

  test('is as it was once it is mounted again', async () => {
    rmSync(vault, { recursive: true })
    renameSync(at.path('unmounted'), vault)
    expect((await at.run('firn', ['doctor'])).code).toBe(0)
    expect((await at.run('firn', ['check', '--read-data'])).code).toBe(0)
    expect((await at.run('find-and-retrieve', ['--all', '--to', at.path('back')])).code).toBe(0)
  }, 60_000)

  test('that lost only its note is taken over anew, and written again', async () => {
    rmSync(at.path('disk/firn-vault.json'))
    expect((await at.run('archive-files', ['-r', 'tree'])).code).toBe(75)
    expect((await at.run('firn', ['rebuild-catalog', '--from', `local:${vault}`, '--take-over'])).code).toBe(0)
    expect((await at.run('archive-files', ['-r', 'tree'])).code).toBe(0)
  }, 60_000)
})

test('doctor makes nothing: of a vault that is not there yet it says so', async () => {
  const at = openHome()
  try {
    at.env['FIRN_VAULT_URL'] = `local:${at.path('new')}`
    const doctor = await at.run('firn', ['doctor'])
    expect([doctor.code, doctor.stdout + doctor.stderr]).toEqual([0, expect.stringMatching(/is not there yet/)])
    expect(existsSync(at.path('new'))).toBe(false)
  } finally {
    at.dispose()
  }
}, 60_000)
