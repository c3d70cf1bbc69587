/** What a walk tells of each kind of entry, in which order, and where it does not go. */
import { spawnSync } from 'node:child_process'
import { closeSync, linkSync, lstatSync, mkdirSync, openSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { setTimes } from '#libs/os/libc.js'
import { type Raw, rawFromText, rawToBytes } from '#libs/os/raw.js'
import { describeWith } from '../../../test/tools.js'
import { normaliseRoots } from './normalise-roots.js'
import { below, gather, requestOf, type ScratchTree, scratchTree, walkAll } from './scratch-tree.js'
import { walkTree } from './walk-tree.js'

let tree: ScratchTree
beforeEach(() => {
  tree = scratchTree()
})
afterEach(() => tree[Symbol.dispose]())

const write = (relative: string, content = relative) => writeFileSync(join(tree.path, relative), content)
const make = (relative: string) => mkdirSync(join(tree.path, relative), { recursive: true })
const paths = (special = {}) => below(tree.root, walkAll([tree.root], special).entries)

const DEEP = { recursive: true, oneFileSystem: false, exclude: [] }
const FLAT = { ...DEEP, recursive: false }

describe('what a walk tells', () => {
  test('a file, a directory and a symlink are told as lstat sees them', () => {
    make('directory')
    write('file', '12345')
    symlinkSync('12345678', join(tree.path, 'symlink'))
    setTimes(tree.at('file'), 1_234_567_890_123_456_789n, -1n)
    const { entries, problems, found } = walkAll([tree.root])
    expect(problems).toEqual([])
    expect(found).toBe(2)
    expect(entries.map(({ type, size }) => [type, size])).toEqual([
      ['directory', 0],
      ['directory', 0],
      ['file', 5],
      ['symlink', 0],
    ])
    for (const entry of entries) {
      const stat = lstatSync(rawToBytes(entry.path), { bigint: true })
      expect(entry).toEqual({
        path: entry.path,
        type: entry.type,
        size: entry.size,
        mtimeNs: stat.mtimeNs,
        ctimeNs: stat.ctimeNs,
        atimeNs: stat.atimeNs,
        dev: stat.dev,
        ino: stat.ino,
        nlink: Number(stat.nlink),
        mode: Number(stat.mode & 0o7777n),
        uid: Number(stat.uid),
        gid: Number(stat.gid),
      })
    }
  })

  test('symlinks are entries and never followed: dangling ones, ones to directories, to themselves and out of the tree', () => {
    make('directory/inner')
    for (const [name, target] of [
      ['dangling', 'nowhere'],
      ['to-directory', 'directory'],
      ['to-parent', '..'],
      ['to-self', 'to-self'],
      ['out', '/'],
    ])
      symlinkSync(target as string, join(tree.path, name as string))
    const { entries, problems, found } = walkAll([tree.root])
    expect(problems).toEqual([])
    expect(found).toBe(5)
    const symlinks = entries.filter(({ type }) => type === 'symlink')
    expect(below(tree.root, symlinks)).toEqual(['dangling', 'out', 'to-directory', 'to-parent', 'to-self'])
    expect(entries).toHaveLength(8)
  })

  test('a directory that is exchanged for a symlink after it was listed shows nothing of what lies behind the symlink', () => {
    make('inside/sub')
    for (const name of ['a', 'b', 'sub/c']) write(`inside/${name}`)
    const outside = scratchTree()
    mkdirSync(join(outside.path, 'sub'))
    for (const name of ['a', 'b', 'sub/c', 'sub/secret']) writeFileSync(join(outside.path, name), 'outside')
    let asked = 0
    const exchange = () => {
      // The second entry that is asked for is the first in the directory: it was listed, and nothing in it was looked at.
      if (++asked === 2) {
        renameSync(join(tree.path, 'inside'), join(tree.path, 'was-inside'))
        symlinkSync(outside.path, join(tree.path, 'inside'))
      }
      return false
    }
    const { entries } = gather(walkTree(requestOf([tree.at('inside')]), exchange))
    outside[Symbol.dispose]()
    expect(asked).toBeGreaterThan(2)
    expect(entries.map(({ path }) => path)).toEqual(['', '/a', '/b', '/sub', '/sub/c'].map((path) => tree.at('inside') + path))
    expect(entries.map(({ size }) => size)).toEqual([0, 8, 8, 0, 12])
  })

  test('a root that is a symlink is that symlink', () => {
    make('directory/inner')
    symlinkSync('directory', join(tree.path, 'root'))
    const { entries, found } = walkAll([tree.at('root')])
    expect(entries.map(({ path, type }) => [path, type])).toEqual([[tree.at('root'), 'symlink']])
    expect(found).toBe(1)
  })

  test('every name of an inode is a file with its number of links', () => {
    make('a')
    write('a/first', 'data')
    linkSync(join(tree.path, 'a/first'), join(tree.path, 'second'))
    linkSync(join(tree.path, 'a/first'), join(tree.path, 'third'))
    const files = walkAll([tree.root]).entries.filter(({ type }) => type !== 'directory')
    expect(below(tree.root, files)).toEqual(['a/first', 'second', 'third'])
    expect(files.map(({ type, nlink, size }) => [type, nlink, size])).toEqual(Array(3).fill(['file', 3, 4]))
    expect(new Set(files.map(({ dev, ino }) => `${dev}:${ino}`)).size).toBe(1)
  })

  test('empty directories are entries, and count as no file', () => {
    make('a/b')
    make('c')
    const { entries, found } = walkAll([tree.root])
    expect(below(tree.root, entries)).toEqual(['.', 'a', 'a/b', 'c'])
    expect(found).toBe(0)
  })

  test('a socket is named as skipped', async () => {
    const server = createServer().listen(join(tree.path, 'socket'))
    await new Promise((resolve) => server.once('listening', resolve))
    try {
      const { entries, problems, found } = walkAll([tree.root])
      expect(below(tree.root, entries)).toEqual(['.'])
      expect(problems).toEqual([{ path: tree.at('socket'), kind: 'skipped', reason: 'a socket' }])
      expect(found).toBe(1)
    } finally {
      await new Promise((resolve) => server.close(resolve))
    }
  })

  test('a tree of 300 directories in one another is walked to its end', () => {
    const deep = Array.from({ length: 300 }, (_, i) => `d${i}`).join('/')
    make(deep)
    write(`${deep}/file`)
    for (const special of [{}, { include: ['file'] }]) {
      const { entries, problems } = walkAll([tree.root], special)
      expect(problems).toEqual([])
      expect(entries).toHaveLength(302)
      expect(entries.at(-1)?.path).toBe(tree.at(`${deep}/file`))
    }
  })

  test('a directory with 200,000 entries comes in order, in pages', () => {
    const count = 200_000
    using many = scratchTree({ many: true })
    for (let i = 0; i < count; i++) closeSync(openSync(`${many.path}/f${i}`, 'w'))
    const names = Array.from({ length: count }, (_, i) => `f${i}`).sort()
    let at = 0
    let largest = 0
    for (const { entries, problems } of walkTree(requestOf([many.root]))) {
      largest = Math.max(largest, entries.length)
      expect(problems).toEqual([])
      const files = entries.filter(({ type }) => type === 'file')
      expect(below(many.root, files)).toEqual(names.slice(at, at + files.length))
      at += files.length
    }
    expect(at).toBe(count)
    expect(largest).toBeLessThan(10_000)
  })
})

describeWith(['mkfifo'], 'a FIFO', () => {
  test('is named as skipped and never opened', () => {
    spawnSync('mkfifo', [join(tree.path, 'fifo')])
    const { entries, problems, found } = walkAll([tree.root, tree.at('fifo')])
    expect(below(tree.root, entries)).toEqual(['.'])
    expect(problems).toEqual([{ path: tree.at('fifo'), kind: 'skipped', reason: 'a FIFO' }])
    expect(found).toBe(1)
  })
})

test('devices are named as skipped', () => {
  const { entries, problems } = walkAll([rawFromText('/dev/null')])
  expect(entries).toEqual([])
  expect(problems).toEqual([{ path: '/dev/null', kind: 'skipped', reason: 'a character device' }])
})

describe('names', () => {
  test('are bytes: two that differ only in bytes that are not UTF-8 stay two', () => {
    const names = [
      '\xff',
      '\xfe',
      '\n',
      'a\nb',
      '\x01\x1b[31m',
      'caf\xe9',
      'caf\xc3\xa9',
      ' ',
      '-rf',
      '\\',
      '*',
      '?',
      `${'x'.repeat(254)}\xff`,
    ]
    for (const name of names) writeFileSync(rawToBytes(tree.at(name)), name, 'latin1')
    mkdirSync(rawToBytes(tree.at('d\xff')))
    writeFileSync(rawToBytes(tree.at('d\xff/\xfe\xff')), '')
    const { entries, problems } = walkAll([tree.root])
    expect(problems).toEqual([])
    expect(below(tree.root, entries)).toEqual(['.', ...[...names, 'd\xff', 'd\xff/\xfe\xff'].sort()])
  })

  test('a root may be such a name', () => {
    mkdirSync(rawToBytes(tree.at('\xff')))
    writeFileSync(rawToBytes(tree.at('\xff/file')), '')
    expect(below(tree.root, walkAll([tree.at('\xff')]).entries)).toEqual(['\xff', '\xff/file'])
  })
})

describe('order', () => {
  test('depth first, a directory before what it holds, names in byte order', () => {
    make('b')
    make('a')
    make('a-b')
    for (const name of ['B', 'b/2', 'b/10', 'a/z', 'a-b/x', 'é', 'z']) write(name)
    expect(paths()).toEqual(['.', 'B', 'a', 'a/z', 'a-b', 'a-b/x', 'b', 'b/10', 'b/2', 'z', '\xc3\xa9'])
    expect(paths()).toEqual(paths())
  })

  test('roots come in the order given, and each may be a file', () => {
    make('a')
    make('b')
    for (const name of ['a/1', 'b/1', 'c']) write(name)
    const { entries, found } = walkAll([tree.at('c'), tree.at('b'), tree.at('a/1')])
    expect(below(tree.root, entries)).toEqual(['c', 'b', 'b/1', 'a/1'])
    expect(found).toBe(3)
  })

  test('roots that overlap are walked once', () => {
    make('a/b')
    make('a-')
    const roots = ['a/b', 'a', 'a-', 'a', 'a/b/c'].map(tree.at)
    expect(normaliseRoots(roots, DEEP)).toEqual([tree.at('a'), tree.at('a-')])
    expect(normaliseRoots(['/', '/a', '/b'] as Raw[], DEEP)).toEqual(['/'])
    expect(below(tree.root, walkAll(normaliseRoots(roots, DEEP)).entries)).toEqual(['a', 'a/b', 'a-'])
  })

  test('a root that another does not come to stays one, and comes once', () => {
    make('a/modules/b')
    for (const name of ['a/1', 'a/modules/2', 'a/modules/b/3']) write(name)
    const exclude = ['modules']
    const roots = normaliseRoots(['a', 'a/modules', 'a/modules/b'].map(tree.at), { ...DEEP, exclude })
    expect(roots).toEqual(['a', 'a/modules'].map(tree.at))
    const { entries } = walkAll(roots, { exclude })
    expect(below(tree.root, entries)).toEqual(['a', 'a/1', 'a/modules', 'a/modules/2', 'a/modules/b', 'a/modules/b/3'])
    expect(normaliseRoots(['/', '/proc', '/proc/self'] as Raw[], { ...DEEP, oneFileSystem: true })).toEqual(['/', '/proc'])
    expect(normaliseRoots(['/', '/proc'] as Raw[], DEEP)).toEqual(['/'])
    symlinkSync('a', join(tree.path, 'link'))
    make('elsewhere')
    symlinkSync('../elsewhere', join(tree.path, 'a/link'))
    expect(() => normaliseRoots(['a', 'a/link/x'].map(tree.at), DEEP)).toThrow(/lies behind .*a\/link, a symlink/)
    expect(normaliseRoots(['a', 'a/link'].map(tree.at), DEEP)).toEqual([tree.at('a')])
  })

  test('without recursion one root may lie in another, since neither brings the other', () => {
    const roots = ['a', 'a/b', 'a'].map(tree.at)
    expect(normaliseRoots(roots, FLAT)).toEqual([tree.at('a'), tree.at('a/b')])
  })
})

describe('where a walk does not go', () => {
  test('without recursion: a directory and the files directly in it', () => {
    make('a/b')
    write('a/1')
    write('2')
    expect(paths({ recursive: false })).toEqual(['.', '2'])
    expect(below(tree.root, walkAll([tree.root, tree.at('a')], { recursive: false }).entries)).toEqual(['.', '2', 'a', 'a/1'])
  })

  test('into what is left out, by its path, its identity through another path, or as a root', () => {
    make('home/inner')
    write('home/secret')
    make('other')
    symlinkSync('home', join(tree.path, 'alias'))
    for (const leaveOut of [[tree.at('home')], [tree.at('alias')], [tree.at('other/../home')]]) {
      const { entries, leftOut, problems, found } = walkAll([tree.root], { leaveOut })
      expect(below(tree.root, entries)).toEqual(['.', 'alias', 'other'])
      expect(leftOut).toEqual([tree.at('home')])
      expect(problems).toEqual([])
      expect(found).toBe(1)
    }
    expect(walkAll([tree.at('home')], { leaveOut: [tree.at('home')] })).toMatchObject({ entries: [], leftOut: [tree.at('home')] })
  })

  test('into what is left out and made only while the walk goes', () => {
    make('a')
    for (let i = 0; i < 3_000; i++) write(`a/${i}`, '')
    const pages = walkTree(requestOf([tree.root], { leaveOut: [tree.at('b/home')] }))
    // `b` is listed with the root, what lies in it when the walk comes there.
    make('b')
    pages.next()
    make('b/home/inner')
    const rest = [...pages]
    expect(rest.flatMap(({ leftOut }) => leftOut)).toEqual([tree.at('b/home')])
    expect(rest.flatMap(({ entries }) => entries).filter(({ path }) => path.includes('/home'))).toEqual([])
  })

  test('left out directories that are not there, or cannot be there, disturb nobody', () => {
    write('file')
    const leaveOut = [tree.at('gone'), tree.at('file/below'), tree.at('x'.repeat(300)), tree.at('file')]
    expect(paths({ leaveOut })).toEqual(['.', 'file'])
  })
})

describe('what goes wrong', () => {
  test('a root that is not there is a problem with its path', () => {
    expect(walkAll([tree.at('gone')])).toMatchObject({
      entries: [],
      found: 1,
      problems: [{ path: tree.at('gone'), kind: 'failed', reason: 'it does not exist' }],
    })
  })

  test('entries that vanish while the tree is walked are named, each once, and the others come', () => {
    const count = 6_000
    make('b')
    make('c')
    for (let i = 0; i < count; i++) write(`b/${String(i).padStart(5, '0')}`, '')
    write('c/file')
    const pages = walkTree(requestOf([tree.root]))
    const first = pages.next().value
    rmSync(join(tree.path, 'b'), { recursive: true })
    const rest = [...pages]
    const entries = [first, ...rest].flatMap((page) => (page ? page.entries : []))
    const problems = rest.flatMap((page) => page.problems)
    expect(below(tree.root, entries).slice(-2)).toEqual(['c', 'c/file'])
    expect(problems.every(({ kind, reason }) => kind === 'failed' && reason === 'vanished while the tree was walked')).toBe(true)
    const named = new Set([...entries, ...problems].map(({ path }) => path))
    expect(named.size).toBe(entries.length + problems.length)
    expect(named.size).toBe(count + 4)
    expect(problems.length).toBeGreaterThan(count / 2)
  })

  test('a directory that became a symlink while the tree is walked is that symlink, and not entered', () => {
    make('a')
    make('z/inner')
    for (let i = 0; i < 3_000; i++) write(`a/${i}`, '')
    const pages = walkTree(requestOf([tree.root]))
    pages.next()
    rmSync(join(tree.path, 'z'), { recursive: true })
    symlinkSync('/etc', join(tree.path, 'z'))
    const last = [...pages].flatMap(({ entries }) => entries).at(-1)
    expect(last).toMatchObject({ path: tree.at('z'), type: 'symlink' })
  })
})
