/**
 * The head of a tar member, written straight into a buffer: a ustar header, before it a pax header for what ustar cannot say, and GNU's
 * long names for names that are not UTF-8. What GNU tar, bsdtar and Python's tarfile all read in silence.
 *
 * Sources: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; the GNU tar manual, "Basic Tar Format".
 */
import { type Raw, textOf } from '#libs/os/raw.js'

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
  readonly link?: Raw
  /** More pax records, value raw: `SCHILY.xattr.user.x`. */
  readonly records?: ReadonlyMap<string, Buffer>
}

/** The head, ready to be written: how long it is must be known before the data are read behind it. */
export interface PreparedHead {
  readonly bytes: number
  /** Returns where it ends. */
  write(buffer: Buffer, at: number): number
}

const NS = 1_000_000_000n
/** The largest numbers in 7 and in 11 octal digits. */
const MAX_OCTAL_7 = 0o7777777
const MAX_OCTAL_11 = 0o77777777777
const NAME_BYTES = 100
const PREFIX_BYTES = 155
const ASCII = /^[\x00-\x7f]*$/

export function prepareHead(head: MemberHead): PreparedHead {
  const { name, link } = head
  const records: Buffer[] = []
  const long: { flag: number; value: Raw }[] = []

  const split = ASCII.test(name) ? splitName(name) : undefined
  if (split === undefined && textOf(name) !== undefined) records.push(record('path', Buffer.from(name, 'latin1')))
  else if (split === undefined && name.length > NAME_BYTES) long.push({ flag: TYPE_FLAG.longName, value: name })
  if (link !== undefined && (link.length > NAME_BYTES || !ASCII.test(link))) {
    if (textOf(link) !== undefined) records.push(record('linkpath', Buffer.from(link, 'latin1')))
    else if (link.length > NAME_BYTES) long.push({ flag: TYPE_FLAG.longLink, value: link })
  }
  const seconds = head.mtimeNs / NS - (head.mtimeNs % NS < 0n ? 1n : 0n)
  const plainTime = head.mtimeNs % NS === 0n && seconds >= 0n && seconds <= BigInt(MAX_OCTAL_11)
  if (!plainTime) records.push(record('mtime', Buffer.from(decimalTime(head.mtimeNs))))
  if (head.size > MAX_OCTAL_11) records.push(record('size', Buffer.from(String(head.size))))
  if (head.uid > MAX_OCTAL_7) records.push(record('uid', Buffer.from(String(head.uid))))
  if (head.gid > MAX_OCTAL_7) records.push(record('gid', Buffer.from(String(head.gid))))
  for (const [key, value] of head.records ?? []) records.push(record(key, value))

  const paxBytes = records.reduce((sum, { length }) => sum + length, 0)
  const bytes =
    (paxBytes > 0 ? BLOCK + padded(paxBytes) : 0) +
    long.reduce((sum, { value }) => sum + BLOCK + padded(value.length + 1), 0) +
    BLOCK
  return {
    bytes,
    write(buffer, start) {
      let at = start
      buffer.fill(0, start, start + bytes)
      if (paxBytes > 0) {
        writeLeading(buffer, at, '././@PaxHeader', TYPE_FLAG.pax, paxBytes)
        let into = at + BLOCK
        for (const one of records) into += one.copy(buffer, into)
        at += BLOCK + padded(paxBytes)
      }
      for (const { flag, value } of long) {
        writeLeading(buffer, at, '././@LongLink', flag, value.length + 1)
        buffer.write(value, at + BLOCK, 'latin1')
        at += BLOCK + padded(value.length + 1)
      }
      writeMain(buffer, at, head, split, Number(seconds))
      return at + BLOCK
    },
  }
}

/** Rounded up to whole blocks. */
export const padded = (bytes: number): number => Math.ceil(bytes / BLOCK) * BLOCK

