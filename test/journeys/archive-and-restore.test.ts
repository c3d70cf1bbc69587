/** A tree goes away and comes back: the main job, as whole processes, on the embedded default and on servers. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { filesOf, mainOf, openHome, statusOf } from '../firn.js'
import { describeInBothModes, type Installation } from '../modes.js'
import { describeWith } from '../tools.js'
import { lookAt, makeFiles, setAge } from '../tree.js'

describeInBothModes('a tree archived and restored', (open) => {
  let at: Installation
  let tree: string
  beforeAll(async () => {
    at = await open()
    tree = at.path('tree')
    makeFiles(tree, 2_500)
    mkdirSync(join(tree, 'empty'))
    mkdirSync(join(tree, 'closed'), { mode: 0o500 })
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/not-utf8-`), Buffer.from([0xff, 0xfe])]), 'one')
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/not-utf8-`), Buffer.from([0xff, 0xfd])]), 'two')
    writeFileSync(join(tree, 'new\nline'), 'a name with a newline')
    symlinkSync('nowhere/at/all', join(tree, 'dangling'))
    symlinkSync('dir-0/file-0.txt', join(tree, 'link'))
    writeFileSync(join(tree, 'first-name'), 'several names')
    linkSync(join(tree, 'first-name'), join(tree, 'second-name'))
    linkSync(join(tree, 'first-name'), join(tree, 'dir-1', 'third-name'))
    chmodSync(join(tree, 'dir-2', 'file-100.txt'), 0o4751)
    utimesSync(join(tree, 'dir-3'), 1, 2)
  })
  afterAll(() => at.dispose())

  test('every file is archived, in bundles within the limits (G-1, G-3, G-20)', async () => {
    const before = lookAt(tree)
    const ran = await at.run('archive-files', ['-r', '--json', '-s', 'the first run', '-t', 'alpha, beta,,', 'tree'])
    expect(ran.stderr).toBe('')
    expect(ran.code).toBe(0)
    const files = [...before.values()].filter(({ type }) => type !== 'directory').length
    expect(ran.summary).toMatchObject({
      files_found: files,
      files_archived: files,
      files_unchanged: 0,
      files_skipped: 0,
      files_failed: 0,
      bundles: 3,
      exit_code: 0,
    })
    expect(lookAt(tree)).toEqual(before)
  })

  test('a second run finds everything unchanged', async () => {
    const ran = await at.run('archive-files', ['-r', '--json', 'tree'])
    expect(ran.code).toBe(0)
    expect(ran.summary).toMatchObject({ files_archived: 0, bundles: 0, bytes: 0 })
    expect(ran.summary['files_unchanged']).toBe(ran.summary['files_found'])
  })

  test('a changed file travels again, a chmod sends no bytes', async () => {
    writeFileSync(join(tree, 'dir-4', 'file-200.txt'), 'changed')
    chmodSync(join(tree, 'dir-5', 'file-250.txt'), 0o600)
    const ran = await at.run('archive-files', ['-r', '--json', '-t', 'second', 'tree'])
    expect(ran.code).toBe(0)
    expect(ran.summary).toMatchObject({ files_archived: 2, bundles: 1 })
  })

  test('everything comes back as it was', async () => {
    const ran = await at.run('find-and-retrieve', ['--all', '--setuid', '--json', '--to', at.path('back')])
    expect(ran.stderr).toBe('')
    expect(ran.code).toBe(0)
    const back = lookAt(join(at.path('back'), tree))
    expect(back).toEqual(lookAt(tree))
    const inode = (path: string) => statSync(join(at.path('back'), tree, path)).ino
    expect(inode('second-name')).toBe(inode('first-name'))
    expect(inode('dir-1/third-name')).toBe(inode('first-name'))
    expect(readdirSync(at.path('back')).filter((name) => name.startsWith('.firn'))).toEqual([])
  })

  test('setuid comes back only when it is asked for', async () => {
    const path = join(tree, 'dir-2', 'file-100.txt')
    const ran = await at.run('find-and-retrieve', ['--path', path, '--to', at.path('plain')])
    expect(ran.code).toBe(0)
    expect(statSync(join(at.path('plain'), path)).mode & 0o7777).toBe(0o751)
  })

  test('one file out of a bundle, by its path (G-15)', async () => {
    const path = join(tree, 'dir-7', 'file-355.txt')
    const ran = await at.run('find-and-retrieve', ['--path', path, '--to', at.path('one'), '--json'])
    expect(ran.code).toBe(0)
    expect(ran.summary).toMatchObject({ files_matched: 1, files_restored: 1, files_failed: 0, exit_code: 0 })
    expect(lookAt(at.path('one'), { directories: false }).size).toBe(1)
    expect(statSync(join(at.path('one'), path), { bigint: true }).mtimeNs).toBe(statSync(path, { bigint: true }).mtimeNs)
  })

  test('search takes words of path, tags and description, phrases and exclusions (G-10)', async () => {
    const count = async (query: string) => {
      const ran = await at.run('find-and-retrieve', ['-s', query, '-l', '--json'])
      return filesOf(ran).length
    }
    expect(await count('third name')).toBe(1)
    expect(await count('"file 355"')).toBe(1)
    expect(await count('alpha "file 355" first')).toBe(1)
    expect(await count('"file 355" -beta')).toBe(0)
    expect(await count('"dir 7" file')).toBe(50)
    expect(await count('second file')).toBe(2)
  })

  test('a hit names file, size, time, set, bundle and vault (G-7)', async () => {
    const path = join(tree, 'dir-4', 'file-200.txt')
    const ran = await at.run('find-and-retrieve', ['--path', path, '-l', '--json'])
    expect(ran.messages[0]).toMatchObject({ message_type: 'file', host: 'testhost', path, type: 'file', size: 7 })
    expect(Object.keys(ran.messages[0] ?? {})).toEqual(
      expect.arrayContaining(['mtime_ns', 'sha256', 'set_id', 'bundle_id', 'vault', 'archive_id']),
    )
    const versions = await at.run('find-and-retrieve', ['--path', path, '-l', '--json', '--all-versions'])
    expect(filesOf(versions)).toHaveLength(2)
  })

  test('the dry run prints CSV, a line for each archive, and asks for nothing (G-11)', async () => {
    const ran = await at.run('find-and-retrieve', ['-s', 'file', '-r'])
    expect(ran.code).toBe(0)
    const lines = ran.stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(4)
    for (const line of lines) {
      expect(line.startsWith(`${at.vault.id},`)).toBe(true)
      expect(line.split(',')[1]).toMatch(/^\d{4}\/\d{2}\/[-0-9a-f]{36}\/[-0-9a-f]{36}\.\d+\.tar$/)
    }
    const archiveId = lines[0]?.split(',')[1] as string
    const by = await at.run('find-and-retrieve', ['-a', archiveId, '-r'])
    expect(by.stdout.trimEnd()).toBe(lines[0])
  })

  test('by its id, what one archive holds comes back and no more (G-13)', async () => {
    const csv = await at.run('find-and-retrieve', ['-s', '"file 355"', '-r'])
    const id = csv.stdout.trimEnd().split(',')[1] as string
    const held = filesOf(await at.run('find-and-retrieve', ['-a', id, '-l', '--json']))
    const ran = await at.run('find-and-retrieve', ['-a', id, '--setuid', '--to', at.path('by-id'), '--json'])
    expect(ran.code).toBe(0)
    expect(ran.summary).toMatchObject({ files_matched: held.length, files_restored: held.length, files_failed: 0 })
    const back = [...lookAt(join(at.path('by-id'), tree), { directories: false }).values()]
    const contents = (files: readonly { sha256?: unknown }[]) => files.map(({ sha256 }) => String(sha256)).sort()
    expect(contents(back)).toEqual(contents(held))
  })

  test('nothing selected is refused, what is unknown matches nothing: no retrieval is made (G-12, G-13)', async () => {
    const { retrievals } = await statusOf(at)
    expect((await at.run('find-and-retrieve', [])).code).toBe(2)
    for (const selection of [
      ['-a', 'unknown'],
      ['-s', 'nothing-is-called-so'],
    ]) {
      const ran = await at.run('find-and-retrieve', [...selection, '--to', at.path('none')])
      expect([ran.code, ran.stderr]).toEqual([4, 'nothing matched\n'])
    }
    expect(existsSync(at.path('none'))).toBe(false)
    expect((await statusOf(at)).retrievals).toEqual(retrievals)
  })

  test('a check with reading finds nothing wrong', async () => {
    const ran = await at.run('firn', ['check', '--read-data'])
    expect(ran.code).toBe(0)
  })

  test('the catalog is rebuilt from the manifests alone, and the next run finds everything unchanged (G-23)', async () => {
    const list = async (selection: readonly string[], env = {}) => {
      const ran = await at.run('find-and-retrieve', [...selection, '-l', '--json'], env)
      return filesOf(ran)
        .map((message) => JSON.stringify(message))
        .sort()
    }
    const all = ['--all', '--all-versions']
    const words = ['-s', 'beta "first run" "dir 7" file -351']
    const before = await list(all)
    const found = await list(words)
    expect(found).toHaveLength(49)
    const fresh = await at.elsewhere()
    expect((await at.run('firn', ['rebuild-catalog', '--from', at.vault.url], fresh)).code).toBe(0)
    expect(await list(all, fresh)).toEqual(before)
    expect(await list(words, fresh)).toEqual(found)
    expect((await at.run('archive-files', ['-r', 'tree'], fresh)).code).toBe(2)
    expect((await at.run('firn', ['rebuild-catalog', '--from', at.vault.url, '--take-over'], fresh)).code).toBe(0)
    const again = await at.run('archive-files', ['-r', '--json', 'tree'], fresh)
    expect(again.code).toBe(0)
    expect(again.summary).toMatchObject({ files_archived: 0, bundles: 0 })
  })
})

describeInBothModes('what is chosen and what is not', (open) => {
  let at: Installation
  beforeAll(async () => {
    at = await open()
  })
  afterAll(() => at.dispose())

  test('ten 10 kB files and a limit of 5 kB make ten bundles (G-2)', async () => {
    makeFiles(at.path('ten'), 10, { bytes: 10_000 })
    const ran = await at.run('archive-files', ['-r', '--json', '--bundle-size', '5kB', 'ten'])
    expect(ran.summary).toMatchObject({ bundles: 10, files_archived: 10, bytes: 100_000 })
  })

  test('--older-than and --newer-than choose by age (G-4)', async () => {
    makeFiles(at.path('ages'), 3)
    for (const [i, days] of [1, 10, 100].entries()) setAge(at.path('ages', 'dir-0', `file-${i}.txt`), days)
    const args = ['-r', '-x', '5', '-z', '50', '--time', 'mtime', 'ages']
    const dry = await at.run('archive-files', ['-n', ...args])
    expect(dry.code).toBe(0)
    expect(dry.stdout).toMatch(/1 file/)
    const ran = await at.run('archive-files', ['--json', ...args])
    expect(ran.summary).toMatchObject({ files_archived: 1 })
    const list = await at.run('find-and-retrieve', ['--path', at.path('ages'), '-l', '--json'])
    expect(filesOf(list).map(({ path }) => path)).toEqual([at.path('ages', 'dir-0', 'file-1.txt')])
  })

  test('a dry run prints each bundle with its files and bytes, stores nothing and records no set (G-5)', async () => {
    makeFiles(at.path('dry'), 25)
    const { sets } = await statusOf(at)
    const vault = ['--vault', `local:${at.path('unused')}`]
    const ran = await at.run('archive-files', ['-r', '-n', '--files-per-bundle', '10', ...vault, 'dry'])
    expect(ran.code).toBe(0)
    expect(ran.stdout.split('\n').map((line) => line.replace(/, from .*/, ''))).toEqual([
      'bundle 1: 10 files, 1000 bytes',
      'bundle 2: 10 files, 1000 bytes',
      'bundle 3: 5 files, 500 bytes',
      'total: 3 bundles, 25 files, 2500 bytes; 0 files unchanged',
      '',
    ])
    expect(existsSync(at.path('unused'))).toBe(false)
    expect((await statusOf(at)).sets).toEqual(sets)
    expect((await at.run('find-and-retrieve', ['--path', at.path('dry'), '-l'])).code).toBe(4)
  })

  test('a single file as path makes one bundle (G-6)', async () => {
    writeFileSync(at.path('single.txt'), 'alone')
    const ran = await at.run('archive-files', ['--json', 'single.txt'])
    expect(ran.summary).toMatchObject({ bundles: 1, files_archived: 1 })
  })

  test('FIRN_HOME below a root is left out', async () => {
    const ran = await at.run('archive-files', ['-r', '--json', '.'])
    expect(ran.code).toBe(0)
    const list = await at.run('find-and-retrieve', ['--path', at.home, '-l'])
    expect(list.code).toBe(4)
  })

  test('a vault and a restore directory below a root are left out, which is said once of each', async () => {
    const root = at.path('with-own')
    makeFiles(root, 5)
    mkdirSync(join(root, 'kept'))
    const own = { FIRN_VAULT_URL: at.further, FIRN_RESTORE_DIR: `${root}/kept/restore` }
    expect((await at.run('archive-files', ['-r', 'with-own/dir-0'], own)).code).toBe(0)
    expect((await at.run('find-and-retrieve', ['--path', `${root}/dir-0/file-0.txt`], own)).code).toBe(0)
    expect(readdirSync(join(root, 'kept')).sort()).toEqual(['restore', 'vault'])
    for (const args of [['-n'], ['--force']]) {
      const ran = await at.run('archive-files', ['-r', ...args, 'with-own'], own)
      expect(ran.code).toBe(0)
      const said = ran.stderr.split('\n').filter((line) => line.startsWith('left out '))
      expect(said.sort()).toEqual(['restore', 'vault'].map((name) => `left out ${root}/kept/${name}, where Firn keeps its own`))
    }
    expect((await at.run('find-and-retrieve', ['--path', join(root, 'kept'), '-l'], own)).code).toBe(4)
    expect(filesOf(await at.run('find-and-retrieve', ['--path', root, '-l', '--json'], own))).toHaveLength(5)
  })

  const [noatime, reason] =
    constants.O_NOATIME === undefined ? [test.skip, ' (skipped: this system has no O_NOATIME)'] : [test, '']
  noatime(`reading moves no time of a source (G-8)${reason}`, async () => {
    makeFiles(at.path('read'), 60)
    const below = readdirSync(at.path('read'), { recursive: true, encoding: 'utf8' }).map((name) => at.path('read', name))
    // Older than the mtime: such an atime is moved by the first plain read on every file system that keeps atimes at all.
    for (const path of below) utimesSync(path, 1_000_000_000, 1_100_000_000)
    const times = () => below.map((path) => [path, lstatSync(path).atimeMs, lstatSync(path).mtimeMs])
    const before = times()
    expect((await at.run('archive-files', ['-r', '-f', 'read'])).code).toBe(0)
    expect(times()).toEqual(before)
  })

  test('--delete-after-archive removes what is stored, and nothing else (G-24)', async () => {
    makeFiles(at.path('gone'), 20)
    linkSync(at.path('gone', 'dir-0', 'file-3.txt'), at.path('outside'))
    const list = ['-r', '--delete-after-archive', '--yes', 'gone']
    const dry = await at.run('archive-files', ['-n', ...list])
    expect(dry.code).toBe(0)
    const ran = await at.run('archive-files', list)
    // A name of the inode lies outside of the tree: it is kept, which is said.
    expect([ran.code, ran.stderr]).toEqual([
      3,
      expect.stringMatching(/file-3\.txt: kept: not every name of its inode is archived/),
    ])
    expect(readdirSync(at.path('gone', 'dir-0'))).toEqual(['file-3.txt'])
    const removals = (stdout: string) => stdout.split('\n').filter((line) => line.startsWith('remove '))
    expect(removals(ran.stdout)).toHaveLength(19)
    expect(removals(dry.stdout)).toEqual(removals(ran.stdout))
    const back = await at.run('find-and-retrieve', ['--path', at.path('gone'), '--to', at.path('back')])
    expect(back.code).toBe(0)
    expect(readdirSync(join(at.path('back'), at.path('gone'), 'dir-0'))).toHaveLength(20)
  })

  test('a special file is named, and the exit code says so (G-20)', async () => {
    mkdirSync(at.path('special'))
    execFileSync('mkfifo', [at.path('special', 'pipe')])
    writeFileSync(at.path('special', 'file'), 'x')
    const ran = await at.run('archive-files', ['-r', '--json', 'special'])
    expect(ran.code).toBe(3)
    expect(ran.summary).toMatchObject({ files_found: 2, files_archived: 1, files_skipped: 1, exit_code: 3 })
    expect(ran.messages.find((message) => message['message_type'] === 'problem')).toMatchObject({
      path: at.path('special', 'pipe'),
    })
  })

  test('a missing bundle is named, and the others are restored', async () => {
    makeFiles(at.path('holes'), 30)
    await at.run('archive-files', ['-r', '--files-per-bundle', '10', 'holes'])
    const csv = (await at.run('find-and-retrieve', ['--path', at.path('holes'), '-r'])).stdout.trimEnd().split('\n')
    expect(csv).toHaveLength(3)
    const key = csv[1]?.split(',')[1] as string
    await at.vault.remove(key)
    const ran = await at.run('find-and-retrieve', ['--path', at.path('holes'), '--to', at.path('rest'), '--json'])
    expect(ran.code).toBe(1)
    expect(ran.summary).toMatchObject({ files_matched: 30, files_restored: 20, files_failed: 10 })
    expect(ran.stdout).toContain('has no object')
    const check = await at.run('firn', ['check'])
    expect(check.code).toBe(1)
    expect(check.stdout).toContain(key)
    expect(existsSync(join(at.path('rest'), at.path('holes')))).toBe(true)
    expect(lstatSync(join(at.path('rest'), at.path('holes'))).isDirectory()).toBe(true)
  })
})

describeWith(['script'], 'the question before sources are removed', () => {
  test('names roots, files and bytes; nothing goes without a yes', async () => {
    const at = openHome()
    try {
      makeFiles(at.path('tree'), 3)
      const ask = (answer: string) => {
        const command = [
          process.execPath,
          mainOf('archive-files'),
          '-r',
          '--delete-after-archive',
          '--no-progress',
          at.path('tree'),
        ]
        const options = { env: { ...process.env, ...at.env }, input: `${answer}\n` }
        const ran = spawnSync('script', ['-qec', command.join(' '), '/dev/null'], options)
        return { code: ran.status, said: String(ran.stdout) }
      }
      const refused = ask('n')
      const question = `Remove 3 files, 300 B, from ${at.path('tree')}? [y/N]`
      expect(refused).toMatchObject({ code: 5, said: expect.stringContaining(question) })
      expect(readdirSync(at.path('tree/dir-0'))).toHaveLength(3)
      expect(ask('y')).toMatchObject({ code: 0, said: expect.stringContaining('removed 3 files') })
      expect(readdirSync(at.path('tree/dir-0'))).toEqual([])
    } finally {
      at.dispose()
    }
  }, 120_000)
})
