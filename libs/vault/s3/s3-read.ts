/** The bytes of an object, or a range of them: taken up again behind the last one that came when the connection breaks or falls silent. */
import type { Readable } from 'node:stream'
import { GetObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { nameOf, statusOf } from '../service-error.js'
import type { ByteRange } from '../vault.js'
import type { S3Door } from './s3-door.js'
import { s3Error } from './s3-error.js'
import { headOf } from './s3-head.js'
import type { Signalled } from './send.js'

/** Connections in a row that break without a single byte. */
const BREAKS = 6

export interface ReadOptions extends Signalled {
  /** Silence in the middle of a body after which the connection is given up. */
  readonly stallMs: number
}

export async function* readObject(
  door: S3Door,
  key: string,
  range: ByteRange | undefined,
  { signal, stallMs }: ReadOptions,
): AsyncGenerator<Uint8Array> {
  const { place } = door
  const damaged = (what: string) => new FirnError('damaged', `${key} in the vault ${place.id} is damaged: ${what}.`)
  let offset = range?.offset ?? 0
  let end = range && range.offset + range.length
  let etag: string | undefined

  if (range?.length === 0) {
    // A range of nothing cannot be asked for.
    const head = await door.explained(`read ${key}`, signal, () => headOf(door, key, { signal }))
    if (!head) throw missing(door, key)
    if ((head.ContentLength ?? 0) < offset)
      throw damaged(`it has ${head.ContentLength} bytes; byte ${offset} of it was asked for`)
    return
  }

  for (let breaks = 0; ; ) {
    let body: Readable | undefined
    const before = offset
    try {
      const answer = await door.explained(`read ${key}`, signal, () => ask(door, key, { offset, end, etag, signal }))
      body = answer.Body as Readable
      const bytes = sizeOf(answer)
      if (end !== undefined && bytes !== undefined && end > bytes) {
        throw damaged(`it has ${bytes} bytes; byte ${end} of it was asked for`)
      }
      etag ??= answer.ETag
      end ??= bytes
      const firstByte = Number(/^bytes (\d+)-/.exec(answer.ContentRange ?? '')?.[1] ?? 0)
      // A service that does not know ranges sends everything.
      let skip = offset - firstByte
      for await (const chunk of chunksOf(body, stallMs, signal)) {
        let wanted = chunk
        if (skip > 0) {
          wanted = chunk.subarray(skip)
          skip = Math.max(0, skip - chunk.length)
        }
        if (end !== undefined && wanted.length > end - offset) wanted = wanted.subarray(0, end - offset)
        if (wanted.length === 0) continue
        offset += wanted.length
        yield wanted
      }
      if (end === undefined || offset >= end) return
      throw new FirnError(
        'vault-failed',
        `The vault ${place.id} cannot read ${key}: the connection ended at byte ${offset} of ${end}.`,
      )
    } catch (error) {
      signal?.throwIfAborted()
      if (isFirnError(error) && error.code !== 'vault-failed') throw error
      breaks = offset > before ? 0 : breaks + 1
      if (breaks >= BREAKS) throw s3Error(error, `The vault ${place.id} cannot read ${key}`, place)
    } finally {
      // Also when the reader leaves in the middle: nothing more shall come over this connection.
      body?.destroy()
    }
  }
}

interface Rest {
  readonly offset: number
  readonly end: number | undefined
  /** Of the object that the first bytes came from. */
  readonly etag: string | undefined
  readonly signal: AbortSignal | undefined
}

async function ask(door: S3Door, key: string, { offset, end, etag, signal }: Rest): Promise<GetObjectCommandOutput> {
  const { client, send, place } = door
  const ranged = offset > 0 || end !== undefined
  const command = new GetObjectCommand({
    ...door.at(key),
    ...(ranged && { Range: `bytes=${offset}-${end === undefined ? '' : end - 1}` }),
    ...(etag !== undefined && { IfMatch: etag }),
  })
  try {
    return await send((call) => client.send(command, call), { signal })
  } catch (error) {
    const name = nameOf(error)
    if (name === 'NoSuchKey') throw missing(door, key)
    if (statusOf(error) === 416) {
      throw new FirnError('damaged', `${key} in the vault ${place.id} is damaged: it ends before byte ${offset}.`)
    }
    if (statusOf(error) === 412) {
      throw new FirnError('damaged', `${key} in the vault ${place.id} became another object while it was read.`)
    }
    throw error
  }
}

const missing = ({ place }: S3Door, key: string) => new FirnError('vault-missing', `The vault ${place.id} has no object ${key}.`)

/** Of the whole object. */
function sizeOf({ ContentRange, ContentLength }: GetObjectCommandOutput): number | undefined {
  const total = /\/(\d+)$/.exec(ContentRange ?? '')?.[1]
  return total === undefined ? ContentLength : Number(total)
}

/** The stream's chunks. The time runs only while a chunk is waited for: a slow reader is no fault of the service's. */
async function* chunksOf(body: Readable, stallMs: number, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  const stalled = () =>
    body.destroy(Object.assign(new Error(`no byte came for ${stallMs / 1000} s`), { code: 'ETIMEDOUT', name: 'TimeoutError' }))
  const left = () => body.destroy(signal?.reason)
  signal?.addEventListener('abort', left, { once: true })
  const chunks = body[Symbol.asyncIterator]()
  try {
    for (;;) {
      const timer = setTimeout(stalled, stallMs)
      const next = await chunks.next().finally(() => clearTimeout(timer))
      signal?.throwIfAborted()
      if (next.done) return
      yield next.value
    }
  } finally {
    signal?.removeEventListener('abort', left)
  }
}
