/** The commands that keep an archive in order, on the embedded default: each says one line that its reader looks for. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { filesOf, type Home, openHome, statusOf, until } from '../firn.js'
import { lookAt, makeFiles } from '../tree.js'

describe('an archive of three bundles', () => {
  let at: Home
  beforeAll(async () => {
    at = openHome({ FIRN_WORKERS: '2' })
    makeFiles(at.path('tree'), 30)
    expect((await at.run('archive-files', ['-r', '--files-per-bundle', '10', 'tree'])).code).toBe(0)
  })
  afterAll(() => at.dispose())

  test('is looked over by the doctor, who finds nothing failed', async () => {
    const ran = await at.run('firn', ['doctor'])
    expect(ran.code).toBe(0)
    expect(ran.stdout).toMatch(/^ok {6}catalog: embedded, 30 files in 3 bundles, /m)
    expect(ran.stdout).toMatch(/^ok {6}search index: up to date$/m)
    expect(ran.stdout).toContain(`ok      vault: local:${at.home}/vault can be written\n`)
    expect(ran.stdout).not.toContain('FAILED')
  })

  test('of which a part is missing is not passed by the doctor: exit 1', async () => {
    const ran = await at.run('firn', ['doctor'], { FIRN_VAULT_URL: 'local:/dev/null/x' })
    expect(ran.code).toBe(1)
    expect(ran.stdout).toMatch(/^FAILED {2}vault: The vault local:\/dev\/null\/x cannot be used/m)
    expect(ran.stdout.match(/^FAILED/gm)).toHaveLength(1)
  })

  test('has settings, each from somewhere', async () => {
    const ran = await at.run('firn', ['config', '--origin'])
    expect(ran.code).toBe(0)
    const lines = ran.stdout.trimEnd().split('\n')
    expect(lines).toContain(`FIRN_HOME=${at.home}\tFIRN_HOME`)
    expect(lines).toContain('FIRN_WORKERS=2\tFIRN_WORKERS')
    expect(lines).toContain('FIRN_DATABASE_URL=embedded:\tdefault')
  })

  test('is found in an index that was made again', async () => {
    const ran = await at.run('firn', ['reindex'])
    expect(ran.code).toBe(0)
    expect(ran.stderr).toBe('indexed 3 bundles\n')
    expect(filesOf(await at.run('find-and-retrieve', ['-s', 'file', '-l', '--json']))).toHaveLength(30)
  })

  test('is checked in parts, each bundle in one of them', async () => {
    const parts = [await at.run('firn', ['check', '--subset', '1/2']), await at.run('firn', ['check', '--subset', '2/2'])]
    expect(parts.map(({ code }) => code)).toEqual([0, 0])
    const checked = parts.map(({ stderr }) => Number(/^checked (\d) bundles?: all is well$/m.exec(stderr)?.[1]))
    expect(checked.reduce((sum, bundles) => sum + bundles)).toBe(3)
    expect((await at.run('firn', ['check', '--subset', '3/2'])).code).toBe(2)
  })

  test('has the newest tables already', async () => {
    const ran = await at.run('firn', ['migrate'])
    expect(ran.code).toBe(0)
    expect(ran.stderr).toBe('the database is up to date\n')
  })

  test('is served by `firn up`, which completes what was asked for with --detach, until it is stopped', async () => {
    const up = at.start('firn', ['up'])
    const asked = await at.run('find-and-retrieve', ['--all', '--detach', '--json'])
    expect(asked.code).toBe(0)
    const id = asked.summary['retrieval_id'] as string
    await until(async () => (await statusOf(at)).retrievals.some((one) => one['retrieval_id'] === id && one['state'] === 'done'))
    up.kill('SIGTERM')
    expect((await up.ended).code).toBe(143)
    expect(lookAt(at.path('home', 'restore', id, at.path('tree')))).toEqual(lookAt(at.path('tree')))
  }, 90_000)

  test('remembers who asked for what, who removed what, and who took a vault over', async () => {
    const vault = `local:${at.home}/vault`
    expect((await at.run('firn', ['rebuild-catalog', '--from', vault, '--take-over'])).code).toBe(0)
    expect((await at.run('archive-files', ['-r', '--delete-after-archive', '--yes', 'tree'])).code).toBe(0)
    const status = await at.run('firn', ['status', '--json'])
    const audits = status.messages.filter(({ message_type }) => message_type === 'audit')
    const by = expect.stringMatching(/^[^@]+@[^@]+$/)
    const { bytes } = audits.find(({ kind }) => kind === 'retrieval') ?? {}
    expect(bytes).toBeGreaterThan(0)
    expect(audits).toEqual([
      expect.objectContaining({ kind: 'deletion', by, files: 30, bytes, detail: expect.objectContaining({ vault }) }),
      expect.objectContaining({ kind: 'take-over', by, subject: vault }),
      expect.objectContaining({ kind: 'retrieval', by, files: 30, bytes, usd: 0 }),
    ])
    const { stdout } = await at.run('firn', ['status'])
    expect(stdout.match(/^audit {2}.*@\S+ (took over|retrieved|removed).*$/gm)).toHaveLength(3)
  }, 90_000)
})
