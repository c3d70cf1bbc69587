/**
 * The head of a tar member, written straight into a buffer: a ustar header, before it a pax header for what ustar cannot say, and GNU's
 * long names for names that are not UTF-8. What GNU tar, bsdtar and Python's tarfile all read in silence.
 *
 * Sources: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; the GNU tar manual, "Basic Tar Format".
 * Everything is a Raw string until it is written: no buffer a record, and the checksum is added up while the fields are written.
 */
import { type Raw, rawFromText, textOf } from '#libs/os/raw.js'

export const BLOCK = 512

/** The flags of POSIX, and of the headers that only lead to the next one. */
const TYPE_FLAG = {
  file: 0x30,
  hardlink: 0x31,
  symlink: 0x32,
  directory: 0x35,
  pax: 0x78,
  longName: 0x4c,
  longLink: 0x4b,
} as const

export interface MemberHead {
  /** Without a leading slash; of a directory with one at its end. */
  readonly name: Raw
  readonly type: 'file' | 'hardlink' | 'symlink' | 'directory'
  /** Of the data that follow: 0 for all but files. */
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly uname: string
  readonly gname: string
  readonly mtimeNs: bigint
  /** Target of a symlink; of a hard link the name of the member that has the data. */
  readonly link?: Raw | undefined
  /** More pax records, key and value raw: `SCHILY.xattr.user.x`. */
  readonly records?: ReadonlyMap<Raw, Raw> | undefined
}

/** The head, ready to be written: how long it is must be known before the data are read behind it. */
export interface PreparedHead {
  readonly bytes: number
  readonly head: MemberHead
  /** The records of its pax header; empty: it needs none. */
  readonly pax: string
  readonly longName: Raw | undefined
  readonly longLink: Raw | undefined
  /** Bytes of the name before the slash where it is cut in two; 0: it is not. */
  readonly cut: number
  /** For the ustar header. */
  readonly seconds: number
  readonly uname: string
  readonly gname: string
}

/** Where the fields of a header begin. */
const MODE = 100
const UID = 108
const GID = 116
const SIZE = 124
const MTIME = 136
const CHECKSUM = 148
const FLAG = 156
const LINK = 157
const MAGIC = 257
const UNAME = 265
const GNAME = 297
const DEVICE_MAJOR = 329
const DEVICE_MINOR = 337
const PREFIX = 345

/** The largest numbers in 7 and in 11 octal digits. */
const MAX_OCTAL_7 = 0o7777777
const MAX_OCTAL_11 = 0o77777777777
const NAME_BYTES = 100
const PREFIX_BYTES = 155
/** Of the owner's names; the last byte is a NUL. */
const OWNER_BYTES = 31
const ASCII = /^[\x00-\x7f]*$/

export function prepareHead(head: MemberHead): PreparedHead {
  const { name, link, size, uid, gid, records } = head
  const uname = rawOf(head.uname)
  const gname = rawOf(head.gname)
  const { seconds, text: mtime } = timeOf(head.mtimeNs)
  let pax = ''
  let longName: Raw | undefined
  let longLink: Raw | undefined
  let cut = 0

  if (name.length > NAME_BYTES || !ASCII.test(name)) {
    cut = cutOf(name)
    if (cut > 0) {
      // It fits.
    } else if (textOf(name) !== undefined) pax += record('path', name)
    else if (name.length > NAME_BYTES) longName = name
  }
  if (link !== undefined && (link.length > NAME_BYTES || !ASCII.test(link))) {
    if (textOf(link) !== undefined) pax += record('linkpath', link)
    else if (link.length > NAME_BYTES) longLink = link
  }
  if (mtime !== undefined) pax += record('mtime', mtime)
  if (size > MAX_OCTAL_11) pax += record('size', String(size))
  if (uid > MAX_OCTAL_7) pax += record('uid', String(uid))
  if (gid > MAX_OCTAL_7) pax += record('gid', String(gid))
  if (uname.length > OWNER_BYTES || !ASCII.test(uname)) pax += record('uname', uname)
  if (gname.length > OWNER_BYTES || !ASCII.test(gname)) pax += record('gname', gname)
  if (records !== undefined) for (const [key, value] of records) pax += record(key, value)

  const bytes = leadingBytes(pax.length) + longBytes(longName) + longBytes(longLink) + BLOCK
  return { bytes, head, pax, longName, longLink, cut, seconds, uname, gname }
}

