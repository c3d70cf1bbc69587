import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { Raw } from '#libs/os/raw.js'
import { type Cut, type CutLimits, createCutter } from './cut.js'
import type { EntryType, PlannedEntry } from './entry.js'

let count = 0
const entry = (type: EntryType, size: number): PlannedEntry => ({
  path: `/e${count++}` as Raw,
  type,
  size,
  mtimeNs: 0n,
  ctimeNs: 0n,
  atimeNs: 0n,
  dev: 0n,
  ino: 0n,
  nlink: 1,
  mode: 0,
  uid: 0,
  gid: 0,
})
const file = (size: number) => entry('file', size)
const group = (names: number, size: number) => [
  entry('file', size),
  ...Array.from({ length: names - 1 }, () => entry('hardlink', size)),
]

function cutAll(limits: CutLimits, items: readonly (PlannedEntry | PlannedEntry[])[]): Cut[] {
  const cutter = createCutter(limits)
  const cuts = items.flatMap((item) => (Array.isArray(item) ? cutter.addGroup(item) : cutter.add(item)))
  return [...cuts, ...cutter.finish()]
}

const counts = (cuts: Cut[]) => cuts.map(({ files }) => files)

describe('cutting', () => {
  test('makes of 2,500 small files with a limit of 1,000 bundles of 1,000, 1,000 and 500 (G-1)', () => {
    const files = Array.from({ length: 2_500 }, () => file(10))
    const cuts = cutAll({ maxFiles: 1_000, maxBytes: 500e6 }, files)
    expect(counts(cuts)).toEqual([1_000, 1_000, 500])
    expect(cuts.flatMap(({ entries }) => entries)).toEqual(files)
  })

  test('gives each of ten files that are larger than the limit a bundle of its own (G-2)', () => {
    expect(
      counts(
        cutAll(
          { maxFiles: 1_000, maxBytes: 5e6 },
          Array.from({ length: 10 }, () => file(10e6)),
        ),
      ),
    ).toEqual(Array.from({ length: 10 }, () => 1))
  })

  test('fills a bundle to the last byte', () => {
    expect(counts(cutAll({ maxFiles: 10, maxBytes: 100 }, [file(60), file(40), file(0), file(1)]))).toEqual([3, 1])
  })

  test('keeps small files in front of a large one in their own bundle, and the order', () => {
    const [a, large, b] = [file(1), file(1_000), file(1)]
    expect(cutAll({ maxFiles: 10, maxBytes: 100 }, [a, large, b]).map(({ entries }) => entries)).toEqual([[a], [large], [b]])
  })

  test('sends directories with the large file that follows them', () => {
    const items = [entry('directory', 0), entry('directory', 0), file(1_000)]
    expect(cutAll({ maxFiles: 10, maxBytes: 100 }, items).map(({ entries }) => entries)).toEqual([items])
  })

  test('ends a bundle of nothing but directories at ten times the files', () => {
    const cuts = cutAll(
      { maxFiles: 2, maxBytes: 100 },
      Array.from({ length: 45 }, () => entry('directory', 0)),
    )
    expect(cuts.map(({ entries }) => entries.length)).toEqual([20, 20, 5])
    const full = [...Array.from({ length: 20 }, () => entry('directory', 0)), file(1_000)]
    expect(cutAll({ maxFiles: 2, maxBytes: 100 }, full).map(({ entries }) => entries.length)).toEqual([20, 1])
  })

  test('counts the bytes of an inode once, and each of its names as a file', () => {
    expect(cutAll({ maxFiles: 10, maxBytes: 100 }, [group(4, 50), file(50)])).toMatchObject([{ files: 5, bytes: 100 }])
  })

  test('of nothing makes nothing', () => {
    expect(cutAll({ maxFiles: 1, maxBytes: 1 }, [])).toEqual([])
    expect(cutAll({ maxFiles: 1, maxBytes: 1 }, [[]])).toEqual([])
  })

  test('puts every entry into exactly one bundle, in order, groups whole, within the limits', () => {
    const size = fc.oneof(fc.nat(30), fc.nat(300))
    const item = fc.oneof(
      fc
        .tuple(fc.constantFrom<EntryType>('file', 'symlink'), size)
        .map(([type, bytes]) => entry(type, type === 'file' ? bytes : 0)),
      fc.constant('directory' as const).map((type) => entry(type, 0)),
      fc.tuple(fc.integer({ min: 2, max: 12 }), size).map(([names, bytes]) => group(names, bytes)),
    )
    fc.assert(
      fc.property(
        fc.array(item, { maxLength: 120 }),
        fc.integer({ min: 1, max: 8 }),
        fc.nat(100),
        (items, maxFiles, maxBytes) => {
          const cuts = cutAll({ maxFiles, maxBytes }, items)
          expect(cuts.flatMap(({ entries }) => entries)).toEqual(items.flat())
          for (const cut of cuts) {
            const files = cut.entries.filter(({ type }) => type !== 'directory')
            const together = items.filter((one) => cut.entries.includes(Array.isArray(one) ? (one[0] as PlannedEntry) : one))
            expect(together.flat()).toEqual(cut.entries)
            expect(cut.files).toBe(files.length)
            expect(cut.bytes).toBe(together.reduce((sum, one) => sum + (Array.isArray(one) ? one[0] : one)!.size, 0))
            const alone = together.filter((one) => Array.isArray(one) || one.type !== 'directory').length === 1
            if (!alone) {
              expect(cut.files).toBeLessThanOrEqual(maxFiles)
              expect(cut.bytes).toBeLessThanOrEqual(maxBytes)
            }
            if (cut.files <= maxFiles) expect(cut.entries.length).toBeLessThanOrEqual(Math.max(10 * maxFiles, cut.files))
          }
        },
      ),
    )
  })
})
