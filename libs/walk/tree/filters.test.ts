/** Which entries globs and ages keep. */
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { setTimes } from '#libs/os/libc.js'
import { type Raw, rawFromText, rawToBytes, textOf } from '#libs/os/raw.js'
import type { WalkRequest } from '../source.js'
import { compileFilters } from './filters.js'
import { below, type ScratchTree, scratchTree, walkAll } from './scratch-tree.js'

let tree: ScratchTree
beforeEach(() => {
  tree = scratchTree()
})
afterEach(() => tree[Symbol.dispose]())

const write = (...relatives: string[]) => {
  for (const relative of relatives) {
    mkdirSync(dirname(join(tree.path, relative)), { recursive: true })
    writeFileSync(join(tree.path, relative), relative)
  }
}
const kept = (special: Partial<WalkRequest>) => below(tree.root, walkAll([tree.root], special).entries)

describe('exclude', () => {
  test.each([
    ['a name at any depth', '*.log', ['.', 'a', 'a/b', 'a/b/c.txt', 'd.txt']],
    ['a directory by name, which is not entered', 'b', ['.', 'a', 'a/a.log', 'd.txt', 'x.log']],
    ['a directory written with a slash at its end', 'b/', ['.', 'a', 'a/a.log', 'd.txt', 'x.log']],
    ['a path relative to the root', 'a/*.log', ['.', 'a', 'a/b', 'a/b/b.log', 'a/b/c.txt', 'd.txt', 'x.log']],
    ['what lies anywhere below a directory', 'a/**/*.log', ['.', 'a', 'a/b', 'a/b/c.txt', 'd.txt', 'x.log']],
    ['everything', '**', ['.']],
    ['alternatives', '{a,x.log}', ['.', 'd.txt']],
    ['one character', '?.log', ['.', 'a', 'a/b', 'a/b/c.txt', 'd.txt']],
    ['a class of characters', '[a-b].log', ['.', 'a', 'a/b', 'a/b/c.txt', 'd.txt', 'x.log']],
  ])('takes away %s', (_, glob, left) => {
    write('a/a.log', 'a/b/b.log', 'a/b/c.txt', 'd.txt', 'x.log')
    expect(kept({ exclude: [glob] })).toEqual(left)
  })

  test('takes an absolute path', () => {
    write('a/x', 'b/x')
    expect(kept({ exclude: [`${tree.path}/a/x`] })).toEqual(['.', 'a', 'b', 'b/x'])
    expect(kept({ exclude: [`${tree.path}/*/x`] })).toEqual(['.', 'a', 'b'])
    expect(kept({ exclude: ['/a'] })).toEqual(['.', 'a', 'a/x', 'b', 'b/x'])
  })

  test('takes names that begin with a dot like any other', () => {
    write('.git/config', '.hidden', 'seen')
    expect(kept({ exclude: ['*'] })).toEqual(['.'])
    expect(kept({ exclude: ['.*'] })).toEqual(['.', 'seen'])
    expect(kept({ exclude: ['**/config'] })).toEqual(['.', '.git', '.hidden', 'seen'])
  })

  test('what it takes is no file found and no problem', () => {
    write('a/x')
    expect(walkAll([tree.root], { exclude: ['a'] })).toMatchObject({ found: 0, problems: [] })
  })

  test('does not take a root, which was asked for by name', () => {
    write('a/x')
    expect(below(tree.root, walkAll([tree.at('a')], { exclude: ['a'] }).entries)).toEqual(['a', 'a/x'])
    expect(below(tree.root, walkAll([tree.at('a/x')], { exclude: ['x'] }).entries)).toEqual(['a/x'])
  })

  test('an exclamation mark is a character and turns nothing round', () => {
    write('!a', 'a', 'b')
    expect(kept({ exclude: ['!a'] })).toEqual(['.', 'a', 'b'])
  })
})

describe('include', () => {
  test('limits files, and keeps the directories that hold one, before it', () => {
    write('a/b/c.txt', 'a/b/d.txt', 'a/e/f.log', 'g/h.log', 'i.txt')
    expect(kept({ include: ['*.txt'] })).toEqual(['.', 'a', 'a/b', 'a/b/c.txt', 'a/b/d.txt', 'i.txt'])
    expect(kept({ include: ['g/**', 'e/*'] })).toEqual(['.', 'g', 'g/h.log'])
    expect(kept({ include: ['*.none'] })).toEqual([])
  })

  test('exclude goes before include', () => {
    write('a/x.txt', 'b/x.txt', 'b/y.txt')
    expect(kept({ include: ['*.txt'], exclude: ['a', 'y.*'] })).toEqual(['.', 'b', 'b/x.txt'])
  })

  test('relative globs are relative to each root', () => {
    write('one/a/x', 'two/a/x', 'two/b/x')
    const { entries } = walkAll([tree.at('one'), tree.at('two')], { include: ['a/x'] })
    expect(below(tree.root, entries)).toEqual(['one', 'one/a', 'one/a/x', 'two', 'two/a', 'two/a/x'])
  })

  test('counts as found only what it keeps', () => {
    write('a.txt', 'b.log')
    expect(walkAll([tree.root], { include: ['*.txt'] }).found).toBe(1)
  })
})

