/**
 * Neighbouring names of one directory under one hash of all that an entry must have in common with its stored version to be unchanged.
 * So a crawl asks the catalog about a directory, not about each of its files; only where the answer is no are entries looked at one by one.
 */
import { createHash, hash } from 'node:crypto'
import { nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { ENTRY_TYPES, isFile, type PlannedEntry } from './entry.js'
import { isNarrow } from './plan.js'

export interface NameRange {
  readonly directory: Raw
  /** Names, both inclusive. */
  readonly first: Raw
  readonly last: Raw
  readonly entries: number
  /** How many of them are files. */
  readonly files: number
  /** Bytes of the largest file. */
  readonly largest: number
  /** Hex. Undefined where more is to be known of an entry: it has several names, or a time that 64 bits of nanoseconds do not hold. */
  readonly sha256?: string
}

/**
 * An entry in the form of Postgres' record_send(ROW(name, type, size, mtime_ns, ctime_ns, ino)), so that the catalog can hash its rows
 * where they are: the number of columns, then of each its type (the OID), its length and its bytes. Big-endian.
 */
const BYTEA = 17
const INT2 = 21
const INT8 = 20
const COLUMNS = 6
/** In front of the name: columns, type and length. */
const HEAD_BYTES = 12
/** Behind it: an int2 and four int8, each with type and length. */
const TAIL_BYTES = 10 + 4 * 16
const TAIL = Buffer.alloc(TAIL_BYTES)
TAIL.writeInt32BE(INT2, 0)
TAIL.writeInt32BE(2, 4)
for (let at = 10; at < TAIL_BYTES; at += 16) {
  TAIL.writeInt32BE(INT8, at)
  TAIL.writeInt32BE(8, at + 4)
}

/** A range that is being put together. Its entries need not follow each other: what lies in a directory comes before the next name. */
interface Open {
  readonly directory: Raw
  readonly first: Raw
  last: Raw
  entries: number
  files: number
  largest: number
  plain: boolean
  /** Where its records are: from, to, from, to ... */
  readonly at: number[]
}

/** One for each directory, in the order in which they are met; of the entries of a directory names must ascend. */
export function nameRanges(entries: readonly PlannedEntry[]): NameRange[] {
  const ranges = new Map<Raw, Open>()
  const records = new Records()
  let range: Open | undefined
  for (const entry of entries) {
    const { path, type, size } = entry
    const directory = parentOf(path)
    const name = nameOf(path)
    if (range?.directory !== directory) {
      range = ranges.get(directory)
      if (range === undefined) {
        range = { directory, first: name, last: name, entries: 0, files: 0, largest: 0, plain: true, at: [] }
        ranges.set(directory, range)
      }
    }
    range.last = name
    range.entries++
    if (isFile(type)) range.files++
    if (size > range.largest) range.largest = size
    if (!isPlain(entry)) range.plain = false
    const { at } = range
    const from = records.bytes
    const to = records.add(name, entry)
    if (at[at.length - 1] === from) at[at.length - 1] = to
    else at.push(from, to)
  }
  return [...ranges.values()].map(({ directory, first, last, entries: count, files, largest, plain, at }) => ({
    directory,
    first,
    last,
    entries: count,
    files,
    largest,
    ...(plain && { sha256: records.hash(at) }),
  }))
}

const isPlain = ({ type, nlink, mtimeNs, ctimeNs }: PlannedEntry): boolean =>
  (type !== 'file' || nlink === 1) && isNarrow(mtimeNs) && isNarrow(ctimeNs)

class Records {
  /** How many there are. */
  bytes = 0
  private buffer = Buffer.allocUnsafe(256 * 1024)
  private view = viewOf(this.buffer)

  /** Returns where it ends. */
  add(name: Raw, { type, size, mtimeNs, ctimeNs, ino }: PlannedEntry): number {
    const tail = this.bytes + HEAD_BYTES + name.length
    const end = tail + TAIL_BYTES
    if (end > this.buffer.length) this.grow(end)
    const { buffer, view } = this
    view.setInt32(this.bytes, COLUMNS)
    view.setInt32(this.bytes + 4, BYTEA)
    view.setInt32(this.bytes + 8, name.length)
    buffer.write(name, this.bytes + HEAD_BYTES, 'latin1')
    buffer.set(TAIL, tail)
    view.setInt16(tail + 8, ENTRY_TYPES.indexOf(type))
    view.setInt32(tail + 18, Math.floor(size / 2 ** 32))
    view.setUint32(tail + 22, size % 2 ** 32)
    view.setBigInt64(tail + 34, mtimeNs)
    view.setBigInt64(tail + 50, ctimeNs)
    view.setBigUint64(tail + 66, ino)
    this.bytes = end
    return end
  }

  hash(at: readonly number[]): string {
    if (at.length === 2) return hash('sha256', this.buffer.subarray(at[0], at[1]), 'hex')
    const all = createHash('sha256')
    for (let i = 0; i < at.length; i += 2) all.update(this.buffer.subarray(at[i], at[i + 1]))
    return all.digest('hex')
  }

  private grow(least: number): void {
    const larger = Buffer.allocUnsafe(Math.max(least, this.buffer.length * 2))
    this.buffer.copy(larger, 0, 0, this.bytes)
    this.buffer = larger
    this.view = viewOf(larger)
  }
}

const viewOf = (buffer: Buffer): DataView => new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
