/**
 * Rows in the binary format of COPY, the fastest way into Postgres: https://www.postgresql.org/docs/current/sql-copy.html,
 * "Binary Format". One growing chunk after another, so that a large bundle is not one large buffer.
 */

export interface BinaryRows {
  /** Begins a row of that many columns; then one call for each, in order. */
  row(columns: number): void
  flag(value: boolean): void
  int2(value: number): void
  int4(value: number): void
  /** Also unsigned 64-bit values: their bits are kept. */
  int8(value: bigint): void
  /** A whole number that a double holds exactly. */
  count(value: number): void
  /** Bytes given as one latin1 character each. */
  raw(bytes: string): void
  /** Bytes given as hex digits; also a UUID without its dashes. */
  hex(digits: string): void
  text(text: string): void
  jsonb(json: string): void
  none(): void
  /** Everything, ready to be sent. Nothing may be added afterwards. */
  finish(): Uint8Array[]
}

const CHUNK_BYTES = 256 * 1024
/** The longest fixed-size field with its length. */
const ROOM = 16
const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')

export function binaryRows(): BinaryRows {
  const full: Uint8Array[] = []
  let chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  let at = SIGNATURE.copy(chunk)

  const room = (bytes: number) => {
    if (at + bytes <= chunk.length) return
    full.push(chunk.subarray(0, at))
    chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, bytes))
    at = 0
  }
  const varying = (text: string, bytes: number, encoding: BufferEncoding) => {
    room(bytes + ROOM)
    const length = chunk.write(text, at + 4, encoding)
    chunk.writeInt32BE(length, at)
    at += 4 + length
  }

  return {
    row(columns) {
      room(ROOM)
      at = chunk.writeInt16BE(columns, at)
    },
    flag(value) {
      room(ROOM)
      at = chunk.writeInt32BE(1, at)
      at = chunk.writeInt8(value ? 1 : 0, at)
    },
    int2(value) {
      room(ROOM)
      at = chunk.writeInt32BE(2, at)
      at = chunk.writeInt16BE(value, at)
    },
    int4(value) {
      room(ROOM)
      at = chunk.writeInt32BE(4, at)
      at = chunk.writeInt32BE(value, at)
    },
    int8(value) {
      room(ROOM)
      at = chunk.writeInt32BE(8, at)
      at = chunk.writeBigUInt64BE(BigInt.asUintN(64, value), at)
    },
    count(value) {
      room(ROOM)
      at = chunk.writeInt32BE(8, at)
      at = chunk.writeInt32BE(Math.floor(value / 2 ** 32), at)
      at = chunk.writeUInt32BE(value >>> 0, at)
    },
    raw(bytes) {
      varying(bytes, bytes.length, 'latin1')
    },
    hex(digits) {
      varying(digits, digits.length / 2, 'hex')
    },
    text(text) {
      varying(text, text.length * 3, 'utf8')
    },
    jsonb(json) {
      varying(`\x01${json}`, json.length * 3 + 1, 'utf8') // the format's version, then the text
    },
    none() {
      room(ROOM)
      at = chunk.writeInt32BE(-1, at)
    },
    finish() {
      room(2)
      at = chunk.writeInt16BE(-1, at)
      return [...full, chunk.subarray(0, at)]
    },
  }
}
