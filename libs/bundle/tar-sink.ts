/**
 * Where a tar is written: a row of buffers that are handed on when they are full, and hashed as they go where that is asked for. What
 * was written and is not handed on yet can be taken back.
 */
import { createHash, type Hash } from 'node:crypto'

export interface Buffers {
  next(): Buffer
  send(buffer: Buffer, bytes: number): void
}

export interface TarSink {
  /** Of the next byte in the tar. */
  readonly position: number
  /** The buffer at hand, for writing at `at` (see `reserve`). */
  readonly buffer: Buffer
  readonly at: number
  /** Bytes that fit into one buffer. */
  readonly capacity: number
  /** Makes room for so many bytes in one piece, at most `capacity`. */
  reserve(bytes: number): void
  /** Bytes from `at` on were written. */
  advance(bytes: number): void
  /** Bytes of any number. */
  write(bytes: Uint8Array): void
  zeros(bytes: number): void
  /** Takes back what was written since `position`; false where some of it was handed on already. */
  takeBack(position: number): boolean
  /** Hands on the rest; hex SHA-256 of the whole, where it is taken. */
  end(): { bytes: number; sha256: string | undefined }
}

export const createTarSink = (buffers: Buffers, options: { hash: boolean }): TarSink => new BufferedSink(buffers, options.hash)

/** A class, and not closures made for each tar: V8 forgets the machine code of closures that nobody has any more. */
class BufferedSink implements TarSink {
  buffer: Buffer
  at = 0
  readonly capacity: number
  private readonly buffers: Buffers
  /** Bytes handed on. */
  private sent = 0
  private readonly hash: Hash | undefined

  constructor(buffers: Buffers, hashed: boolean) {
    this.buffers = buffers
    this.buffer = buffers.next()
    this.capacity = this.buffer.length
    this.hash = hashed ? createHash('sha256') : undefined
  }

  get position(): number {
    return this.sent + this.at
  }

  reserve(bytes: number): void {
    if (this.at + bytes > this.capacity) this.turn()
  }

  advance(bytes: number): void {
    this.at += bytes
  }

  write(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      if (this.at === this.capacity) this.turn()
      const part = Math.min(bytes.length - from, this.capacity - this.at)
      this.buffer.set(bytes.subarray(from, from + part), this.at)
      this.at += part
      from += part
    }
  }

  zeros(bytes: number): void {
    for (let left = bytes; left > 0; ) {
      if (this.at === this.capacity) this.turn()
      const part = Math.min(left, this.capacity - this.at)
      this.buffer.fill(0, this.at, this.at + part)
      this.at += part
      left -= part
    }
  }

  takeBack(position: number): boolean {
    if (position < this.sent) return false
    this.at = position - this.sent
    return true
  }

  end(): { bytes: number; sha256: string | undefined } {
    this.flush()
    return { bytes: this.sent, sha256: this.hash?.digest('hex') }
  }

  private flush(): void {
    if (this.at === 0) return
    this.hash?.update(this.buffer.subarray(0, this.at))
    this.sent += this.at
    this.buffers.send(this.buffer, this.at)
    this.at = 0
  }

  private turn(): void {
    this.flush()
    this.buffer = this.buffers.next()
  }
}
