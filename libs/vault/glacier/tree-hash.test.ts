/** Hashes, parts and ranges: the arithmetic of a Glacier vault, against the SDK's own hash and against the rules written plainly. */
import { createHash, type Hash } from 'node:crypto'
import { TreeHash } from '@aws-sdk/sha256-tree-hash'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { isTreeAligned, leafHasher, rootOf } from '../../../test/cloud/glacier/tree-hash.js'
import { holds, isNode, parseRange, rangeText, rangeToThaw, wholeMib } from './aligned-range.js'
import { LARGEST_ARCHIVE, MOST_PARTS, partBytesFor } from './part-size.js'
import { MIB, treeHash, treeHasher, treeHashOfParts } from './tree-hash.js'

/** Bytes that differ from MiB to MiB, without asking for random ones. */
function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length, seed & 0xff)
  for (let at = 0; at < length; at += 65_521) bytes.writeUInt8((seed + at / 65_521) & 0xff, at)
  return bytes
}

/** What the SDK's hash wants of a hash. */
class Sha256 {
  private hash: Hash = createHash('sha256')
  update(chunk: Uint8Array): void {
    this.hash.update(chunk)
  }
  async digest(): Promise<Uint8Array> {
    return this.hash.digest()
  }
  reset(): void {
    this.hash = createHash('sha256')
  }
}

async function oracle(bytes: Uint8Array): Promise<string> {
  if (bytes.length === 0) return createHash('sha256').digest('hex') // it has none of nothing
  const hash = new TreeHash(Sha256 as never, (text: string) => Buffer.from(text))
  hash.update(bytes)
  return Buffer.from(await hash.digest()).toString('hex')
}

const size = fc.oneof(
  fc.nat(3 * MIB),
  fc.tuple(fc.nat(21), fc.constantFrom(-1, 0, 1, 4711)).map(([mib, more]) => Math.max(0, mib * MIB + more)),
)

describe('the tree hash', () => {
  test('is that of the SDK and that of the emulator, for any size, in chunks of any size', async () => {
    await fc.assert(
      fc.asyncProperty(size, fc.nat(255), fc.integer({ min: 1, max: 5 * MIB }), async (length, seed, chunk) => {
        const bytes = bytesOf(length, seed)
        const hasher = treeHasher()
        const leaves = leafHasher()
        for (let at = 0; at < length; at += chunk) {
          hasher.update(bytes.subarray(at, at + chunk))
          leaves.update(bytes.subarray(at, at + chunk))
        }
        const mine = hasher.digest().toString('hex')
        expect(mine).toBe(await oracle(bytes))
        expect(mine).toBe(rootOf(leaves.leaves()))
        expect(mine).toBe(treeHash(bytes).toString('hex'))
      }),
      {
        numRuns: 25,
        examples: [
          [0, 1, 1],
          [1, 1, 1],
          [MIB, 1, MIB],
          [7 * MIB, 1, MIB - 1],
        ],
      },
    )
  })

  test('of the whole follows from those of its parts', () => {
    fc.assert(
      fc.property(size, fc.nat(255), fc.constantFrom(1, 2, 4, 8), (length, seed, mib) => {
        const bytes = bytesOf(length, seed)
        const parts: Buffer[] = []
        for (let at = 0; at < length; at += mib * MIB) parts.push(treeHash(bytes.subarray(at, at + mib * MIB)))
        expect(treeHashOfParts(parts).equals(treeHash(bytes))).toBe(true)
      }),
      { numRuns: 25 },
    )
  })
})

describe('parts', () => {
  test('are a MiB times a power of two, and 10,000 of them hold what was said', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: Math.log2(LARGEST_ARCHIVE), noNaN: true }), (log) => {
        const bytes = Math.floor(2 ** log)
        const part = partBytesFor(bytes)
        expect(Number.isInteger(Math.log2(part / MIB))).toBe(true)
        expect(part * MOST_PARTS).toBeGreaterThanOrEqual(bytes)
        expect(part).toBeLessThanOrEqual(4096 * MIB)
      }),
    )
  })

  test('hold 640 GB where nobody said how much comes, and are smaller where a bundle says so', () => {
    expect(partBytesFor() * MOST_PARTS).toBeGreaterThan(640e9)
    expect(partBytesFor(500e6)).toBe(16 * MIB)
    expect(partBytesFor(1e12)).toBe(128 * MIB)
  })

  test('do not hold more than the service takes', () => {
    expect(() => partBytesFor(LARGEST_ARCHIVE + 1)).toThrow(/do not fit into one archive/)
  })
})

describe('a range to thaw', () => {
  const archive = fc.integer({ min: 1, max: 60 * MIB })
  const withRange = archive.chain((bytes) =>
    fc.tuple(fc.constant(bytes), fc.nat(bytes - 1), fc.nat(bytes - 1)).map(([all, a, b]) => {
      const offset = Math.min(a, b)
      return { bytes: all, wanted: { offset, length: Math.max(a, b) - offset + 1 } }
    }),
  )

  test('holds what is wanted, is of whole MiB, and is a node of the tree where that costs little', () => {
    fc.assert(
      fc.property(withRange, ({ bytes, wanted }) => {
        const whole = wholeMib(wanted, bytes)
        const asked = rangeToThaw(wanted, bytes) ?? { offset: 0, length: bytes }
        expect(holds(asked, wanted)).toBe(true)
        const end = asked.offset + asked.length
        expect(asked.offset % MIB).toBe(0)
        expect(end % MIB === 0 || end === bytes).toBe(true)
        expect(asked.length).toBeLessThanOrEqual(whole.length + Math.max(8 * MIB, whole.length))
        expect(isNode(asked, bytes)).toBe(isTreeAligned(asked.offset, end - 1, bytes))
        expect(parseRange(rangeText(asked))).toEqual(asked)
      }),
      { numRuns: 300 },
    )
  })

  test('is a node exactly where the tree has one', () => {
    for (const bytes of [1, MIB, 5 * MIB, 7 * MIB + 5, 8 * MIB]) {
      for (let from = 0; from < bytes; from += MIB) {
        for (let to = Math.min(from + MIB, bytes); ; to = Math.min(to + MIB, bytes)) {
          expect([bytes, from, to, isNode({ offset: from, length: to - from }, bytes)]).toEqual([
            bytes,
            from,
            to,
            isTreeAligned(from, to - 1, bytes),
          ])
          if (to === bytes) break
        }
      }
    }
  })

  test('of a file in the middle of a large bundle is a MiB or some, not the bundle', () => {
    const asked = rangeToThaw({ offset: 255 * MIB + 1000, length: 50_000 }, 500 * MIB)
    expect(asked).toEqual({ offset: 255 * MIB, length: MIB })
    // Across the middle of the tree only the whole would be a node.
    const across = rangeToThaw({ offset: 256 * MIB - 10, length: 20 }, 500 * MIB)
    expect(across).toEqual({ offset: 255 * MIB, length: 2 * MIB })
    expect(rangeToThaw({ offset: 0, length: 500 * MIB }, 500 * MIB)).toBeUndefined()
    expect(rangeToThaw(undefined, 500 * MIB)).toBeUndefined()
  })
})
