/** The names in a directory, byte-true, in byte order, without moving the directory's atime where the system allows that. */
import { closeSync, constants, openSync, readdirSync } from 'node:fs'
import { endianness } from 'node:os'
import { readDirectoryRecords } from './libc.js'
import { type Raw, rawToBytes } from './raw.js'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NOATIME = 0 } = constants
const OPEN_HELD = O_RDONLY | O_DIRECTORY
const OPEN = OPEN_HELD | O_NOFOLLOW

export interface Names {
  readonly count: number
  /** In byte order; made when asked for. */
  name(index: number): Raw
  /** False only where the directory itself says that this is none: on some file systems it does not say. */
  mayBeDirectory(index: number): boolean
}

/** Some thousand names a call; used by one listing at a time, as listing is synchronous. */
const records = Buffer.alloc(256 * 1024)
/** The same in the numbers of this machine; every record begins at a multiple of eight. */
const shorts = new Uint16Array(records.buffer, records.byteOffset, records.length / 2)

/** Offsets in `struct linux_dirent64`: inode 8, offset 8, length of the record 2, type 1, then the name up to a NUL. */
const RECORD_LENGTH = 16
const RECORD_TYPE = 18
const RECORD_NAME = 19

/** DT_UNKNOWN and DT_DIR of <dirent.h>. */
const UNKNOWN = 0
const DIRECTORY = 4

/**
 * No string and no object a name until it is asked for: while it is walked, a directory takes the bytes of its names and 11 more for each,
 * some 30 MB for a million names of 20 bytes (and twice that for a moment, while the buffers grow). Up to 4 GiB of names.
 * `held`: the path is that of an open descriptor in /proc, which is a link.
 */
export function listNames(path: Raw, { held = false } = {}): Names {
  const fd = open(rawToBytes(path), held ? OPEN_HELD : OPEN)
  try {
    const names = createPack()
    for (;;) {
      const bytes = readDirectoryRecords(fd, records)
      if (bytes === undefined) return listAsNodeDoes(path)
      if (bytes === 0) return names.sorted()
      for (let at = 0; at < bytes; at += shorts[(at + RECORD_LENGTH) / 2]!)
        names.add(records[at + RECORD_TYPE]!, records, at + RECORD_NAME)
    }
  } finally {
    closeSync(fd)
  }
}

/** With a string for every name, and no types: those that Node gives beside it are wrong for names that are not UTF-8. */
function listAsNodeDoes(path: Raw): Names {
  const names = createPack()
  for (const name of readdirSync(rawToBytes(path), 'latin1')) names.add(UNKNOWN, Buffer.from(`${name}\0`, 'latin1'), 0)
  return names.sorted()
}

/** O_NOATIME is for the owner and root only: others open without it. */
function open(path: Buffer, flags: number): number {
  try {
    return openSync(path, flags | O_NOATIME)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
    return openSync(path, flags)
  }
}

/** Before a name in the pack: its type, and its length in two bytes (over 255 where a file system counts in characters). */
const HEAD = 3
const DOT = 46

/** The halves of a sort key, a 64-bit number of this machine: which four bytes of the name above, and where it lies below. */
const PLACE = endianness() === 'LE' ? 0 : 1
const LETTERS = 1 - PLACE

