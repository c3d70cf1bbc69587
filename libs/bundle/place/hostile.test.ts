/** Nothing outside the target changes, whatever a catalog says. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { Raw } from '#libs/os/raw.js'
import { openPlacer } from '../place.js'
import { whyNotAt } from './at.js'
import { collect, raw, scratch, snapshot, type TestEntry, tarOf } from './test-tar.js'

const hostileName = fc.oneof(
  fc.constantFrom('..', '.', '', 'a', 'b', 'in', 'out', 'gate', 'sentinel', '.firn-r1', '.FIRN-r1', 'directories', '1'),
  fc.constantFrom('a\0b', 'x\0', 'n'.repeat(256), '\u012e\u012e', '\u012f', '..\u012f..', '\\..', '%2e%2e', '~', '..\n'),
  fc.string({ maxLength: 4 }),
)
const hostileAt = fc
  .tuple(
    fc.constantFrom('', '/', '//', './', '../'),
    fc.array(hostileName, { minLength: 1, maxLength: 5 }),
    fc.constantFrom('', '/'),
  )
  .map(([head, names, tail]) => head + names.join('/') + tail)
const number = fc.oneof(fc.integer(), fc.constantFrom(-1, 0, 1, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, 0.5))
const time = fc.oneof(fc.bigInt(-(2n ** 64n), 2n ** 64n), fc.constant(0n))

/** The entry's own idea of itself, mostly with bytes that do match, so that it gets as far as it can. */
const hostileEntry = (root: string): fc.Arbitrary<TestEntry> =>
  fc
    .record(
      {
        at: fc.oneof(hostileAt, fc.constantFrom('gate/f', 'gate/sub/f', 'in/f', 'l/f', 'l', 'in')),
        type: fc.constantFrom('file', 'hardlink', 'symlink', 'directory', 'device' as 'file'),
        bytes: fc.constantFrom('', 'x', 'some bytes'),
        link: fc.constantFrom(...['..', '../../out', '/etc', join(root, 'out'), '', 'a\0b', '\u012f'].map((link) => link as Raw)),
        size: number,
        offset: number,
        mode: number,
        uid: number,
        gid: number,
        nlink: fc.constantFrom(1, 2, -1),
        ino: fc.constantFrom(1n, 2n),
        mtimeNs: time,
        atimeNs: time,
        holes: fc.array(fc.tuple(number, number), { maxLength: 3 }),
        xattrs: fc.constantFrom({}, { 'user.x': 'AAAA' }, { 'a\0b': '!!' }, { '': 7 as unknown as string }),
      },
      { requiredKeys: ['at', 'type', 'bytes'] },
    )
    .map((entry) => entry as TestEntry)

test('nothing outside the target is made, changed or removed', async () => {
  using base = scratch()
  await fc.assert(
    fc.asyncProperty(
      fc.array(hostileEntry(base.path), { minLength: 1, maxLength: 12 }),
      fc.boolean(),
      fc.boolean(),
      async (members, overwrite, setuid) => {
        using at = scratch(base.path)
        for (const name of ['out', 'out/sub', 'in', 'in/in']) mkdirSync(join(at.path, name))
        for (const name of ['out/f', 'out/sub/f', 'sentinel', 'in/there']) writeFileSync(join(at.path, name), `I was ${name}`)
        symlinkSync('../out', join(at.path, 'in/gate'))
        symlinkSync(join(at.path, 'sentinel'), join(at.path, 'in/a'))
        const outside = () => snapshot(at.path, '/in')
        const before = outside()
        const tar = tarOf(members)
        const placer = await openPlacer({ target: raw(join(at.path, 'in')), retrievalId: 'r1', overwrite, setuid })
        const results = await collect(placer.place(tar.entries, tar.read, { tarBytes: tar.tar.length }))
        const everything = tar.entries.map((entry) => [entry.at, entry] as const)
        await placer.finish(
          async (ats) => new Map([...everything, ...ats.map((name) => [name, tar.entries[0] as never] as const)]),
        )
        await placer.close()
        // Every entry has its one outcome, and nothing outside moved.
        expect(results.map(({ entry }) => tar.entries.indexOf(entry)).sort((a, b) => a - b)).toEqual([...members.keys()])
        expect(outside()).toEqual(before)
      },
    ),
    { numRuns: 60 },
  )
})

test('a place is a plain relative path', () => {
  fc.assert(
    fc.property(hostileAt, (at) => {
      const isPlain = at.split('/').every((name) => name !== '' && name !== '.' && name !== '..')
      if (whyNotAt(at as Raw, '/t' as Raw) === undefined) {
        expect(isPlain).toBe(true)
        expect(Buffer.from(at, 'latin1').toString('latin1')).toBe(at)
        expect(join('/t', at).startsWith('/t/')).toBe(true)
      }
    }),
    { numRuns: 2000 },
  )
})

test('the longest path and name are 4,095 and 255 bytes', () => {
  const target = raw(`/${'t'.repeat(93)}`)
  const long = Array.from({ length: 16 }, () => 'n'.repeat(249)).join('/')
  expect(target.length + 1 + long.length).toBe(4094)
  expect(whyNotAt(raw(`${long}x`), target)).toBeUndefined()
  expect(whyNotAt(raw(`${long}xx`), target)).toContain('4096 bytes long')
  expect(whyNotAt(raw('n'.repeat(255)), target)).toBeUndefined()
  expect(whyNotAt(raw('n'.repeat(256)), target)).toContain('longer than 255')
})

test('a path that is too long for this target fails cleanly, a shorter one beside it is placed', async () => {
  using at = scratch()
  const dirs = Array.from({ length: 39 }, () => 'n'.repeat(100)).join('/')
  const tar = tarOf([
    { at: `${dirs}/fits`, bytes: 'x' },
    { at: `${dirs}/${'too-long'.repeat(25)}`, bytes: 'x' },
  ])
  const placer = await openPlacer({ target: raw(at.path), retrievalId: 'r1', overwrite: false, setuid: false })
  const results = await collect(placer.place(tar.entries, tar.read))
  await placer.finish(async () => new Map())
  await placer.close()
  expect(results.map(({ outcome }) => outcome).sort()).toEqual(['failed', 'placed'])
})
