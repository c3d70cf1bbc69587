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

export const binaryRows = (): BinaryRows => new Rows()

/** A class, and not closures made for each bundle: V8 forgets the machine code of closures that nobody has any more. */
class Rows implements BinaryRows {
  private readonly full: Uint8Array[] = []
  private chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  private view = viewOf(this.chunk)
  private at = SIGNATURE.copy(this.chunk)

  row(columns: number): void {
    this.room(ROOM)
    this.view.setInt16(this.at, columns)
    this.at += 2
  }

  // `fixed` first: it may begin a new chunk, and with it a new view.
  flag(value: boolean): void {
    const place = this.fixed(1)
    this.view.setInt8(place, value ? 1 : 0)
  }

  int2(value: number): void {
    const place = this.fixed(2)
    this.view.setInt16(place, value)
  }

  int4(value: number): void {
    if ((value | 0) !== value) throw new RangeError(`${value} has no room in 32 bits`) // else it would be written as another number
    const place = this.fixed(4)
    this.view.setInt32(place, value)
  }

  int8(value: bigint): void {
    const place = this.fixed(8)
    this.view.setBigInt64(place, value)
  }

  count(value: number): void {
    const place = this.fixed(8)
    this.view.setInt32(place, Math.floor(value / 2 ** 32))
    this.view.setUint32(place + 4, value % 2 ** 32)
  }

  raw(bytes: string): void {
    this.varying(bytes, bytes.length, 'latin1')
  }

  hex(digits: string): void {
    this.varying(digits, digits.length / 2, 'hex')
  }

  text(text: string): void {
    this.varying(text, text.length * 3, 'utf8')
  }

  jsonb(json: string): void {
    this.varying(`\x01${json}`, json.length * 3 + 1, 'utf8') // the format's version, then the text
  }

  none(): void {
    this.room(ROOM)
    this.view.setInt32(this.at, -1)
    this.at += 4
  }

  finish(): Uint8Array[] {
    this.room(ROOM)
    this.view.setInt16(this.at, -1)
    return [...this.full, this.chunk.subarray(0, this.at + 2)]
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.chunk.length) return
    this.full.push(this.chunk.subarray(0, this.at))
    this.chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, bytes))
    this.view = viewOf(this.chunk)
    this.at = 0
  }

  /** The length of a field and then, at the place returned, the field. */
  private fixed(bytes: number): number {
    this.room(ROOM)
    this.view.setInt32(this.at, bytes)
    const place = this.at + 4
    this.at = place + bytes
    return place
  }

  private varying(text: string, bytes: number, encoding: BufferEncoding): void {
    this.room(bytes + ROOM)
    const length = this.chunk.write(text, this.at + 4, encoding)
    this.view.setInt32(this.at, length)
    this.at += 4 + length
  }
}

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
