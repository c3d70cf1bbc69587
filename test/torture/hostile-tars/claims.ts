/**
 * What a careless reader makes of a tar: every member as its headers say, also where they cannot be true. A manifest that says so is
 * the most hostile one that still fits its tar: sizes, offsets and sums are those of the bytes that are there.
 */
import { createHash } from 'node:crypto'
import type { Entry, EntryType } from '#libs/bundle/entry.js'
import { type Raw, rawFromBytes } from '#libs/os/raw.js'

const TYPES: Readonly<Record<string, EntryType>> = { '1': 'hardlink', '2': 'symlink', '5': 'directory' }

export function claimsOf(tar: Buffer): Entry[] {
  const entries: Entry[] = []
  const records = new Map<string, Raw>()
  const global = new Map<string, Raw>()
  let ino = 0n
  for (let at = 0; at + 512 <= tar.length && entries.length < 3_000; ) {
    const head = tar.subarray(at, at + 512)
    at += 512
    if (head.every((byte) => byte === 0)) continue
    const text = (from: number, length: number): Raw =>
      rawFromBytes(Buffer.from(head.subarray(from, from + length))).split('\0')[0] as Raw
    const flag = String.fromCharCode(head[156] as number)
    const said = Number(records.get('size') ?? global.get('size') ?? numberOf(head.subarray(124, 136)))
    const size = Number.isFinite(said) ? Math.max(0, Math.min(Math.trunc(said), tar.length - at)) : 0
    const bytes = tar.subarray(at, at + size)
    if ('xgLK'.includes(flag)) {
      if (flag === 'x' || flag === 'g') readRecords(bytes, flag === 'x' ? records : global)
      else records.set(flag === 'L' ? 'path' : 'linkpath', rawFromBytes(Buffer.from(bytes)).replace(/\0$/, '') as Raw)
      at += Math.ceil(size / 512) * 512
      continue
    }
    const prefix = text(345, 155)
    const name = records.get('path') ?? global.get('path') ?? (((prefix === '' ? '' : `${prefix}/`) + text(0, 100)) as Raw)
    const link = records.get('linkpath') ?? global.get('linkpath') ?? text(157, 100)
    const type = TYPES[flag] ?? 'file'
    entries.push(entryOf(`/${name}` as Raw, type, link, at, bytes, head, ++ino, said < 0))
    records.clear()
    at += Math.ceil(size / 512) * 512
  }
  return entries
}

/** `wild`: the size stays as impossible as it was. */
function entryOf(
  path: Raw,
  type: EntryType,
  link: Raw,
  offset: number,
  bytes: Buffer,
  head: Buffer,
  ino: bigint,
  wild: boolean,
): Entry {
  const hasBytes = type === 'file' || type === 'hardlink'
  const mtime = numberOf(head.subarray(136, 148))
  return {
    path,
    type,
    size: hasBytes ? (wild ? -1 : bytes.length) : 0,
    mtimeNs: BigInt(Number.isFinite(mtime) ? Math.trunc(mtime) : 0) * 1_000_000_000n,
    ctimeNs: 0n,
    atimeNs: 0n,
    dev: 1n,
    ino,
    nlink: type === 'hardlink' ? 2 : 1,
    mode: numberOf(head.subarray(100, 108)),
    uid: numberOf(head.subarray(108, 116)),
    gid: numberOf(head.subarray(116, 124)),
    uname: rawFromBytes(Buffer.from(head.subarray(265, 297))).split('\0')[0] as string,
    gname: '',
    ...(hasBytes && { offset, sha256: createHash('sha256').update(bytes).digest('hex') }),
    ...((type === 'symlink' || type === 'hardlink') && { link }),
    state: 'ok',
  }
}

function numberOf(field: Buffer): number {
  const first = field[0] as number
  if ((first & 0x80) === 0) return Number.parseInt(field.toString('latin1').trim(), 8) || 0
  let value = first === 0xff ? -1 : first & 0x7f
  for (const byte of field.subarray(1)) value = value * 256 + byte
  return value
}

function readRecords(bytes: Buffer, into: Map<string, Raw>): void {
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const length = space < 0 ? Number.NaN : Number.parseInt(bytes.toString('latin1', at, space), 10)
    if (!(length > 0)) return
    const equals = bytes.indexOf(0x3d, space)
    if (equals < 0) return
    into.set(bytes.toString('latin1', space + 1, equals), rawFromBytes(Buffer.from(bytes.subarray(equals + 1, at + length - 1))))
    at += length
  }
}
