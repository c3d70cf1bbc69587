import { describe, expect, test } from '@jest/globals'
import { FIRST_PART, partSizes } from './part-sizes.js'

const MIB = 2 ** 20
const GIB = 2 ** 30
const TIB = 2 ** 40

describe('the parts of an upload', () => {
  test.each([16 * MIB, 512 * MIB, 3 * GIB, 64 * GIB])('grow with their number, within S3 and %i bytes of memory', (memory) => {
    const { sizeOf, mostBytes } = partSizes(memory)
    let all = 0
    for (let part = 1; part <= 10_000; part++) {
      const size = sizeOf(part)
      expect(size).toBeGreaterThanOrEqual(part === 1 ? 0 : sizeOf(part - 1))
      expect(size).toBeGreaterThanOrEqual(5 * MIB)
      expect(size).toBeLessThanOrEqual(Math.min(5 * GIB, memory / 2))
      all += size
    }
    expect(mostBytes).toBe(Math.min(all, 5 * TIB))
  })

  test('take 2 TiB with the usual memory, and the largest object of S3 with more', () => {
    expect(partSizes(512 * MIB).mostBytes).toBeGreaterThan(2 * TIB)
    expect(partSizes(GIB).mostBytes).toBeGreaterThan(4 * TIB)
    expect(partSizes(2 * GIB).mostBytes).toBe(5 * TIB)
  })

  test('are never below what S3 takes, however little memory there is', () => {
    expect(partSizes(0).sizeOf(1)).toBe(5 * MIB)
    expect(partSizes(512 * MIB).sizeOf(1)).toBe(FIRST_PART)
  })
})
