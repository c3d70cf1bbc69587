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
  let view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length)
  let at = SIGNATURE.copy(chunk)

  const room = (bytes: number) => {
    if (at + bytes <= chunk.length) return
    full.push(chunk.subarray(0, at))
    chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, bytes))
    view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length)
    at = 0
  }
  /** The length of a field and then, at the place returned, the field. */
  const fixed = (bytes: number): number => {
    room(ROOM)
    view.setInt32(at, bytes)
    const place = at + 4
    at = place + bytes
    return place
  }
  const varying = (text: string, bytes: number, encoding: BufferEncoding) => {
    room(bytes + ROOM)
    const length = chunk.write(text, at + 4, encoding)
    view.setInt32(at, length)
    at += 4 + length
  }

  return {
    row(columns) {
      room(ROOM)
      view.setInt16(at, columns)
      at += 2
    },
    // `fixed` first: it may begin a new chunk, and with it a new view.
    flag(value) {
      const place = fixed(1)
      view.setInt8(place, value ? 1 : 0)
    },
    int2(value) {
      const place = fixed(2)
      view.setInt16(place, value)
    },
    int4(value) {
      const place = fixed(4)
      view.setInt32(place, value)
    },
    int8(value) {
      const place = fixed(8)
      view.setBigInt64(place, value)
    },
    count(value) {
      const place = fixed(8)
      view.setInt32(place, Math.floor(value / 2 ** 32))
      view.setUint32(place + 4, value % 2 ** 32)
    },
    raw: (bytes) => varying(bytes, bytes.length, 'latin1'),
    hex: (digits) => varying(digits, digits.length / 2, 'hex'),
    text: (text) => varying(text, text.length * 3, 'utf8'),
    jsonb: (json) => varying(`\x01${json}`, json.length * 3 + 1, 'utf8'), // the format's version, then the text
    none() {
      room(ROOM)
      view.setInt32(at, -1)
      at += 4
    },
    finish() {
      room(ROOM)
      view.setInt16(at, -1)
      return [...full, chunk.subarray(0, at + 2)]
    },
  }
}