/** Writes a head of `prepared.bytes` bytes at `start`; returns where it ends. */
export function writePrepared(prepared: PreparedHead, buffer: Buffer, start: number): number {
  const { name, link, type, size, mode, uid, gid } = prepared.head
  const { pax, longName, longLink, cut, seconds, uname, gname } = prepared
  let at = start
  if (pax !== '') at = writeLeading(buffer, at, '././@PaxHeader', TYPE_FLAG.pax, pax)
  // GNU's values end with a NUL.
  if (longName !== undefined) at = writeLeading(buffer, at, '././@LongLink', TYPE_FLAG.longName, `${longName}\0`)
  if (longLink !== undefined) at = writeLeading(buffer, at, '././@LongLink', TYPE_FLAG.longLink, `${longLink}\0`)

  buffer.set(TEMPLATE, at)
  let sum = TEMPLATE_SUM
  if (cut > 0) {
    sum += put(buffer, at + PREFIX, name, 0, cut)
    sum += put(buffer, at, name, cut + 1, name.length)
  } else sum += put(buffer, at, name, 0, Math.min(name.length, NAME_BYTES))
  sum += octal7(buffer, at + MODE, mode)
  sum += octal7(buffer, at + UID, uid)
  sum += octal7(buffer, at + GID, gid)
  sum += octal11(buffer, at + SIZE, size)
  sum += octal11(buffer, at + MTIME, Math.min(Math.max(seconds, 0), MAX_OCTAL_11))
  if (link !== undefined) sum += put(buffer, at + LINK, link, 0, Math.min(link.length, NAME_BYTES))
  sum += put(buffer, at + UNAME, uname, 0, Math.min(uname.length, OWNER_BYTES))
  sum += put(buffer, at + GNAME, gname, 0, Math.min(gname.length, OWNER_BYTES))
  seal(buffer, at, TYPE_FLAG[type], sum)
  return at + BLOCK
}

/** Rounded up to whole blocks. */
export const padded = (bytes: number): number => Math.ceil(bytes / BLOCK) * BLOCK

const leadingBytes = (bytes: number): number => (bytes === 0 ? 0 : BLOCK + padded(bytes))
const longBytes = (value: Raw | undefined): number => (value === undefined ? 0 : leadingBytes(value.length + 1))

const rawOf = (text: string): string => (ASCII.test(text) ? text : rawFromText(text))

/** `<length> <key>=<value>\n`, where the length counts itself. */
function record(key: string, value: string): string {
  const rest = key.length + value.length + 3
  let length = rest + String(rest).length
  length = rest + String(length).length
  return `${length} ${key}=${value}\n`
}

/** Nanoseconds of a second, in digits. */
const DECIMALS = 9
const ZERO = 0x30

/**
 * Whole seconds, rounded down, for the header; and where they do not say it all, the time as pax has it: `1.5`, also `-1.5` before 1970.
 * Digits are cut from the number's text: a fifth of the time that dividing bigints takes.
 */
function timeOf(ns: bigint): { seconds: number; text: string | undefined } {
  const sign = ns < 0n ? '-' : ''
  const digits = String(ns < 0n ? -ns : ns).padStart(DECIMALS + 1, '0')
  const point = digits.length - DECIMALS
  let end = digits.length
  while (end > point && digits.charCodeAt(end - 1) === ZERO) end--
  const whole = digits.slice(0, point)
  const seconds = Number(whole)
  if (end > point) {
    return { seconds: sign ? -seconds - 1 : seconds, text: `${sign}${whole}.${digits.slice(point, end)}` }
  }
  return sign || seconds > MAX_OCTAL_11
    ? { seconds: sign ? -seconds : seconds, text: sign + whole }
    : { seconds, text: undefined }
}

