import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { Raw } from '#libs/os/raw.js'
import { nameRanges } from './name-ranges.js'
import { plannedEntry } from './test-entries.js'

const [sample] = fc.sample(plannedEntry, { numRuns: 1, seed: 1 })
const at = (path: string, more = {}) => ({
  ...sample!,
  path: path as Raw,
  type: 'file' as const,
  nlink: 1,
  mtimeNs: 1n,
  ctimeNs: -2n,
  ino: 2n ** 64n - 3n,
  size: 2 ** 40 + 5,
  ...more,
})

describe('the ranges of a page', () => {
  test('are one for each directory, though what lies in a directory comes before the next name', () => {
    const ranges = nameRanges([
      at('/a', { type: 'directory', size: 0 }),
      at('/a/b', { type: 'directory', size: 0 }),
      at('/a/b/1', { size: 7 }),
      at('/a/b/2', { type: 'symlink', size: 0 }),
      at('/a/c', { size: 9 }),
    ])
    expect(ranges.map(({ directory, first, last, files, largest }) => [directory, first, last, files, largest])).toEqual([
      ['/', 'a', 'a', 0, 0],
      ['/a', 'b', 'c', 1, 9],
      ['/a/b', '1', '2', 2, 7],
    ])
  })

  test('have the hash of what Postgres says of a row', () => {
    const oid = (type: number, bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, type, 0, 0, 0, bytes.length]), bytes])
    const int8 = (value: bigint) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64BE(BigInt.asUintN(64, value))
      return oid(20, bytes)
    }
    const row = [
      Buffer.from([0, 0, 0, 6]),
      oid(17, Buffer.from('n\xff', 'latin1')),
      oid(21, Buffer.from([0, 0])),
      int8(2n ** 40n + 5n),
      int8(1n),
      int8(-2n),
      int8(2n ** 64n - 3n),
    ]
    expect(nameRanges([at('/a/n\xff')])[0]?.sha256).toBe(createHash('sha256').update(Buffer.concat(row)).digest('hex'))
  })

  test('have none where an entry must be looked at for itself', () => {
    const special = [{ nlink: 2 }, { mtimeNs: 2n ** 63n }, { ctimeNs: -(2n ** 63n) - 1n }]
    for (const more of special) {
      const [range, other] = nameRanges([at('/a/1'), at('/a/2', more), at('/b/1')])
      expect(range).not.toHaveProperty('sha256')
      expect(other).toHaveProperty('sha256')
    }
    // A directory has one name, however many links it has.
    expect(nameRanges([at('/a/1', { type: 'directory', nlink: 5 })])[0]).toHaveProperty('sha256')
  })

  test('have the same hash for the same entries, and for no others', () => {
    const change = fc.constantFrom<(path: string) => object>(
      () => ({ size: 1 }),
      () => ({ mtimeNs: 2n }),
      () => ({ ctimeNs: 2n }),
      () => ({ ino: 2n }),
      () => ({ type: 'symlink' }),
      (path) => ({ path: `${path}x` }),
    )
    const names = fc.uniqueArray(fc.stringMatching(/^[\x01-.0-\xff]{1,300}$/), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(names, fc.nat(), change, (some, which, changed) => {
        const paths = some.sort().map((name) => `/d/${name}`)
        const entries = paths.map((path) => at(path))
        const index = which % paths.length
        const others = paths.map((path, i) => at(path, i === index ? changed(path) : {}))
        const [first] = nameRanges(entries)
        expect(nameRanges(structuredClone(entries))[0]).toEqual(first)
        expect(nameRanges(others)[0]?.sha256).not.toBe(first?.sha256)
      }),
    )
  })

  test('do not mind how much there is', () => {
    const entries = Array.from({ length: 5_000 }, (_, i) => at(`/d/${String(i).padStart(250, '0')}`))
    const whole = nameRanges(entries)
    expect(whole).toHaveLength(1)
    expect(whole[0]).toMatchObject({ files: 5_000, first: entries[0]!.path.slice(3), last: entries.at(-1)!.path.slice(3) })
    const mixed = nameRanges(entries.flatMap((entry) => [entry, at(`${entry.path}/child`)]))
    expect(mixed[0]?.sha256).toBe(whole[0]?.sha256)
  })
})
