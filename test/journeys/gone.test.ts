/** What is in the tree no more: found for ever, and not brought back as if it still were there. */
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { filesOf, type Home, openHome } from '../firn.js'
import { lookAt, makeFiles } from '../tree.js'

let at: Home
beforeEach(() => {
  at = openHome()
})
afterEach(() => at.dispose())

/** Archives the tree; what came of it, and a time at which this was the tree. */
async function archive(options: string[] = [], code = 0) {
  const ran = await at.run('archive-files', ['-r', '--json', ...options, 'tree'])
  expect([ran.code, ran.stderr]).toEqual([code, expect.anything()])
  await sleep(20)
  const asOf = new Date().toISOString()
  await sleep(20)
  return { ...ran, asOf, gone: ran.summary?.['files_gone'] }
}

/** What `-l` gives, below the tree, and what of it is gone. */
async function listed(options: string[] = []) {
  const ran = await at.run('find-and-retrieve', ['--path', at.path('tree'), '-l', '--json', ...options])
  const files = filesOf(ran).map((file) => ({ ...file, path: String(file['path']).slice(at.path('tree').length + 1) }))
  return {
    all: files.map(({ path }) => path).sort(),
    gone: files.flatMap((file) => ('gone' in file ? [file.path] : [])).sort(),
  }
}

let backs = 0
/** The tree as it is brought back. */
async function broughtBack(...options: string[]) {
  const to = at.path(`back-${backs++}`)
  const ran = await at.run('find-and-retrieve', ['--path', at.path('tree'), ...options, '--to', to])
  expect([ran.code, ran.stderr]).toEqual([0, expect.anything()])
  return lookAt(`${to}${at.path('tree')}`, { directories: false })
}
const tree = () => lookAt(at.path('tree'), { directories: false })