/** Where an ASCII name can be cut at a slash, so that both parts fit into the fields of ustar; 0 where it need not or cannot be. */
function cutOf(name: string): number {
  if (name.length <= NAME_BYTES || name.length > NAME_BYTES + 1 + PREFIX_BYTES || !ASCII.test(name)) return 0
  // The slash at the end of a directory belongs to its name.
  const slash = name.indexOf('/', name.length - NAME_BYTES - 1)
  return slash < 1 || slash > PREFIX_BYTES || slash >= name.length - 1 ? 0 : slash
}

/** What all headers have: the magic number, no device, and a checksum of spaces, as which it counts itself. */
const TEMPLATE = Buffer.alloc(BLOCK)
TEMPLATE.fill(0x20, CHECKSUM, FLAG)
TEMPLATE.write('ustar\x0000', MAGIC, 'latin1')
octal7(TEMPLATE, DEVICE_MAJOR, 0)
octal7(TEMPLATE, DEVICE_MINOR, 0)
const TEMPLATE_SUM = TEMPLATE.reduce((sum, byte) => sum + byte, 0)

/** A header that says something about the next one, and what it says. */
function writeLeading(buffer: Buffer, at: number, name: string, flag: number, value: string): number {
  buffer.set(TEMPLATE, at)
  let sum = TEMPLATE_SUM
  sum += put(buffer, at, name, 0, name.length)
  sum += octal7(buffer, at + MODE, 0o644)
  sum += octal7(buffer, at + UID, 0)
  sum += octal7(buffer, at + GID, 0)
  sum += octal11(buffer, at + SIZE, value.length)
  sum += octal11(buffer, at + MTIME, 0)
  seal(buffer, at, flag, sum)
  const start = at + BLOCK
  const end = start + padded(value.length)
  buffer.write(value, start, 'latin1')
  buffer.fill(0, start + value.length, end)
  return end
}

/** The last two fields of a header; `sum` is that of all others. */
function seal(buffer: Buffer, at: number, flag: number, sum: number): void {
  buffer[at + FLAG] = flag
  let rest = sum + flag
  for (let i = at + CHECKSUM + 5; i >= at + CHECKSUM; i--) {
    buffer[i] = 0x30 + (rest & 7)
    rest >>>= 3
  }
  buffer[at + CHECKSUM + 6] = 0 // the eighth byte stays a space
}

/** Writes a part of a Raw string; returns the sum of its bytes. For some ten bytes a loop is faster than a call out of JavaScript. */
function put(buffer: Buffer, at: number, text: string, from: number, to: number): number {
  let sum = 0
  for (let i = from; i < to; i++) {
    const byte = text.charCodeAt(i)
    buffer[at + i - from] = byte
    sum += byte
  }
  return sum
}

/** Octal digits and a NUL; returns the sum of the bytes. What does not fit goes as GNU tar writes it. */
function octal7(buffer: Buffer, at: number, value: number): number {
  if (value > MAX_OCTAL_7) return base256(buffer, at, 7, value)
  let sum = 0
  let rest = value
  for (let i = at + 6; i >= at; i--) {
    const digit = 0x30 + (rest & 7)
    buffer[i] = digit
    sum += digit
    rest >>>= 3
  }
  return sum
}

function octal11(buffer: Buffer, at: number, value: number): number {
  if (value > MAX_OCTAL_11) return base256(buffer, at, 11, value)
  let sum = 0
  // Bit operations end at 32 bits: the upper six digits and the lower five apart.
  let low = value % 0o100000
  let high = Math.floor(value / 0o100000)
  for (let i = at + 10; i >= at; i--) {
    const digit = 0x30 + (low & 7)
    buffer[i] = digit
    sum += digit
    low >>>= 3
    if (i === at + 6) {
      low = high
      high = 0
    }
  }
  return sum
}

/** Big-endian, with the highest bit set. */
function base256(buffer: Buffer, at: number, digits: number, value: number): number {
  let sum = 0x80
  let rest = value
  for (let i = at + digits; i > at; i--) {
    const byte = rest % 256
    buffer[i] = byte
    sum += byte
    rest = Math.floor(rest / 256)
  }
  buffer[at] = 0x80
  return sum
}
