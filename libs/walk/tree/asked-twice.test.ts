/** What is asked for twice, and what nobody asked for: each entry comes once, and nothing is named that the filters do not want. */
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { BECOME_NOBODY, runScript } from '#libs/os/test-process.js'
import { normaliseRoots } from './normalise-roots.js'
import { below, requestOf, type ScratchTree, scratchTree, type Walked, walkAll } from './scratch-tree.js'

let tree: ScratchTree
beforeEach(() => {
  tree = scratchTree()
})
afterEach(() => tree[Symbol.dispose]())

const make = (...directories: string[]) => {
  for (const directory of directories) mkdirSync(join(tree.path, directory), { recursive: true })
}
const write = (...files: string[]) => {
  for (const file of files) writeFileSync(join(tree.path, file), '')
}

describe('roots without recursion', () => {
  const walk = (roots: string[], special = {}) => {
    const normal = normaliseRoots(
      roots.map((root) => (root === '.' ? tree.root : tree.at(root))),
      { recursive: false, oneFileSystem: false, exclude: [] },
    )
    return below(tree.root, walkAll(normal, { recursive: false, ...special }).entries)
  }

  test('a file, symlink or vanished name that lies directly in another root comes once', () => {
    make('directory')
    write('file', 'directory/inner')
    symlinkSync('directory', join(tree.path, 'symlink'))
    expect(walk(['.', 'file', 'symlink'])).toEqual(['.', 'file', 'symlink'])
    expect(walk(['.', 'directory', 'directory/inner'])).toEqual(['.', 'file', 'symlink', 'directory', 'directory/inner'])
    expect(walkAll([tree.root, tree.at('gone')], { recursive: false }).problems).toHaveLength(1)
  })

  test('a file that its directory’s walk leaves out comes as the root that it is', () => {
    write('keep', 'wanted.log')
    expect(walk(['.', 'wanted.log'], { exclude: ['*.log'] })).toEqual(['.', 'keep', 'wanted.log'])
    expect(walk(['wanted.log'])).toEqual(['wanted.log'])
  })

  test('a file in a root that is only a symlink to its directory comes', () => {
    make('directory')
    write('directory/file')
    symlinkSync('directory', join(tree.path, 'symlink'))
    expect(walk(['symlink', 'symlink/file'])).toEqual(['symlink', 'symlink/file'])
  })
})

test('ten thousand roots of a shell are put in order at once', () => {
  const roots = Array.from({ length: 10_000 }, (_, i) => tree.at(`${i % 5_000}/${i < 5_000 ? '' : 'below'}`.replace(/\/$/, '')))
  expect(normaliseRoots(roots, { recursive: true, oneFileSystem: false, exclude: [] })).toEqual(roots.slice(0, 5_000).sort())
})

test('names that cannot be looked at are named only if they may be wanted', () => {
  make('closed/directory')
  write('closed/a.txt', 'closed/b.log')
  chmodSync(tree.path, 0o755)
  chmodSync(join(tree.path, 'closed'), 0o444)
  try {
    const script = `
      scratch.gather(walk.walkTree(${JSON.stringify(requestOf([tree.root], { include: ['none'] }))})) // loads what is loaded late
      ${BECOME_NOBODY}
      const { problems, found } = scratch.gather(walk.walkTree(${JSON.stringify(requestOf([tree.root], { include: ['*.txt'] }))}))
      say({ problems, found })`
    const imports = {
      walk: new URL('./walk-tree.js', import.meta.url).href,
      scratch: new URL('./scratch-tree.js', import.meta.url).href,
    }
    const { problems, found } = runScript(imports, script) as Pick<Walked, 'problems' | 'found'>
    // The log is not wanted; what is or may be a directory could hold something that is.
    expect(problems.map(({ path }) => path)).toEqual([tree.at('closed/a.txt'), tree.at('closed/directory')])
    expect(found).toBe(2)
  } finally {
    chmodSync(join(tree.path, 'closed'), 0o755)
  }
})

test('a deep tree of directories that hold nothing wanted gives each directory once, when something comes', () => {
  make('a/b/c/d', 'a/b/e')
  write('a/b/c/d/1.txt', 'a/b/c/d/2.txt', 'a/b/e/no', 'a/b/z.txt', 'a/z.txt')
  const { entries } = walkAll([tree.root], { include: ['*.txt'] })
  expect(below(tree.root, entries)).toEqual([
    '.',
    'a',
    'a/b',
    'a/b/c',
    'a/b/c/d',
    'a/b/c/d/1.txt',
    'a/b/c/d/2.txt',
    'a/b/z.txt',
    'a/z.txt',
  ])
})
