/**
 * CRC32C and CRC64NVME, which Node lacks, and the sum of a whole from the sums of its parts. All reflected, begun and ended with ones.
 * Eight bytes a step ("slicing by eight"), as every byte of a bench passes here.
 */
import { crc32 } from 'node:zlib'

export type CrcName = 'CRC32' | 'CRC32C' | 'CRC64NVME'

/** Polynomials in reflected form, and their widths. */
const SHAPES: Readonly<Record<CrcName, { poly: bigint; bits: number }>> = {
  CRC32: { poly: 0xedb88320n, bits: 32 },
  CRC32C: { poly: 0x82f63b78n, bits: 32 },
  CRC64NVME: { poly: 0x9a6c9329ac4bc9b5n, bits: 64 },
}

export interface Crc {
  update(chunk: Uint8Array): void
  /** Big-endian, as the services write it. */
  digest(): Buffer
}

export function openCrc(name: CrcName): Crc {
  if (name === 'CRC32C') return openCrc32c()
  if (name === 'CRC64NVME') return openCrc64()
  let sum = 0
  return {
    update(chunk) {
      sum = crc32(chunk, sum)
    },
    digest: () => words(sum),
  }
}

function openCrc32c(): Crc {
  const { low: table } = tables('CRC32C')
  let sum = -1
  return {
    update(chunk) {
      let crc = sum | 0
      let at = 0
      for (const end = chunk.length - 7; at < end; at += 8) {
        const word = crc ^ (chunk[at]! | (chunk[at + 1]! << 8) | (chunk[at + 2]! << 16) | (chunk[at + 3]! << 24))
        crc =
          table[1792 + (word & 255)]! ^
          table[1536 + ((word >>> 8) & 255)]! ^
          table[1280 + ((word >>> 16) & 255)]! ^
          table[1024 + (word >>> 24)]! ^
          table[768 + chunk[at + 4]!]! ^
          table[512 + chunk[at + 5]!]! ^
          table[256 + chunk[at + 6]!]! ^
          table[chunk[at + 7]!]!
      }
      for (; at < chunk.length; at++) crc = (crc >>> 8) ^ table[(crc ^ chunk[at]!) & 255]!
      sum = crc
    },
    digest: () => words(~sum),
  }
}

function openCrc64(): Crc {
  const { low, high } = tables('CRC64NVME')
  let sumLow = -1
  let sumHigh = -1
  return {
    update(chunk) {
      let l = sumLow | 0
      let h = sumHigh | 0
      let at = 0
      for (const end = chunk.length - 7; at < end; at += 8) {
        const a = l ^ (chunk[at]! | (chunk[at + 1]! << 8) | (chunk[at + 2]! << 16) | (chunk[at + 3]! << 24))
        const b = h ^ (chunk[at + 4]! | (chunk[at + 5]! << 8) | (chunk[at + 6]! << 16) | (chunk[at + 7]! << 24))
        const i0 = 1792 + (a & 255)
        const i1 = 1536 + ((a >>> 8) & 255)
        const i2 = 1280 + ((a >>> 16) & 255)
        const i3 = 1024 + (a >>> 24)
        const i4 = 768 + (b & 255)
        const i5 = 512 + ((b >>> 8) & 255)
        const i6 = 256 + ((b >>> 16) & 255)
        const i7 = b >>> 24
        l = low[i0]! ^ low[i1]! ^ low[i2]! ^ low[i3]! ^ low[i4]! ^ low[i5]! ^ low[i6]! ^ low[i7]!
        h = high[i0]! ^ high[i1]! ^ high[i2]! ^ high[i3]! ^ high[i4]! ^ high[i5]! ^ high[i6]! ^ high[i7]!
      }
      for (; at < chunk.length; at++) {
        const index = (l ^ chunk[at]!) & 255
        l = ((l >>> 8) | (h << 24)) ^ low[index]!
        h = (h >>> 8) ^ high[index]!
      }
      sumLow = l
      sumHigh = h
    },
    digest: () => Buffer.concat([words(~sumHigh), words(~sumLow)]),
  }
}

/** The CRC of A followed by B: A's, moved on by B's length, and B's. */
export function combineCrcs(name: CrcName, parts: readonly { readonly sum: Buffer; readonly bytes: number }[]): Buffer {
  const { poly, bits } = SHAPES[name]
  const moves = new Map<number, bigint>() // parts of one upload have one length, nearly all
  let total: bigint | undefined
  for (const { sum, bytes } of parts) {
    const value = BigInt(`0x${sum.toString('hex')}`)
    if (total === undefined) {
      total = value
      continue
    }
    let move = moves.get(bytes)
    if (move === undefined) {
      move = power(bytes, poly, bits)
      moves.set(bytes, move)
    }
    total = multiply(total, move, poly, bits) ^ value
  }
  return Buffer.from((total ?? 0n).toString(16).padStart(bits / 4, '0'), 'hex')
}

/** x to the power of 8 n, modulo the polynomial. In reflected form the highest bit is x to the power of 0. */
function power(n: number, poly: bigint, bits: number): bigint {
  let result = 1n << BigInt(bits - 1)
  let square = 1n << BigInt(bits - 9)
  for (let left = BigInt(n); left > 0n; left >>= 1n) {
    if (left & 1n) result = multiply(result, square, poly, bits)
    square = multiply(square, square, poly, bits)
  }
  return result
}

function multiply(a: bigint, b: bigint, poly: bigint, bits: number): bigint {
  let product = 0n
  let moved = b
  for (let bit = 1n << BigInt(bits - 1); bit > 0n; bit >>= 1n) {
    if (a & bit) product ^= moved
    moved = moved & 1n ? (moved >> 1n) ^ poly : moved >> 1n
  }
  return product
}

const made = new Map<CrcName, { low: Int32Array; high: Int32Array }>()

/** Table k at 256 k: what a byte does to the sum, k bytes further on. */
function tables(name: CrcName): { low: Int32Array; high: Int32Array } {
  const known = made.get(name)
  if (known) return known
  const { poly } = SHAPES[name]
  const sums: bigint[] = []
  for (let index = 0; index < 2048; index++) {
    let sum = index < 256 ? BigInt(index) : sums[index - 256]!
    if (index < 256) for (let bit = 0; bit < 8; bit++) sum = sum & 1n ? (sum >> 1n) ^ poly : sum >> 1n
    else sum = (sum >> 8n) ^ sums[Number(sum & 255n)]!
    sums.push(sum)
  }
  const table = {
    low: Int32Array.from(sums, (sum) => Number(BigInt.asIntN(32, sum))),
    high: Int32Array.from(sums, (sum) => Number(BigInt.asIntN(32, sum >> 32n))),
  }
  made.set(name, table)
  return table
}

function words(value: number): Buffer {
  const word = Buffer.alloc(4)
  word.writeInt32BE(value | 0)
  return word
}