/** Names one after another in one buffer, and a key for each. */
function createPack() {
  let pack = Buffer.allocUnsafe(2048)
  let end = 0
  let keys = new Uint32Array(128)
  let count = 0

  return {
    /** The name ends with a NUL. */
    add(type: number, from: Buffer, at: number): void {
      let length = 0
      while (from[at + length] !== 0) length++
      if (from[at] === DOT && (length === 1 || (length === 2 && from[at + 1] === DOT))) return
      if (end + HEAD + length > pack.length) {
        const larger = Buffer.allocUnsafe(pack.length * 2 + length)
        pack.copy(larger, 0, 0, end)
        pack = larger
      }
      if (count * 2 === keys.length) {
        const larger = new Uint32Array(keys.length * 2)
        larger.set(keys)
        keys = larger
      }
      keys[2 * count++ + PLACE] = end
      pack[end] = type
      pack[end + 1] = length & 255
      pack[end + 2] = length >> 8
      end += HEAD
      for (let i = 0; i < length; i++) pack[end++] = from[at + i]!
    },

    sorted(): Names {
      if (sortKeys(pack, keys, 0, count, 0)) count = dropDoubles(pack, keys, count)
      return {
        count,
        name(index) {
          const at = keys[2 * index + PLACE]!
          return pack.toString('latin1', at + HEAD, at + HEAD + lengthAt(pack, at)) as Raw
        },
        mayBeDirectory(index) {
          const type = pack[keys[2 * index + PLACE]!]
          return type === DIRECTORY || type === UNKNOWN
        },
      }
    },
  }
}

const lengthAt = (pack: Buffer, at: number): number => pack[at + 1]! | (pack[at + 2]! << 8)

/**
 * Sorts the keys of names that agree in their first `depth` bytes: by the next four that differ, as numbers and without a comparing
 * function, then each group of equals in itself. Returns whether a name is there twice.
 */
function sortKeys(pack: Buffer, keys: Uint32Array, from: number, to: number, depth: number): boolean {
  if (to - from < 2) return false
  let doubles = false
  const skip = depth + commonBytes(pack, keys, from, to, depth)
  for (let i = from; i < to; i++) keys[2 * i + LETTERS] = lettersAt(pack, keys[2 * i + PLACE]!, skip)
  new BigUint64Array(keys.buffer, keys.byteOffset + 8 * from, to - from).sort()
  for (let first = from; first < to; ) {
    const letters = keys[2 * first + LETTERS]!
    let next = first + 1
    while (next < to && keys[2 * next + LETTERS] === letters) next++
    // A last byte of 0 is behind the end: these names are the same.
    if ((letters & 255) !== 0) doubles = sortKeys(pack, keys, first, next, skip + 4) || doubles
    else if (next - first > 1) doubles = true
    first = next
  }
  return doubles
}

/** Four bytes of a name from `skip` on as a number that compares as they do; behind its end zeros, which no name has. */
function lettersAt(pack: Buffer, place: number, skip: number): number {
  const at = place + HEAD + skip
  const left = lengthAt(pack, place) - skip
  if (left >= 4) return ((pack[at]! << 24) | (pack[at + 1]! << 16) | (pack[at + 2]! << 8) | pack[at + 3]!) >>> 0
  let letters = 0
  for (let i = 0; i < left; i++) letters |= pack[at + i]! << (24 - 8 * i)
  return letters >>> 0
}

/** How many bytes from `depth` on all of them share. */
function commonBytes(pack: Buffer, keys: Uint32Array, from: number, to: number, depth: number): number {
  const first = keys[2 * from + PLACE]!
  let common = lengthAt(pack, first) - depth
  const a = first + HEAD + depth
  for (let i = from + 1; i < to && common > 0; i++) {
    const place = keys[2 * i + PLACE]!
    common = Math.min(common, lengthAt(pack, place) - depth)
    const b = place + HEAD + depth
    let same = 0
    while (same < common && pack[a + same] === pack[b + same]) same++
    common = same
  }
  return common
}

/** Some file systems give a name twice while the directory changes. Returns how many are left. */
function dropDoubles(pack: Buffer, keys: Uint32Array, count: number): number {
  let kept = 0
  for (let i = 0; i < count; i++) {
    const place = keys[2 * i + PLACE]!
    if (kept > 0 && isSame(pack, keys[2 * (kept - 1) + PLACE]!, place)) continue
    keys[2 * kept++ + PLACE] = place
  }
  return kept
}

function isSame(pack: Buffer, a: number, b: number): boolean {
  const length = lengthAt(pack, a)
  return length === lengthAt(pack, b) && pack.compare(pack, b + HEAD, b + HEAD + length, a + HEAD, a + HEAD + length) === 0
}
