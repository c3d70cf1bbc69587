/** Trees that do not want to be walked: closed to the reader, too deep for a path, mounted into themselves. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Problem } from '#libs/bundle/entry.js'
import { below, type ScratchTree, scratchTree, walkAll } from './scratch-tree.js'

let tree: ScratchTree
beforeEach(() => {
  tree = scratchTree()
})
afterEach(() => tree[Symbol.dispose]())

const make = (relative: string) => mkdirSync(join(tree.path, relative), { recursive: true })
const write = (relative: string) => writeFileSync(join(tree.path, relative), relative)

/** Walks as a user who owns nothing, where this process may become one; modules are read before. */
const AS_NOBODY = `
  const [directory, root] = process.argv.slice(1)
  const { walkTree } = await import(directory + '/walk-tree.js')
  const { requestOf, gather } = await import(directory + '/scratch-tree.js')
  gather(walkTree(requestOf([directory]))) // loads what is loaded late
  if (process.getuid() === 0) {
    process.setgroups([])
    process.setgid(65534)
    process.setuid(65534)
  }
  const { entries, problems, found } = gather(walkTree(requestOf([root])))
  console.log(JSON.stringify({ paths: entries.map(({ path }) => path), problems, found }))
`

function walkAsNobody(): { paths: string[]; problems: Problem[]; found: number } {
  const child = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', AS_NOBODY, new URL('.', import.meta.url).pathname, tree.path],
    { encoding: 'utf8' },
  )
  if (child.status !== 0) throw new Error(child.stderr)
  return JSON.parse(child.stdout)
}

describe('permissions', () => {
  test('what cannot be listed or looked at is named, once, and the walk goes on', () => {
    chmodSync(tree.path, 0o755)
    for (const directory of ['a-unlistable', 'b-listable-only', 'c-open']) make(directory)
    for (const file of ['a-unlistable/file', 'b-listable-only/file', 'c-open/unreadable', 'd']) write(file)
    chmodSync(join(tree.path, 'a-unlistable'), 0)
    chmodSync(join(tree.path, 'b-listable-only'), 0o444)
    chmodSync(join(tree.path, 'c-open/unreadable'), 0)
    try {
      const { paths, problems, found } = walkAsNobody()
      // An unreadable file is an entry: whether it can be read shows when it is read.
      const seen = ['.', 'a-unlistable', 'b-listable-only', 'c-open', 'c-open/unreadable', 'd']
      expect(below(tree.root, paths.map((path) => ({ path })) as never)).toEqual(seen)
      expect(problems).toEqual([
        { path: tree.at('a-unlistable'), kind: 'failed', reason: 'its names cannot be listed: permission denied' },
        { path: tree.at('b-listable-only/file'), kind: 'failed', reason: 'permission denied' },
      ])
      expect(found).toBe(4)
    } finally {
      for (const directory of ['a-unlistable', 'b-listable-only']) chmodSync(join(tree.path, directory), 0o755)
    }
  })
})

describe('paths beyond what the system takes', () => {
  test('are named as problems, and what lies beside them comes', () => {
    // 17 names of 250 bytes are more than 4,096: only a process that goes down step by step gets there.
    const script = `
      const { chdir } = process
      const fs = require('node:fs')
      chdir(process.argv[1])
      for (let i = 0; i < 17; i++) {
        fs.mkdirSync('d'.repeat(250))
        fs.writeFileSync('z', '')
        chdir('d'.repeat(250))
      }
      fs.writeFileSync('lost', '')
    `
    make('deep')
    write('last')
    const child = spawnSync(process.execPath, ['-e', script, join(tree.path, 'deep')], { encoding: 'utf8' })
    expect(child.stderr).toBe('')
    const { entries, problems } = walkAll([tree.root])
    expect(entries.at(-1)?.path).toBe(tree.at('last'))
    expect(problems.length).toBeGreaterThan(0)
    for (const { path, kind, reason } of problems) {
      expect(path.length).toBeGreaterThanOrEqual(4_096)
      expect([kind, reason]).toEqual(['failed', 'its path is too long for the system'])
    }
    for (const { path } of entries) expect(path.length).toBeLessThan(4_096)
    expect(new Set([...entries, ...problems].map(({ path }) => path)).size).toBe(entries.length + problems.length)
  })
})

/** Whether this process may mount: root, and not in every container. */
function mayMount(): boolean {
  const place = mkdtempSync('/tmp/firn-mount-')
  const mounted = spawnSync('mount', ['-t', 'tmpfs', 'firn', place]).status === 0
  if (mounted) spawnSync('umount', [place])
  rmSync(place, { recursive: true, force: true })
  return mounted
}

const mounts = mayMount()
const describeMounts = mounts ? describe : describe.skip

describeMounts(`mounts${mounts ? '' : ' (skipped: this user may not mount)'}`, () => {
  const mounted: string[] = []
  const mount = (...args: string[]) => {
    const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
    mounted.push(args.at(-1) as string)
  }
  // Before the tree is removed, or what is mounted would go with it.
  afterEach(() => {
    for (const place of mounted.splice(0).reverse()) spawnSync('umount', ['-l', place])
  })

  test('a directory mounted into itself is named, and not entered', () => {
    make('a/b/loop')
    write('a/file')
    mount('--bind', join(tree.path, 'a'), join(tree.path, 'a/b/loop'))
    const { entries, problems } = walkAll([tree.root])
    expect(below(tree.root, entries)).toEqual(['.', 'a', 'a/b', 'a/file'])
    expect(problems).toEqual([
      {
        path: tree.at('a/b/loop'),
        kind: 'failed',
        reason: 'a mount loop: it is one of the directories that it lies in',
      },
    ])
  })

  test('a directory above the root, mounted below it, ends where the root comes again', () => {
    make('a/b')
    write('beside')
    mount('--bind', tree.path, join(tree.path, 'a/b'))
    const { entries, problems } = walkAll([tree.at('a')])
    expect(below(tree.root, entries)).toEqual(['a', 'a/b', 'a/b/beside'])
    expect(problems.map(({ path }) => path)).toEqual([tree.at('a/b/a')])
  })

  test('what is left out is left out where it is mounted a second time', () => {
    make('home')
    write('home/secret')
    make('mounted')
    mount('--bind', join(tree.path, 'home'), join(tree.path, 'mounted'))
    const { entries, leftOut } = walkAll([tree.root], { leaveOut: [tree.at('home')] })
    expect(below(tree.root, entries)).toEqual(['.'])
    expect(leftOut).toEqual([tree.at('home'), tree.at('mounted')])
  })

  test('another file system is entered, or with one-file-system only told', () => {
    make('a/other')
    write('z')
    mount('-t', 'tmpfs', 'firn', join(tree.path, 'a/other'))
    make('a/other/inner')
    write('a/other/file')
    const within = (special = {}) => below(tree.root, walkAll([tree.root], special).entries)
    expect(within()).toEqual(['.', 'a', 'a/other', 'a/other/file', 'a/other/inner', 'z'])
    expect(within({ oneFileSystem: true })).toEqual(['.', 'a', 'a/other', 'z'])
    expect(within({ oneFileSystem: true, include: ['*'] })).toEqual(['.', 'z'])
    // Each root has a file system of its own.
    const both = walkAll([tree.at('a/other'), tree.at('z')], { oneFileSystem: true })
    expect(below(tree.root, both.entries)).toEqual(['a/other', 'a/other/file', 'a/other/inner', 'z'])
  })
})
