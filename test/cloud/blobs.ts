/** Bytes on disk, in a scratch directory: what an object, a part or an archive is made of. Memory holds only their names. */
import { randomUUID } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

export interface Blob {
  readonly path: string
  readonly bytes: number
}

const CHUNK_BYTES = 256 * 1024
/** Gathered before they are written: a call a chunk would cost more than the bytes. */
const WRITE_BYTES = 1 << 20

/** Keeps what comes, handing each chunk to `look` on its way; nothing stays when it fails. */
export async function keepBlob(directory: string, chunks: AsyncIterable<Buffer>, look: (chunk: Buffer) => void): Promise<Blob> {
  const path = join(directory, randomUUID())
  const file = await open(path, 'wx', 0o600)
  let bytes = 0
  let held: Buffer[] = []
  let heldBytes = 0
  const write = async () => {
    const { bytesWritten } = await file.writev(held)
    if (bytesWritten !== heldBytes) throw new Error(`${path} took ${bytesWritten} of ${heldBytes} bytes`)
    bytes += heldBytes
    held = []
    heldBytes = 0
  }
  try {
    for await (const chunk of chunks) {
      look(chunk)
      held.push(chunk)
      heldBytes += chunk.length
      if (heldBytes >= WRITE_BYTES) await write()
    }
    if (heldBytes > 0) await write()
  } catch (error) {
    await file.close()
    await dropBlobs([{ path, bytes }])
    throw error
  }
  await file.close()
  return { path, bytes }
}

/** `length` bytes from `offset` of blobs that lie one behind the other. */
export async function* readBlobs(blobs: readonly Blob[], offset: number, length: number): AsyncIterable<Buffer> {
  let skip = offset
  let left = length
  for (const blob of blobs) {
    if (left <= 0) return
    if (skip >= blob.bytes) {
      skip -= blob.bytes
      continue
    }
    const file = await open(blob.path, 'r')
    try {
      for (let at = skip; at < blob.bytes && left > 0; ) {
        const want = Math.min(CHUNK_BYTES, left, blob.bytes - at)
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(want), 0, want, at)
        if (bytesRead === 0) throw new Error(`${blob.path} is shorter than it was`)
        yield buffer.subarray(0, bytesRead)
        at += bytesRead
        left -= bytesRead
      }
    } finally {
      await file.close()
    }
    skip = 0
  }
}

export async function dropBlobs(blobs: readonly Blob[]): Promise<void> {
  await Promise.all(blobs.map(({ path }) => rm(path, { force: true })))
}

/** Flips one bit, behind everybody's back. */
export async function flipBit(blobs: readonly Blob[], offset: number): Promise<void> {
  let at = offset
  for (const blob of blobs) {
    if (at < blob.bytes) {
      const file = await open(blob.path, 'r+')
      try {
        const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at)
        await file.write(Buffer.from([buffer[0]! ^ 1]), 0, 1, at)
      } finally {
        await file.close()
      }
      return
    }
    at -= blob.bytes
  }
  throw new Error(`there is no byte ${offset}`)
}
