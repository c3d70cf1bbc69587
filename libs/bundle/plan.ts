/**
 * The binary form of planned entries: how a plan lies in the catalog until its bundle is stored, and how entries go from one thread to
 * another. Byte 0 is the version; then entry after entry. Little-endian; a directory is written once for the entries that follow in it.
 */
import { FirnError } from '#libs/errors/errors.js'
import { joinRaw, nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { ENTRY_TYPES, type EntryType, type HeldBytes, type PlannedEntry } from './entry.js'

const VERSION = 1

/** The first byte of an entry: its type in the two lowest bits, then what is there. */
const SAME_DIRECTORY = 4
const LINK = 8
const HELD = 16
const UNCHANGED = 32
/** The path is `/`, which has no name in a directory. */
const ROOT = 64
/** A time lies beyond 64 bits of nanoseconds (the years 1677 to 2262): of each, what 64 bits more say. */
const WIDE = 128

/** Flags 1, times 3 x 8, dev, ino and size 8 each, nlink, uid, gid 4 each, mode 2. */
const FIXED_BYTES = 63
const WIDE_BYTES = 24

export function encodePlan(entries: Iterable<PlannedEntry>): Uint8Array {
  let buffer = Buffer.allocUnsafeSlow(64 * 1024)
  let view = new DataView(buffer.buffer)
  let at = 0
  const room = (bytes: number) => {
    if (at + bytes <= buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(buffer.length * 2, at + bytes))
    buffer.copy(larger, 0, 0, at)
    buffer = larger
    view = new DataView(buffer.buffer)
  }
  const name = (raw: string) => {
    room(4 + raw.length)
    view.setUint32(at, raw.length, true)
    at += 4
    at += buffer.write(raw, at, 'latin1')
  }
  buffer[at++] = VERSION
  let directory: Raw | undefined
  for (const entry of entries) {
    const { path, link, held, mtimeNs, ctimeNs, atimeNs } = entry
    const root = path === '/'
    const parent = root ? directory : parentOf(path)
    const same = parent === directory
    const wide = !isNarrow(mtimeNs) || !isNarrow(ctimeNs) || !isNarrow(atimeNs)
    room(FIXED_BYTES + WIDE_BYTES)
    view.setUint8(
      at,
      ENTRY_TYPES.indexOf(entry.type) |
        (same ? SAME_DIRECTORY : 0) |
        (link === undefined ? 0 : LINK) |
        (held === undefined ? 0 : HELD) |
        (entry.unchanged ? UNCHANGED : 0) |
        (root ? ROOT : 0) |
        (wide ? WIDE : 0),
    )
    view.setBigInt64(at + 1, mtimeNs, true)
    view.setBigInt64(at + 9, ctimeNs, true)
    view.setBigInt64(at + 17, atimeNs, true)
    view.setBigUint64(at + 25, entry.dev, true)
    view.setBigUint64(at + 33, entry.ino, true)
    view.setFloat64(at + 41, entry.size, true)
    view.setUint32(at + 49, entry.nlink, true)
    view.setUint32(at + 53, entry.uid, true)
    view.setUint32(at + 57, entry.gid, true)
    view.setUint16(at + 61, entry.mode, true)
    at += FIXED_BYTES
    if (wide) {
      view.setBigInt64(at, mtimeNs >> 64n, true)
      view.setBigInt64(at + 8, ctimeNs >> 64n, true)
      view.setBigInt64(at + 16, atimeNs >> 64n, true)
      at += WIDE_BYTES
    }
    if (!same) name(parent as Raw)
    if (!root) name(nameOf(path))
    directory = parent
    if (link !== undefined) name(link)
    if (held !== undefined) {
      name(held.bundle)
      name(held.sha256)
      room(8)
      view.setFloat64(at, held.offset, true)
      at += 8
    }
  }
  // A copy: whoever posts it to a thread would send the unused rest of the memory along.
  return new Uint8Array(buffer.subarray(0, at))
}

/** Whether 64 bits of nanoseconds hold a time: the years 1677 to 2262. */
export const isNarrow = (ns: bigint): boolean => BigInt.asIntN(64, ns) === ns

/** The reverse of `encodePlan`. Throws `damaged` for bytes that it did not make. */
export function decodePlan(bytes: Uint8Array): PlannedEntry[] {
  if (bytes[0] !== VERSION) throw new FirnError('damaged', `a plan of version ${bytes[0]} cannot be read by this version of Firn`)
  try {
    return decodeEntries(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  } catch (error) {
    // What a view throws when it is asked for bytes beyond its end.
    throw new FirnError('damaged', 'a plan is damaged: it ends in the middle of an entry', { cause: error })
  }
}

function decodeEntries(buffer: Buffer): PlannedEntry[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
  let at = 1
  const name = (): Raw => {
    const length = view.getUint32(at, true)
    const start = at + 4
    at = start + length
    if (at > buffer.length) throw new RangeError('a name ends beyond the plan')
    return buffer.toString('latin1', start, at) as Raw
  }
  const heldBytes = (): HeldBytes => {
    const bundle = name()
    const sha256 = name()
    at += 8
    return { bundle, sha256, offset: view.getFloat64(at - 8, true) }
  }
  const entries: PlannedEntry[] = []
  let directory = '' as Raw
  while (at < buffer.length) {
    const start = at
    const flags = view.getUint8(start)
    at += FIXED_BYTES
    let high = NO_HIGH
    if (flags & WIDE) {
      high = [view.getBigInt64(at, true), view.getBigInt64(at + 8, true), view.getBigInt64(at + 16, true)]
      at += WIDE_BYTES
    }
    if ((flags & SAME_DIRECTORY) === 0) directory = name()
    const path = flags & ROOT ? ('/' as Raw) : joinRaw(directory, name())
    const entry: { -readonly [K in keyof PlannedEntry]: PlannedEntry[K] } = {
      path,
      type: ENTRY_TYPES[flags & 3] as EntryType,
      size: view.getFloat64(start + 41, true),
      mtimeNs: time(start + 1, high[0]),
      ctimeNs: time(start + 9, high[1]),
      atimeNs: time(start + 17, high[2]),
      dev: view.getBigUint64(start + 25, true),
      ino: view.getBigUint64(start + 33, true),
      nlink: view.getUint32(start + 49, true),
      mode: view.getUint16(start + 61, true),
      uid: view.getUint32(start + 53, true),
      gid: view.getUint32(start + 57, true),
    }
    if (flags & LINK) entry.link = name()
    if (flags & HELD) entry.held = heldBytes()
    if (flags & UNCHANGED) entry.unchanged = true
    entries.push(entry)
  }
  return entries

  function time(from: number, upper: bigint | undefined): bigint {
    return upper === undefined ? view.getBigInt64(from, true) : (upper << 64n) | view.getBigUint64(from, true)
  }
}

const NO_HIGH: readonly (bigint | undefined)[] = []