describe('what a crawl does not find any more', () => {
  test('is gone: not in the tree, in no newer one, and found all the same', async () => {
    makeFiles(at.path('tree'), 3)
    makeFiles(at.path('tree/deep/er'), 2)
    writeFileSync(at.path('tree/quokka'), 'a')
    writeFileSync(at.path('tree/b'), 'b')
    const before = tree()
    const first = await archive()
    expect(first.gone).toBe(0)
    rmSync(at.path('tree/quokka'))
    renameSync(at.path('tree/b'), at.path('tree/c'))
    rmSync(at.path('tree/deep'), { recursive: true })
    const after = tree()
    const second = await archive()
    expect(second.gone).toBe(4)
    // Gone once, not in every run.
    expect((await archive()).gone).toBe(0)

    expect(await broughtBack('--as-of', first.asOf)).toEqual(before)
    expect(await broughtBack('--as-of', second.asOf)).toEqual(after)
    const everything = await listed()
    expect(everything.all).toHaveLength(8)
    expect(everything.gone).toHaveLength(4)
    expect(await listed(['--as-of', second.asOf])).toEqual({ all: [...after.keys()].sort(), gone: [] })
    expect(await listed(['--as-of', second.asOf, '--gone'])).toEqual(everything)
    expect((await listed(['--as-of', first.asOf])).all).toEqual([...before.keys()].sort())
    const line = await at.run('find-and-retrieve', ['--path', at.path('tree/quokka'), '-l'])
    expect(line.stdout).toMatch(/\/tree\/quokka\tgone \d{4}-/)
    // By a query, too.
    const query = (more: string[]) => at.run('find-and-retrieve', ['--search', 'tree quokka', '-l', ...more])
    expect((await query(['--as-of', second.asOf])).code).toBe(4)
    expect((await query([])).stdout).toMatch(/\/tree\/quokka\tgone /)
    expect((await query(['--as-of', first.asOf])).stdout).not.toContain('gone')
  }, 180_000)

  test('and is back afterwards is in the tree again, though nothing of it changed; nothing is sent for it', async () => {
    makeFiles(at.path('tree/deep/er'), 3)
    writeFileSync(at.path('tree/a'), 'a')
    const before = tree()
    await archive()
    renameSync(at.path('tree/deep'), at.path('elsewhere'))
    expect((await archive()).gone).toBe(3)
    renameSync(at.path('elsewhere'), at.path('tree/deep'))
    const back = await archive()
    expect(back.summary).toMatchObject({ files_archived: 3, files_unchanged: 1, files_gone: 0 })
    expect(await broughtBack('--as-of', back.asOf)).toEqual(before)
    expect((await listed()).gone).toEqual([])
    expect((await archive()).summary).toMatchObject({ files_archived: 0, files_unchanged: 4, bundles: 0 })
  }, 120_000)

  test('of a type that changed gives back what was there at each time, in any order of bundles', async () => {
    makeFiles(at.path('tree/keep'), 2)
    writeFileSync(at.path('tree/x'), 'a file')
    symlinkSync('keep', at.path('tree/l'))
    const states: { asOf: string; was: unknown }[] = []
    const step = async (more: string[] = []) => {
      const was = tree()
      states.push({ was, asOf: (await archive(['--files-per-bundle', '1', ...more])).asOf })
    }
    await step()
    rmSync(at.path('tree/x'))
    rmSync(at.path('tree/l'))
    makeFiles(at.path('tree/x/y'), 2)
    makeFiles(at.path('tree/l'), 1)
    await step()
    renameSync(at.path('tree/x'), at.path('elsewhere'))
    writeFileSync(at.path('tree/x'), 'a file again')
    await step()
    // The same directory, unchanged.
    rmSync(at.path('tree/x'))
    renameSync(at.path('elsewhere'), at.path('tree/x'))
    rmSync(at.path('tree/l'), { recursive: true })
    symlinkSync('x', at.path('tree/l'))
    await step()
    for (const { asOf, was } of states) expect(await broughtBack('--as-of', asOf)).toEqual(was)
  }, 180_000)

  test('is not what a filter passes over, what cannot be read, or what --delete-after-archive removed', async () => {
    makeFiles(at.path('tree/in'), 2)
    makeFiles(at.path('tree/out'), 2)
    makeFiles(at.path('tree/removed'), 2)
    await archive()
    expect((await archive(['--exclude', 'out'])).gone).toBe(0)
    expect((await archive(['--include', '*.none'])).gone).toBe(0)
    expect((await archive(['--newer-than', '0', '--time', 'mtime'])).gone).toBe(0)
    if (process.getuid?.() !== 0) {
      chmodSync(at.path('tree/in'), 0)
      expect((await archive([], 3)).gone).toBe(0)
      chmodSync(at.path('tree/in'), 0o700)
    }
    const ran = await at.run('archive-files', ['-r', '--delete-after-archive', '--yes', 'tree/removed'])
    expect(ran.code).toBe(0)
    expect(readdirSync(at.path('tree/removed/dir-0'))).toEqual([])
    expect((await archive()).gone).toBe(0)
    rmSync(at.path('tree/removed'), { recursive: true })
    const last = await archive()
    expect(last.gone).toBe(0)
    expect((await listed(['--as-of', last.asOf])).all).toHaveLength(6)
    expect((await listed()).gone).toEqual([])
  }, 180_000)

  test('is asked of all vaults of the host', async () => {
    makeFiles(at.path('tree'), 3)
    await archive()
    rmSync(at.path('tree/dir-0/file-1.txt'))
    expect((await archive(['--vault', `local:${at.path('other')}`])).gone).toBe(1)
    expect((await archive()).gone).toBe(0)
    expect((await listed()).gone).toEqual(['dir-0/file-1.txt'])
  }, 120_000)
})

describe('a source whose disk is not mounted', () => {
  test('makes nothing gone, and is a problem, on the first night and on the next', async () => {
    makeFiles(at.path('tree'), 4)
    await archive()
    renameSync(at.path('tree'), at.path('unmounted'))
    mkdirSync(at.path('tree'))
    for (let night = 1; night <= 2; night++) {
      const ran = await archive([], 3)
      expect(ran.stdout).toMatch(/is its disk mounted\?/)
      expect(ran.gone).toBe(0)
    }
    rmSync(at.path('tree'), { recursive: true })
    renameSync(at.path('unmounted'), at.path('tree'))
    expect((await archive()).summary).toMatchObject({ files_unchanged: 4, files_gone: 0 })
    expect((await listed()).gone).toEqual([])
  }, 120_000)

  test('or that is another disk: what is missing counts from the set after', async () => {
    makeFiles(at.path('tree'), 4)
    await archive()
    renameSync(at.path('tree'), at.path('unmounted'))
    makeFiles(at.path('tree'), 2)
    const ran = await archive([], 3)
    expect(ran.stdout).toMatch(/is another directory than the crawler saw.*is its disk mounted\?/)
    expect(ran.gone).toBe(0)
    expect((await archive()).gone).toBe(2)
  }, 120_000)
})
