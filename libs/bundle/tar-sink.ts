/**
 * Where a tar is written: a row of buffers that are handed on when they are full, and hashed as they go where that is asked for. What
 * was written and is not handed on yet can be taken back.
 */
import { createHash } from 'node:crypto'

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

export function createTarSink(buffers: Buffers, options: { hash: boolean }): TarSink {
  const hash = options.hash ? createHash('sha256') : undefined
  let buffer = buffers.next()
  let at = 0
  /** Bytes handed on. */
  let sent = 0
  const capacity = buffer.length
  const flush = () => {
    if (at === 0) return
    hash?.update(buffer.subarray(0, at))
    sent += at
    buffers.send(buffer, at)
    at = 0
  }
  const turn = () => {
    flush()
    buffer = buffers.next()
  }
  return {
    get position() {
      return sent + at
    },
    get buffer() {
      return buffer
    },
    get at() {
      return at
    },
    capacity,
    reserve(bytes) {
      if (at + bytes > capacity) turn()
    },
    advance(bytes) {
      at += bytes
    },
    write(bytes) {
      for (let from = 0; from < bytes.length; ) {
        if (at === capacity) turn()
        const part = Math.min(bytes.length - from, capacity - at)
        buffer.set(bytes.subarray(from, from + part), at)
        at += part
        from += part
      }
    },
    zeros(bytes) {
      for (let left = bytes; left > 0; ) {
        if (at === capacity) turn()
        const part = Math.min(left, capacity - at)
        buffer.fill(0, at, at + part)
        at += part
        left -= part
      }
    },
    takeBack(position) {
      if (position < sent) return false
      at = position - sent
      return true
    },
    end() {
      flush()
      return { bytes: sent, sha256: hash?.digest('hex') }
    },
  }
}
