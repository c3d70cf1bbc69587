/** The bytes of a file into a tar, exactly as many as its header says, hashed on the way. */
import { createHash, hash } from 'node:crypto'
import { readSync } from 'node:fs'
import type { TarSink } from './tar-sink.js'

export type Holes = readonly (readonly [number, number])[]

/** Hex SHA-256; undefined where the file ended early. */
export type Digest = string | undefined

/** One step of reading a large file. */
const STEP_BYTES = 2 ** 20

/** The whole of a small file to one place; `end` is where its last block ends, filled up with zeros. */
export function readWhole(fd: number, buffer: Buffer, at: number, size: number, end: number): Digest {
  const read = readFully(fd, buffer, at, size, 0)
  buffer.fill(0, at + read, end)
  return read === size ? hash('sha256', buffer.subarray(at, at + size), 'hex') : undefined
}

/** A file of any size through the buffers of a tar, until it ends or cannot be read on. Holes are not read: their zeros are made. */
export function copyData(fd: number, sink: TarSink, size: number, holes: Holes, isStopped: () => void): Digest {
  const digest = createHash('sha256')
  for (const { offset, length, hole } of pieces(size, holes)) {
    for (let done = 0; done < length; ) {
      isStopped()
      sink.reserve(1)
      const part = Math.min(length - done, sink.capacity - sink.at)
      const { buffer, at } = sink
      const read = hole ? part : readFully(fd, buffer, at, part, offset + done)
      if (hole) buffer.fill(0, at, at + part)
      sink.advance(read)
      if (read < part) return undefined
      digest.update(buffer.subarray(at, at + part))
      done += part
    }
  }
  return digest.digest('hex')
}

/** Only the hash. */
export function hashData(fd: number, size: number, holes: Holes, isStopped: () => void): Digest {
  const digest = createHash('sha256')
  const buffer = Buffer.allocUnsafe(STEP_BYTES)
  for (const { offset, length, hole } of pieces(size, holes)) {
    for (let done = 0; done < length; ) {
      isStopped()
      const part = Math.min(length - done, STEP_BYTES)
      if (hole) buffer.fill(0, 0, part)
      else if (readFully(fd, buffer, 0, part, offset + done) < part) return undefined
      digest.update(buffer.subarray(0, part))
      done += part
    }
  }
  return digest.digest('hex')
}

interface Piece {
  readonly offset: number
  readonly length: number
  readonly hole: boolean
}

/** A file as data and holes, in order. */
function* pieces(size: number, holes: Holes): Generator<Piece> {
  let at = 0
  for (const [offset, length] of holes) {
    if (offset > at) yield { offset: at, length: offset - at, hole: false }
    yield { offset, length, hole: true }
    at = offset + length
  }
  if (size > at) yield { offset: at, length: size - at, hole: false }
}

/** How many bytes there were: fewer than asked for only at the end of the file. */
function readFully(fd: number, buffer: Buffer, at: number, bytes: number, position: number): number {
  let done = 0
  while (done < bytes) {
    const read = readSync(fd, buffer, at + done, bytes - done, position + done)
    if (read === 0) break
    done += read
  }
  return done
}
