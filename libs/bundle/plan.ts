/**
 * The binary form of planned entries: how a plan lies in the catalog until its bundle is stored, and how entries go from one thread to
 * another. Byte 0 is the version; then entry after entry. Little-endian; a directory is written once for the entries that follow in it.
 */
import { FirnError } from '#libs/errors/errors.js'
import { joinRaw, nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import type { EntryType, HeldBytes, PlannedEntry } from './entry.js'

const VERSION = 1
const TYPES: readonly EntryType[] = ['file', 'hardlink', 'symlink', 'directory']

/** The first byte of an entry: its type in the two lowest bits, then what is there. */
const SAME_DIRECTORY = 4
const LINK = 8
const HELD = 16
const UNCHANGED = 32
/** The path is `/`, which has no name in a directory. */
const ROOT = 64

/** Times 3 x 12, dev and ino 8 each, size 8, nlink, uid, gid 4 each, mode 2. */
const FIXED_BYTES = 74
const NS = 1_000_000_000n

export function encodePlan(entries: Iterable<PlannedEntry>): Uint8Array {
  let buffer = Buffer.allocUnsafe(64 * 1024)
  let at = 0
  const room = (bytes: number) => {
    if (at + bytes <= buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + bytes))
    buffer.copy(larger, 0, 0, at)
    buffer = larger
  }
  const name = (raw: string) => {
    room(4 + raw.length)
    at = buffer.writeUInt32LE(raw.length, at)
    at += buffer.write(raw, at, 'latin1')
  }
  const time = (ns: bigint) => {
    const nanoseconds = ((ns % NS) + NS) % NS
    at = buffer.writeBigInt64LE((ns - nanoseconds) / NS, at)
    at = buffer.writeUInt32LE(Number(nanoseconds), at)
  }
  buffer[at++] = VERSION
  let directory: Raw | undefined
  for (const entry of entries) {
    const { path, link, held } = entry
    const root = path === '/'
    const parent = root ? directory : parentOf(path)
    const same = parent === directory
    room(1 + FIXED_BYTES)
    buffer[at++] =
      TYPES.indexOf(entry.type) |
      (same ? SAME_DIRECTORY : 0) |
      (link === undefined ? 0 : LINK) |
      (held === undefined ? 0 : HELD) |
      (entry.unchanged ? UNCHANGED : 0) |
      (root ? ROOT : 0)
    time(entry.mtimeNs)
    time(entry.ctimeNs)
    time(entry.atimeNs)
    at = buffer.writeBigUInt64LE(entry.dev, at)
    at = buffer.writeBigUInt64LE(entry.ino, at)
    at = buffer.writeDoubleLE(entry.size, at)
    at = buffer.writeUInt32LE(entry.nlink, at)
    at = buffer.writeUInt32LE(entry.uid, at)
    at = buffer.writeUInt32LE(entry.gid, at)
    at = buffer.writeUInt16LE(entry.mode, at)
    if (!same) name(parent as Raw)
    if (!root) name(nameOf(path))
    directory = parent
    if (link !== undefined) name(link)
    if (held !== undefined) {
      name(held.bundle)
      name(held.sha256)
      room(8)
      at = buffer.writeDoubleLE(held.offset, at)
    }
  }
  return buffer.subarray(0, at)
}

/** The reverse of `encodePlan`. Throws `damaged` for bytes that it did not make. */
export function decodePlan(bytes: Uint8Array): PlannedEntry[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer[0] !== VERSION)
    throw new FirnError('damaged', `a plan of version ${buffer[0]} cannot be read by this version of Firn`)
  let at = 1
  const name = (): Raw => {
    const length = buffer.readUInt32LE(at)
    at += 4 + length
    return buffer.toString('latin1', at - length, at) as Raw
  }
  const time = (): bigint => {
    at += 12
    return buffer.readBigInt64LE(at - 12) * NS + BigInt(buffer.readUInt32LE(at - 4))
  }
  const entries: PlannedEntry[] = []
  let directory = '' as Raw
  while (at < buffer.length) {
    const flags = buffer[at++] as number
    const mtimeNs = time()
    const ctimeNs = time()
    const atimeNs = time()
    const dev = buffer.readBigUInt64LE(at)
    const ino = buffer.readBigUInt64LE(at + 8)
    const size = buffer.readDoubleLE(at + 16)
    const nlink = buffer.readUInt32LE(at + 24)
    const uid = buffer.readUInt32LE(at + 28)
    const gid = buffer.readUInt32LE(at + 32)
    const mode = buffer.readUInt16LE(at + 36)
    at += 38
    if ((flags & SAME_DIRECTORY) === 0) directory = name()
    const path = flags & ROOT ? ('/' as Raw) : joinRaw(directory, name())
    const link = flags & LINK ? name() : undefined
    const held = flags & HELD ? heldBytes() : undefined
    entries.push({
      path,
      type: TYPES[flags & 3] as EntryType,
      size,
      mtimeNs,
      ctimeNs,
      atimeNs,
      dev,
      ino,
      nlink,
      mode,
      uid,
      gid,
      ...(link !== undefined && { link }),
      ...(held !== undefined && { held }),
      ...((flags & UNCHANGED) !== 0 && { unchanged: true }),
    })
  }
  return entries

  function heldBytes(): HeldBytes {
    const bundle = name()
    const sha256 = name()
    at += 8
    return { bundle, sha256, offset: buffer.readDoubleLE(at - 8) }
  }
}