describe('names that are odd', () => {
  test('newlines and bytes that are not UTF-8 are characters of a name', () => {
    const names = ['a\nb.txt', 'caf\xe9.txt', 'caf\xc3\xa9.txt']
    for (const name of names) writeFileSync(rawToBytes(tree.at(name)), '')
    expect(kept({ include: ['*.txt'] })).toEqual(['.', ...[...names].sort()])
    expect(kept({ include: ['**/*.txt'] })).toEqual(['.', ...[...names].sort()])
    expect(kept({ include: ['café.txt'] })).toEqual(['.', 'caf\xc3\xa9.txt', 'caf\xe9.txt'])
    expect(kept({ exclude: ['caf?.txt'] })).toEqual(['.', 'a\nb.txt'])
  })

  const nameBytes = fc
    .uint8Array({ minLength: 1, maxLength: 40 })
    .map((bytes) => Buffer.from(bytes).toString('latin1').replace(/[/\0]/g, '.') as Raw)
    .filter((name) => name !== '.' && name !== '..')

  test('a star is every name, and two are every path', () => {
    const star = compileFilters({ include: [], exclude: ['*'] })
    const stars = compileFilters({ include: [], exclude: ['a/**'] })
    fc.assert(
      fc.property(fc.array(nameBytes, { minLength: 1, maxLength: 4 }), (names) => {
        const root = '/root' as Raw
        expect(star.excludes(`/root/${names.join('/')}` as Raw, root)).toBe(true)
        expect(stars.excludes(`/root/a/${names.join('/')}` as Raw, root)).toBe(true)
        expect(stars.excludes(`/root/b/${names.join('/')}` as Raw, root)).toBe(false)
      }),
    )
  })

  test('a name without special characters is a glob of itself alone', () => {
    const plain = fc.string({ unit: fc.constantFrom(...'abcXYZ019._- é\u00ff'), minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(plain, plain, (one, other) => {
        const { excludes } = compileFilters({ include: [], exclude: [one] })
        expect(excludes(`/r/${rawFromText(other)}` as Raw, '/r' as Raw)).toBe(one === other)
        expect(textOf(rawFromText(one))).toBe(one)
      }),
    )
  })

  test('a glob that cannot be read is an error of usage', () => {
    expect(() => compileFilters({ include: ['x'.repeat(70_000)], exclude: [] })).toThrow(
      expect.objectContaining({ code: 'usage' }),
    )
  })
})

describe('age', () => {
  const seconds = 1_700_000_000
  const ns = BigInt(seconds) * 1_000_000_000n

  test.each(['atime', 'mtime'] as const)('%s: older than, newer than, and between leave out the limits themselves', (time) => {
    const ages = { older: -10, atLimit: 0, newer: 10 }
    for (const [name, age] of Object.entries(ages)) {
      write(name)
      const other = seconds + 1_000
      utimesSync(
        join(tree.path, name),
        ...((time === 'atime' ? [seconds + age, other] : [other, seconds + age]) as [number, number]),
      )
    }
    expect(kept({ age: { time, olderThanNs: ns } })).toEqual(['.', 'older'])
    expect(kept({ age: { time, newerThanNs: ns } })).toEqual(['.', 'newer'])
    expect(kept({ age: { time, olderThanNs: ns + 5_000_000_000n, newerThanNs: ns - 5_000_000_000n } })).toEqual(['.', 'atLimit'])
    expect(kept({ age: { time, olderThanNs: ns + 1n, newerThanNs: ns } })).toEqual([])
  })

  test('ctime: a file made now is newer than any time gone', () => {
    write('file')
    utimesSync(join(tree.path, 'file'), 1, 1)
    expect(kept({ age: { time: 'ctime', newerThanNs: ns } })).toEqual(['.', 'file'])
    expect(kept({ age: { time: 'ctime', olderThanNs: ns } })).toEqual([])
  })

  test('times before 1970 are old', () => {
    write('file')
    setTimes(tree.at('file'), -1n, -1n)
    expect(kept({ age: { time: 'mtime', olderThanNs: 0n } })).toEqual(['.', 'file'])
  })

  test('symlinks have an age of their own', () => {
    write('old')
    symlinkSync('old', join(tree.path, 'link'))
    utimesSync(join(tree.path, 'old'), 1, 1)
    expect(kept({ age: { time: 'mtime', newerThanNs: ns } })).toEqual(['.', 'link'])
  })

  test('directories come with what they hold, whatever their own age, and each once', () => {
    write('a/b/old', 'a/c/new', 'a/d/old', 'a/e/f/new')
    for (const old of ['a/b/old', 'a/d/old', 'a/e', 'a']) utimesSync(join(tree.path, old), 1, 1)
    expect(kept({ age: { time: 'mtime', newerThanNs: ns } })).toEqual(['.', 'a', 'a/c', 'a/c/new', 'a/e', 'a/e/f', 'a/e/f/new'])
    expect(kept({ age: { time: 'mtime', olderThanNs: ns } })).toEqual(['.', 'a', 'a/b', 'a/b/old', 'a/d', 'a/d/old'])
  })
})
