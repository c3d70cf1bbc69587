/** Mistakes that users make, and what they must not cost. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { filesOf, type Home, mainOf, openHome, says, statusOf } from '../firn.js'
import { lookAt, makeFiles } from '../tree.js'

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
  const AWAY_EVERYWHERE = /is its disk mounted\?/g

  const PLACES = ['is not there', 'is an empty mount point', 'is another disk', 'is another vault of the same catalog'] as const
  for (const place of PLACES) {
    test(`and whose place ${place}: nothing is made, marked or removed, exit 75`, async () => {
      if (place !== 'is not there') mkdirSync(vault, { recursive: true })
      if (place === 'is another disk') writeFileSync(at.path('disk/other'), 'x')
      if (place === 'is another vault of the same catalog') {
        const other = { FIRN_VAULT_URL: `local:${at.path('other')}`, FIRN_VAULTS: `local:${vault}` }
        makeFiles(at.path('small'), 1)
        expect((await at.run('archive-files', ['-r', 'small'], other)).code).toBe(0)
        cpSync(at.path('other'), vault, { recursive: true })
      }
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
      expect(checked.summary).toMatchObject({ wrong: 0, vaults_away: 1 })
      const found = await at.run('find-and-retrieve', ['--path', at.path('tree'), '--to', at.path('back-of-nothing'), '--json'])
      expect(found.code).toBe(75)
      expect(found.stdout.match(AWAY_EVERYWHERE)).toHaveLength(1)
      expect(found.summary).toMatchObject({ files_restored: 0, files_failed: 5, exit_code: 75 })
      const rebuilt = await at.run('firn', ['rebuild-catalog', '--from', `local:${vault}`])
      expect([rebuilt.code, rebuilt.stderr]).toEqual([75, expect.stringMatching(AWAY)])
      expect(left()).toEqual(before)
    }, 120_000)
  }

  test('is as it was once it is mounted again', async () => {
    rmSync(vault, { recursive: true })
    renameSync(at.path('unmounted'), vault)
    expect((await at.run('firn', ['doctor'])).code).toBe(0)
    expect((await at.run('firn', ['check', '--read-data'])).code).toBe(0)
    expect((await at.run('find-and-retrieve', ['--all', '--to', at.path('back')])).code).toBe(0)
  }, 120_000)

  test('that lost only its note is taken over anew, and written again', async () => {
    rmSync(at.path('disk/firn-vault.json'))
    expect((await at.run('archive-files', ['-r', 'tree'])).code).toBe(75)
    expect((await at.run('firn', ['rebuild-catalog', '--from', `local:${vault}`, '--take-over'])).code).toBe(0)
    expect((await at.run('archive-files', ['-r', 'tree'])).code).toBe(0)
  }, 120_000)
})

test('what an away vault and another one hold just as it is comes from the other one', async () => {
  const at = openHome()
  try {
    makeFiles(at.path('tree'), 6)
    const vaults = ['one', 'two'].map((name) => `local:${at.path(name)}`)
    for (const vault of vaults) expect((await at.run('archive-files', ['-r', '--vault', vault, 'tree'])).code).toBe(0)
    writeFileSync(at.path('tree/new'), 'only in the second')
    expect((await at.run('archive-files', ['-r', '--vault', String(vaults[1]), 'tree'])).code).toBe(0)
    renameSync(at.path('two'), at.path('two-away'))
    const ran = await at.run('find-and-retrieve', ['--path', at.path('tree'), '--to', at.path('back'), '--json'])
    expect(ran.summary).toMatchObject({ files_matched: 7, files_restored: 6, files_failed: 1, exit_code: 75 })
    expect(ran.stdout.match(/is its disk mounted/g)).toHaveLength(1)
    const had = lookAt(at.path('tree'), { directories: false })
    had.delete('new')
    expect(lookAt(at.path('back', at.path('tree')), { directories: false })).toEqual(had)
    renameSync(at.path('two-away'), at.path('two'))
    const rest = await at.run('find-and-retrieve', ['--path', at.path('tree'), '--to', at.path('back'), '--json'])
    expect(rest.code).toBe(0)
    expect(lookAt(at.path('back', at.path('tree')), { directories: false })).toEqual(
      lookAt(at.path('tree'), { directories: false }),
    )
  } finally {
    at.dispose()
  }
}, 120_000)

test('a new vault is made only below a directory that is there; what is no vault is not rebuilt from', async () => {
  const at = openHome()
  try {
    makeFiles(at.path('tree'), 2)
    const deep = await at.run('archive-files', ['-r', '--vault', `local:${at.path('mnt/usb/vault')}`, 'tree'])
    expect([deep.code, deep.stderr]).toEqual([
      2,
      expect.stringMatching(/there is no directory .*\/mnt\/usb\. Is a disk not mounted\?/),
    ])
    expect(existsSync(at.path('mnt'))).toBe(false)
    mkdirSync(at.path('mnt/usb'), { recursive: true })
    for (const place of ['nowhere', 'mnt', 'tree']) {
      for (const more of [[], ['--take-over']]) {
        const rebuilt = await at.run('firn', ['rebuild-catalog', '--from', `local:${at.path(place)}`, ...more])
        expect([rebuilt.code, rebuilt.stderr]).toEqual([2, expect.stringMatching(/is no vault of Firn's/)])
      }
    }
    expect(existsSync(at.path('nowhere'))).toBe(false)
    expect(readdirSync(at.path('mnt/usb'))).toEqual([])
  } finally {
    at.dispose()
  }
}, 120_000)

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
}, 120_000)

describe('a run that was stopped, and another command after it', () => {
  let at: Home
  const sets: string[] = []
  /** `-r large` with bundles of one file, stopped after some of them; returns the id of its set. */
  async function stopped(...more: string[]): Promise<string> {
    const running = at.start('archive-files', ['-r', '--debug', '--files-per-bundle', '1', ...more, 'large'])
    await says(running, 'bundle stored')
    running.kill('SIGINT')
    expect((await running.ended).code).toBe(130)
    const [set] = (await statusOf(at)).sets
    return String(set?.['set_id'])
  }
  const stateOf = async (id: string) => (await statusOf(at)).sets.find(({ set_id }) => set_id === id)
  const listOf = async (id: string) => filesOf(await at.run('find-and-retrieve', ['--set', id, '-l', '--json'])).length

  beforeAll(() => {
    at = openHome()
    makeFiles(at.path('large'), 400, { bytes: 20_000 })
    makeFiles(at.path('small'), 3)
  })
  afterAll(() => at.dispose())

  test.each([
    ['of other roots', ['-r', 'small']],
    ['with an exclusion', ['-r', '--exclude', 'd0', '--files-per-bundle', '1', 'large']],
    ['with other tags', ['-r', '-t', 'x', '--files-per-bundle', '1', 'large']],
    ['with a description', ['-r', '-s', 'x', '--files-per-bundle', '1', 'large']],
  ])(
    '%s leaves it alone, and says what can be done with it',
    async (_what, args) => {
      if (sets[0] === undefined) sets.push(await stopped('-x', '0'))
      const [id] = sets as [string]
      const before = await stateOf(id)
      const other = await at.run('archive-files', args)
      expect(other.code).toBe(0)
      const lines = other.stderr.split('\n').filter((line) => line.includes(id))
      expect(lines).toEqual([expect.stringContaining(`\`firn resume ${id}\``)])
      expect(lines[0]).toContain(`\`firn cancel ${id}\``)
      expect(await stateOf(id)).toEqual(before)
    },
    120_000,
  )

  test('the same command again finishes it, also with an age in days', async () => {
    const [id] = sets as [string]
    const again = await at.run('archive-files', ['-r', '--files-per-bundle', '1', '-x', '0', 'large'])
    expect([again.code, again.stderr]).toEqual([0, expect.stringContaining(`finishing set ${id} of an interrupted run`)])
    expect(await stateOf(id)).toMatchObject({ state: 'archived' })
  }, 120_000)

  test('resume finishes it, with its own options, and its problems count', async () => {
    const id = await stopped('--force')
    execFileSync('mkfifo', [at.path('large/pipe')]) // before it is crawled again: special files are skipped, exit 3
    const resumed = await at.run('firn', ['resume', id, '--json'])
    const { files_found, files_archived, files_skipped } = resumed.summary
    expect(resumed.summary).toMatchObject({ set_id: id, exit_code: resumed.code })
    expect(files_archived).toBe(400)
    expect([files_found, files_skipped, resumed.code]).toEqual(files_skipped === 1 ? [401, 1, 3] : [400, 0, 0])
    rmSync(at.path('large/pipe'))
    expect(await stateOf(id)).toMatchObject({ state: files_skipped === 1 ? 'partial' : 'archived' })
    const over = await at.run('firn', ['resume', id])
    expect([over.code, over.stderr]).toEqual([2, expect.stringMatching(/there is nothing to resume/)])
  }, 120_000)

  test('cancel ends it: what is stored stays and can be found, the rest is never archived; it may be repeated', async () => {
    const id = await stopped('--force')
    const stored = await listOf(id)
    expect(stored).toBeGreaterThan(0)
    for (let times = 0; times < 2; times++) expect((await at.run('firn', ['cancel', id])).code).toBe(0)
    expect(await stateOf(id)).toMatchObject({ state: 'cancelled', reason: expect.stringMatching(/^cancelled by \S+@/) })
    const next = await at.run('archive-files', ['-r', '--force', '--files-per-bundle', '1', 'large', '--json'])
    expect([next.code, next.stderr]).toEqual([0, expect.not.stringContaining(id)])
    expect(await listOf(id)).toBe(stored)
    const resumed = await at.run('firn', ['resume', id])
    expect([resumed.code, resumed.stderr]).toEqual([2, expect.stringMatching(/is cancelled/)])
    const back = await at.run('find-and-retrieve', ['--set', id, '--to', at.path('back'), '--json'])
    expect(back.summary).toMatchObject({ files_restored: stored, exit_code: 0 })
    const checked = await at.run('firn', ['check', '--json'])
    // An attempt that had come to its end in the vault, and not in the catalog, is named.
    const wrong = checked.messages.filter((message) => message['message_type'] === 'problem' && message['kind'] !== 'unknown')
    expect(wrong).toEqual([])
  }, 120_000)

  test('cancel stops one that another process works at, which says so and ends with 1', async () => {
    const running = at.start('archive-files', ['-r', '--debug', '--force', '--json', '--files-per-bundle', '1', 'large'])
    await says(running, 'bundle stored')
    const id = String((await statusOf(at)).sets.find(({ state }) => state === 'crawling' || state === 'archiving')?.['set_id'])
    expect((await at.run('firn', ['cancel', id])).code).toBe(0)
    const ran = await running.ended
    expect(ran.code).toBe(1)
    expect(ran.summary).toMatchObject({ set_id: id, exit_code: 1 })
    expect(ran.stdout).toMatch(/was cancelled \(cancelled by \S+\): what is stored stays/)
    expect(await listOf(id)).toBe(ran.summary['files_archived'])
    expect(ran.summary['files_archived']).toBeLessThan(400)
  }, 120_000)

  test('what cannot be resumed or cancelled is said', async () => {
    const unknown = '00000000-0000-4000-8000-000000000000'
    expect((await at.run('firn', ['resume', unknown])).code).toBe(4)
    expect((await at.run('firn', ['cancel', unknown])).code).toBe(4)
    const [last] = (await statusOf(at)).sets.filter(({ state }) => state === 'archived')
    const over = await at.run('firn', ['cancel', String(last?.['set_id'])])
    expect([over.code, over.stderr]).toEqual([2, expect.stringMatching(/there is nothing to cancel/)])
    const nothing = await at.run('firn', ['resume'])
    expect([nothing.code, nothing.stderr]).toEqual([0, 'nothing of this host was interrupted\n'])
  }, 120_000)
})

