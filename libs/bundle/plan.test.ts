import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { isFirnError } from '#libs/errors/errors.js'
import type { Raw } from '#libs/os/raw.js'
import type { PlannedEntry } from './entry.js'
import { decodePlan, encodePlan } from './plan.js'
import { plannedEntry } from './test-entries.js'

const file = (path: string, more: Partial<PlannedEntry> = {}): PlannedEntry => ({
  path: path as Raw,
  type: 'file',
  size: 5,
  mtimeNs: 1n,
  ctimeNs: 2n,
  atimeNs: 3n,
  dev: 4n,
  ino: 5n,
  nlink: 1,
  mode: 0o644,
  uid: 6,
  gid: 7,
  ...more,
})

describe('a plan', () => {
  test('comes back as it was, whatever entries are in it', () => {
    fc.assert(
      fc.property(fc.array(plannedEntry, { maxLength: 20 }), (entries) => {
        expect(decodePlan(encodePlan(entries))).toEqual(entries)
      }),
    )
  })

  test('may be empty', () => {
    expect(decodePlan(encodePlan([]))).toEqual([])
  })

  test('keeps / before, between and after other entries', () => {
    const entries = ['/', '/a', '/', '/a/b', '/a/c', '/'].map((path) => file(path))
    expect(decodePlan(encodePlan(entries))).toEqual(entries)
  })

  test('keeps names that differ only in bytes that are not UTF-8 apart', () => {
    const entries = [file('/d/\xff'), file('/d/\xfe'), file('/d/\xef\xbf\xbd')]
    expect(decodePlan(encodePlan(entries))).toEqual(entries)
  })

  test('holds many entries, and a name of 4,095 bytes', () => {
    const entries = Array.from({ length: 3_000 }, (_, i) =>
      file(`/${'x'.repeat(1 + (i % 40))}/${'n'.repeat(i === 7 ? 4_000 : 50)}${i}`),
    )
    expect(decodePlan(encodePlan(entries))).toEqual(entries)
  })

  test('says a directory once for the entries in it', () => {
    const directory = `/${'d'.repeat(200)}`
    const plan = Buffer.from(encodePlan(Array.from({ length: 100 }, (_, i) => file(`${directory}/${i}`))))
    expect(plan.toString('latin1').split(directory)).toHaveLength(2)
  })

  test('may lie anywhere in a larger buffer', () => {
    const plan = encodePlan([file('/a/b')])
    const larger = Buffer.concat([Buffer.alloc(3), plan, Buffer.alloc(9)])
    expect(decodePlan(larger.subarray(3, 3 + plan.length))).toEqual([file('/a/b')])
  })

  test('that was cut short, or is of another version, is damaged', () => {
    const plan = encodePlan([file('/a/b', { held: { bundle: 'b', sha256: 's', offset: 1 } })])
    for (let length = 2; length < plan.length; length++) {
      expect(() => decodePlan(plan.subarray(0, length))).toThrow(expect.objectContaining({ code: 'damaged' }))
    }
    expect(() => decodePlan(Buffer.from([9]))).toThrow('version 9')
    expect(() => decodePlan(Buffer.alloc(0))).toThrow(expect.objectContaining({ code: 'damaged' }))
  })

  test('made of any bytes either decodes or is damaged', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          decodePlan(Buffer.concat([Buffer.from([1]), bytes]))
        } catch (error) {
          if (!isFirnError(error, 'damaged')) throw error
        }
      }),
    )
  })
})
