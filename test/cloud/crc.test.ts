import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type CrcName, combineCrcs, openCrc } from './crc.js'

const NAMES: readonly CrcName[] = ['CRC32', 'CRC32C', 'CRC64NVME']

function crcOf(name: CrcName, ...chunks: Uint8Array[]): Buffer {
  const crc = openCrc(name)
  for (const chunk of chunks) crc.update(chunk)
  return crc.digest()
}

/** One bit at a time, by the definition. */
function slowly(bytes: Uint8Array, poly: bigint, bits: bigint): string {
  const ones = (1n << bits) - 1n
  let sum = ones
  for (const byte of bytes) {
    sum ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) sum = sum & 1n ? (sum >> 1n) ^ poly : sum >> 1n
  }
  return (sum ^ ones).toString(16).padStart(Number(bits / 4n), '0')
}

describe('CRCs', () => {
  test.each([
    ['CRC32', 'cbf43926'],
    ['CRC32C', 'e3069283'],
    ['CRC64NVME', 'ae8b14860a799888'],
  ] as const)('%s of 123456789 is what the catalogue of CRCs says', (name, expected) => {
    expect(crcOf(name, Buffer.from('123456789')).toString('hex')).toBe(expected)
  })

  test('are those of the definition, in whatever chunks the bytes come', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
        const chunks = [bytes.subarray(0, cut), bytes.subarray(cut)]
        expect(crcOf('CRC32', ...chunks).toString('hex')).toBe(slowly(bytes, 0xedb88320n, 32n))
        expect(crcOf('CRC32C', ...chunks).toString('hex')).toBe(slowly(bytes, 0x82f63b78n, 32n))
        expect(crcOf('CRC64NVME', ...chunks).toString('hex')).toBe(slowly(bytes, 0x9a6c9329ac4bc9b5n, 64n))
      }),
      { numRuns: 50 },
    )
  })

  test('of a whole follow from those of its parts', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), fc.constantFrom(...NAMES), (parts, name) => {
        const sums = parts.map((part) => ({ sum: crcOf(name, part), bytes: part.length }))
        expect(combineCrcs(name, sums)).toEqual(crcOf(name, ...parts))
      }),
      { numRuns: 100 },
    )
  })
})