describe('a root that is asked for', () => {
  let at: Home
  beforeAll(() => {
    at = openHome()
    makeFiles(at.path('tree/a'), 2)
    makeFiles(at.path('tree/node_modules'), 2)
    makeFiles(at.path('elsewhere/sub'), 2)
    symlinkSync(at.path('elsewhere'), at.path('tree/link'))
  })
  afterAll(() => at.dispose())

  const archive = (...args: string[]) => at.run('archive-files', ['-r', '--force', '--json', ...args])
  /** What a set holds below the scratch directory. */
  const heldBy = async ({ summary }: Awaited<ReturnType<typeof archive>>) => {
    const list = await at.run('find-and-retrieve', ['--set', String(summary['set_id']), '-l', '--json'])
    return filesOf(list).map(({ path }) => String(path).slice(at.directory.length + 1))
  }

  test('is archived though it is excluded below another', async () => {
    const ran = await archive('--exclude', 'node_modules', 'tree', 'tree/node_modules')
    expect(ran.code).toBe(0)
    expect((await heldBy(ran)).filter((path) => path.startsWith('tree/node_modules/'))).toHaveLength(2)
    expect(ran.summary).toMatchObject({ files_found: 5, files_archived: 5 })
    const alone = await archive('--exclude', 'node_modules', 'tree')
    expect((await heldBy(alone)).filter((path) => path.includes('node_modules'))).toEqual([])
  })

  test('behind a symlink that is archived itself is refused, and nothing is archived', async () => {
    const ran = await archive('tree', 'tree/link/sub')
    expect([ran.code, ran.stdout]).toEqual([2, expect.stringMatching(/lies behind .*tree\/link, a symlink/)])
    expect((await archive('tree', 'elsewhere/sub')).code).toBe(0)
    expect(await heldBy(await archive('tree/link/sub'))).toHaveLength(2)
  })

  test('that is FIRN_HOME, the restore directory or a vault is refused', async () => {
    mkdirSync(at.path('restored'))
    const own = { FIRN_RESTORE_DIR: at.path('restored') }
    for (const [root, env] of [
      [at.path('home'), {}],
      [at.path('restored'), own],
      [`${at.path('home')}/vault`, {}],
    ] as const) {
      const ran = await at.run('archive-files', ['-r', root], env)
      expect([ran.code, ran.stderr]).toEqual([2, expect.stringMatching(/is where Firn keeps its own/)])
    }
  })

  test('is its bytes, as typed, and so is a path that is asked back', async () => {
    const bytes = Buffer.concat([Buffer.from(`${at.path('caf')}`), Buffer.from([0xe9])])
    const twin = `${at.path('caf')}\uFFFD`
    mkdirSync(bytes)
    mkdirSync(twin)
    writeFileSync(Buffer.concat([bytes, Buffer.from('/real')]), 'real')
    writeFileSync(`${twin}/twin`, 'twin')
    const main = mainOf('archive-files')
    // Only a shell gives a command such bytes.
    const sh = (script: string) =>
      execFileSync('sh', ['-c', script, 'sh', process.execPath, main, mainOf('find-and-retrieve')], {
        cwd: at.directory,
        env: at.env,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      })
    const removed = sh(`exec "$1" "$2" -r --json --delete-after-archive --yes "$(printf 'caf\\351')"`)
    expect(removed).toContain('"files_archived":1')
    expect(readdirSync(twin)).toEqual(['twin'])
    expect(readdirSync(bytes)).toEqual([])
    sh(`exec "$1" "$3" --path "$(printf 'caf\\351')" --to "$(printf 'b\\351ck')"`)
    const back = Buffer.concat([Buffer.from(at.path('b')), Buffer.from([0xe9]), Buffer.from('ck'), bytes, Buffer.from('/real')])
    expect(readFileSync(back, 'utf8')).toBe('real')
  })
})
