/** A file under its number in the staging directory: written in order, its holes left out. */
import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs'
import { type Raw, rawToBytes } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'

export interface StagedFile {
  readonly fd: number
  /** The next bytes of the file. */
  write(bytes: Uint8Array): void
  /** Gives the file its size where it ends in a hole. To be called once, after the last byte. */
  end(): void
  close(): void
}

export type Holes = readonly (readonly [number, number])[]

export function createStagedFile(path: Raw, holes: Holes = []): StagedFile {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  const fd = openSync(rawToBytes(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  let position = 0
  let hole = 0
  let isOpen = true

  function writeSparse(bytes: Uint8Array): void {
    let done = 0
    while (done < bytes.length) {
      const at = position + done
      const [from, length] = holes[hole] ?? [Number.POSITIVE_INFINITY, 0]
      if (from + length <= at) {
        hole++
        continue
      }
      const inside = from <= at
      const until = Math.min(bytes.length, (inside ? from + length : from) - position)
      const part = bytes.subarray(done, until)
      // What the catalog calls a hole is left out only if it really is zeros: the hash was taken over the bytes in the tar.
      if (!inside || !isZeros(part)) writeAll(fd, part, at)
      done = until
    }
  }

  return {
    fd,
    write(bytes) {
      if (holes.length === 0) writeAll(fd, bytes, position)
      else writeSparse(bytes)
      position += bytes.length
      step('place.written')
    },
    end() {
      if (holes.length > 0) ftruncateSync(fd, position)
    },
    close() {
      if (!isOpen) return
      isOpen = false
      closeSync(fd)
    },
  }
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  let done = 0
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, position + done)
}

const ZEROS = Buffer.alloc(64 * 1024)

function isZeros(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length)
    if (ZEROS.compare(part, 0, part.length, 0, part.length) !== 0) return false
  }
  return true
}
