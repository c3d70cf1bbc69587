/** Tars byte by byte, with nothing to keep anybody from writing what no archiver would. Nothing of Firn's own writer is used. */

export interface Field {
  name?: string | Buffer
  /** The typeflag as it stands in the header. */
  flag?: string
  /** What the header says; by default what there is. A buffer is written as it is. */
  size?: number | Buffer
  link?: string | Buffer
  mode?: number
  uid?: number | Buffer
  gid?: number | Buffer
  mtime?: number | Buffer
  prefix?: string
  magic?: string
  device?: [number, number]
  uname?: string
  checksum?: number
  bytes?: string | Buffer
}

export const BLOCK = 512

const field = (value: number | Buffer | undefined, length: number): Buffer =>
  Buffer.isBuffer(value) ? value : Buffer.from(`${(value ?? 0).toString(8).padStart(length - 1, '0')}\0`, 'latin1')

const bytesOf = (value: string | Buffer): Buffer => (Buffer.isBuffer(value) ? value : Buffer.from(value, 'utf8'))

/** Base 256: the first bit set, two's complement. */
export function base256(value: bigint, length = 12): Buffer {
  const out = Buffer.alloc(length)
  let left = BigInt.asUintN(length * 8, value)
  for (let at = length - 1; at >= 0; at--, left >>= 8n) out[at] = Number(left & 0xffn)
  out[0] = value < 0n ? 0xff : 0x80 | (out[0] as number)
  return out
}

export function header(of: Field): Buffer {
  const out = Buffer.alloc(BLOCK)
  const put = (value: Buffer, at: number, most: number) => value.subarray(0, most).copy(out, at)
  put(bytesOf(of.name ?? 'name'), 0, 100)
  put(field(of.mode ?? 0o644, 8), 100, 8)
  put(field(of.uid, 8), 108, 8)
  put(field(of.gid, 8), 116, 8)
  put(field(of.size ?? bytesOf(of.bytes ?? '').length, 12), 124, 12)
  put(field(of.mtime, 12), 136, 12)
  out.write(of.flag ?? '0', 156, 'latin1')
  put(bytesOf(of.link ?? ''), 157, 100)
  put(Buffer.from(of.magic ?? 'ustar\0' + '00', 'latin1'), 257, 8)
  put(bytesOf(of.uname ?? ''), 265, 32)
  put(field(of.device?.[0], 8), 329, 8)
  put(field(of.device?.[1], 8), 337, 8)
  put(bytesOf(of.prefix ?? ''), 345, 155)
  return summed(out, of.checksum)
}

/** Writes the checksum that fits into a header. */
export function summed(out: Buffer, checksum?: number): Buffer {
  out.fill(0x20, 148, 156)
  const sum = checksum ?? out.reduce((total, byte) => total + byte, 0)
  out.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return out
}

export const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)])

export const member = (of: Field): Buffer => Buffer.concat([header(of), padded(bytesOf(of.bytes ?? ''))])

/** `len key=value\n`, with the length that is right. */
export function record(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), bytesOf(value), Buffer.from('\n')])
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

export const pax = (...records: Buffer[]): Buffer => member({ name: 'PaxHeader/x', flag: 'x', bytes: Buffer.concat(records) })
export const globalPax = (...records: Buffer[]): Buffer =>
  member({ name: 'GlobalHead', flag: 'g', bytes: Buffer.concat(records) })
export const longName = (name: string | Buffer): Buffer =>
  member({ name: '././@LongLink', flag: 'L', magic: 'ustar  \0', bytes: Buffer.concat([bytesOf(name), Buffer.alloc(1)]) })
export const longLink = (name: string | Buffer): Buffer =>
  member({ name: '././@LongLink', flag: 'K', magic: 'ustar  \0', bytes: Buffer.concat([bytesOf(name), Buffer.alloc(1)]) })

export const END = Buffer.alloc(2 * BLOCK)

export const tar = (...members: Buffer[]): Buffer => Buffer.concat([...members, END])