/** `<length> <key>=<value>\n`, where the length counts itself. */
function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.byteLength(key) + value.length + 3
  let length = rest + String(rest).length
  length = rest + String(length).length
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from('\n')])
}

/** Seconds with as many decimals as there are, also before 1970: `-1.5`. */
function decimalTime(ns: bigint): string {
  const magnitude = ns < 0n ? -ns : ns
  const fraction = magnitude % NS
  const decimals = fraction === 0n ? '' : `.${String(fraction).padStart(9, '0').replace(/0+$/, '')}`
  return `${ns < 0n ? '-' : ''}${magnitude / NS}${decimals}`
}

/** Into the two fields of ustar, cut at a slash; undefined where that does not go. */
function splitName(name: string): { prefix: string; name: string } | undefined {
  if (name.length <= NAME_BYTES) return { prefix: '', name }
  if (name.length > NAME_BYTES + 1 + PREFIX_BYTES) return undefined
  // The slash at the end of a directory belongs to its name.
  const slash = name.indexOf('/', name.length - NAME_BYTES - 1)
  if (slash < 1 || slash > PREFIX_BYTES || slash >= name.length - 1) return undefined
  return { prefix: name.slice(0, slash), name: name.slice(slash + 1) }
}

/** A header that says something about the next one. */
function writeLeading(buffer: Buffer, at: number, name: string, flag: number, size: number): void {
  buffer.write(name, at, 'latin1')
  octal(buffer, at + 100, 7, 0o644)
  octal(buffer, at + 108, 7, 0)
  octal(buffer, at + 116, 7, 0)
  octal(buffer, at + 124, 11, size)
  octal(buffer, at + 136, 11, 0)
  finish(buffer, at, flag)
}

function writeMain(
  buffer: Buffer,
  at: number,
  head: MemberHead,
  split: { prefix: string; name: string } | undefined,
  seconds: number,
): void {
  buffer.write(split?.name ?? head.name.slice(0, NAME_BYTES), at, 'latin1')
  octal(buffer, at + 100, 7, head.mode)
  octal(buffer, at + 108, 7, head.uid)
  octal(buffer, at + 116, 7, head.gid)
  octal(buffer, at + 124, 11, head.size)
  octal(buffer, at + 136, 11, Math.min(Math.max(seconds, 0), MAX_OCTAL_11))
  if (head.link !== undefined) buffer.write(head.link.slice(0, NAME_BYTES), at + 157, 'latin1')
  buffer.write(head.uname.slice(0, 31), at + 265, 31, 'utf8')
  buffer.write(head.gname.slice(0, 31), at + 297, 31, 'utf8')
  octal(buffer, at + 329, 7, 0)
  octal(buffer, at + 337, 7, 0)
  if (split?.prefix) buffer.write(split.prefix, at + 345, 'latin1')
  finish(buffer, at, TYPE_FLAG[head.type])
}

function finish(buffer: Buffer, at: number, flag: number): void {
  buffer[at + 156] = flag
  buffer.write('ustar\x0000', at + 257, 'latin1')
  buffer.fill(0x20, at + 148, at + 156) // the sum counts its own field as spaces
  let sum = 0
  for (let i = at; i < at + BLOCK; i++) sum += buffer[i] as number
  octal(buffer, at + 148, 6, sum)
  buffer[at + 154] = 0
  buffer[at + 155] = 0x20
}

/** Octal digits and a NUL; what does not fit is big-endian with the highest bit set, as GNU tar writes it. */
function octal(buffer: Buffer, at: number, digits: number, value: number): void {
  let rest = value
  if (rest < 8 ** digits) {
    for (let i = at + digits - 1; i >= at; i--) {
      buffer[i] = 0x30 + (rest % 8)
      rest = Math.floor(rest / 8)
    }
    return
  }
  for (let i = at + digits; i > at; i--) {
    buffer[i] = rest % 256
    rest = Math.floor(rest / 256)
  }
  buffer[at] = 0x80
}
