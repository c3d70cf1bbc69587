/**
 * An object on its way, in parts. A part is the unit of retry: it is held in memory until the service has acknowledged it. What never
 * fills a part goes in one request when it is complete.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { FirnError } from '#libs/errors/errors.js'
import { step } from '#libs/os/steps.js'
import { statusOf } from '../service-error.js'
import { beginLife } from '../upload-life.js'
import type { PartMemory, UploadMemory } from '../upload-memory.js'
import type { Upload } from '../vault.js'
import { type Composite, compositeText, type Digest } from './checksum.js'
import type { PartSizes } from './part-sizes.js'
import type { S3Door } from './s3-door.js'
import type { WriteOnce } from './s3-put.js'
import { abortUploadsOf } from './s3-sweep.js'
import { type Signalled, STORING_TRIES } from './send.js'

/** Of one upload: enough to fill a line in spite of the time that each request takes. */
const PARTS_IN_FLIGHT = 4

export interface UploadParts {
  readonly door: S3Door
  readonly writes: WriteOnce
  readonly memory: UploadMemory
  readonly sizes: PartSizes
  /** What the service must say of the object from now on. */
  readonly onComplete: (key: string, object: { bytes: number; composite: Composite }) => void
}

interface SentPart {
  readonly number: number
  readonly bytes: number
  readonly digest: Digest
  readonly etag: string | undefined
}

export function beginUpload(
  parts: UploadParts,
  key: string,
  { signal, warm }: Signalled & { warm?: boolean | undefined },
): Upload {
  const { door, writes, memory, sizes } = parts
  const { client, send, checksums, place } = door
  const target = door.at(key)
  const storageClass = warm ? place.manifestClass : place.storageClass

  let bytes = 0
  /** The part being filled. */
  let filling: { memory: PartMemory; filled: number } | undefined
  let begun = 0
  const sent: SentPart[] = []
  const inFlight = new Set<Promise<void>>()
  let uploadId: string | undefined
  /** An answer to Create was lost: there may be an upload that nobody knows the id of. */
  let strayUpload = false

  const release = () => {
    filling?.memory.give()
    filling = undefined
  }

  const life = beginLife(key, signal, () => door.explained(`let go of ${key}`, undefined, discard))

  async function discard(): Promise<void> {
    await Promise.allSettled(inFlight)
    release()
    if (strayUpload) await abortUploadsOf(door, key)
    else if (uploadId !== undefined) {
      const command = new AbortMultipartUploadCommand({ ...target, UploadId: uploadId })
      try {
        await send((call) => client.send(command, call))
      } catch (error) {
        if (statusOf(error) !== 404) throw error
      }
    }
  }

  /** Runs a step of the upload; when it fails, so does the whole upload, for good. */
  async function attempt<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await door.explained(`take ${key}`, signal, step)
    } catch (error) {
      return life.fail(error)
    }
  }

  async function begin(): Promise<void> {
    const command = new CreateMultipartUploadCommand({
      ...target,
      ...(storageClass !== undefined && { StorageClass: storageClass as 'STANDARD' }),
      ...(checksums.mode === 'sha256' && { ChecksumAlgorithm: 'SHA256' as const, ChecksumType: 'COMPOSITE' as const }),
    })
    const onRetry = () => {
      strayUpload = true
    }
    const { UploadId } = await send((call) => client.send(command, call), { signal: life.stopped, onRetry, tries: STORING_TRIES })
    uploadId = UploadId
    step('s3-vault.upload-begun')
  }

  /** Sends what was gathered, without waiting for it. */
  function sendPart({ memory: held, filled }: { memory: PartMemory; filled: number }): void {
    const number = ++begun
    const body = held.buffer.subarray(0, filled)
    const sending = door
      .explained(`take ${key}`, signal, async () => {
        const digest = await checksums.digest(body)
        const etag = await send(
          async (call) => {
            const answer = await client.send(
              new UploadPartCommand({
                ...target,
                UploadId: uploadId,
                PartNumber: number,
                Body: body,
                ContentLength: filled,
                ...digest.fields,
              }),
              call,
            )
            checksums.check(`Part ${number} of ${key}`, digest, answer)
            return answer.ETag
          },
          { signal: life.stopped, tries: STORING_TRIES },
        )
        step('s3-vault.part-sent')
        sent.push({ number, bytes: filled, digest, etag })
      })
      .catch(life.note)
      .finally(() => {
        held.give()
        inFlight.delete(sending)
      })
    inFlight.add(sending)
  }

  async function takeIn(chunk: Uint8Array): Promise<void> {
    for (let taken = 0; taken < chunk.length; ) {
      life.checkUsable()
      if (!filling) {
        while (inFlight.size >= PARTS_IN_FLIGHT) await Promise.race(inFlight)
        filling = { memory: await memory.take(sizes.sizeOf(begun + 1), life.stopped), filled: 0 }
      }
      const { buffer } = filling.memory
      const next = chunk.subarray(taken, taken + buffer.length - filling.filled)
      buffer.set(next, filling.filled)
      filling.filled += next.length
      taken += next.length
      if (filling.filled < buffer.length) continue
      if (uploadId === undefined) await begin()
      sendPart(filling)
      filling = undefined
    }
  }

  async function seal(): Promise<undefined> {
    life.checkUsable()
    if (life.state === 'sealed') return
    await attempt(async () => {
      life.checkUsable()
      if (uploadId !== undefined && filling) {
        sendPart(filling)
        filling = undefined
      }
      // Looked while the last parts are under way: the gap until the object appears is small, and an upload takes no request's time more.
      await Promise.all([
        ...inFlight,
        ...(uploadId === undefined ? [] : [writes.mustBeFree(key, { signal: life.stopped, tries: STORING_TRIES })]),
      ])
      life.checkUsable()
    })
    life.becomes('sealed')
  }

  function compositeOfParts(): Composite {
    sent.sort((a, b) => a.number - b.number)
    return checksums.ofParts(sent.map(({ digest }) => digest))
  }

  async function completeParts(): Promise<void> {
    const composite = compositeOfParts()
    const answer = await writes.appear(
      key,
      { bytes, composite },
      (condition, onRetry) => {
        const command = new CompleteMultipartUploadCommand({
          ...target,
          UploadId: uploadId,
          MultipartUpload: {
            Parts: sent.map(({ number, etag, digest: { fields } }) => ({
              PartNumber: number,
              ETag: etag,
              ...(fields.ChecksumSHA256 !== undefined && { ChecksumSHA256: fields.ChecksumSHA256 }),
            })),
          },
          MpuObjectSize: bytes,
          ...condition,
        })
        // Not cut off in its middle: it shall be known whether it happened.
        return send(() => client.send(command), { signal, onRetry, tries: STORING_TRIES })
      },
      { signal, tries: STORING_TRIES },
    )
    if (answer && checksums.agrees(composite, answer) === false) {
      throw new FirnError('damaged', `The vault ${place.id} put ${key} together otherwise than it was sent.`)
    }
    step('s3-vault.put-together')
    parts.onComplete(key, { bytes, composite })
  }

  async function completeWhole(): Promise<void> {
    const body = filling ? filling.memory.buffer.subarray(0, filling.filled) : new Uint8Array()
    const composite = await writes.put(key, body, { signal, storageClass, tries: STORING_TRIES })
    parts.onComplete(key, { bytes, composite })
  }

  return {
    write: (chunk) =>
      life.oneAtATime(async () => {
        life.checkWritable()
        if (bytes + chunk.length > sizes.mostBytes) {
          await attempt(async () => {
            throw new FirnError(
              'failed',
              `${key} grows beyond ${sizes.mostBytes} bytes, the largest object for which FIRN_UPLOAD_MEMORY suffices: make it larger.`,
            )
          })
        }
        bytes += chunk.length
        await attempt(() => takeIn(chunk))
      }),

    seal: () => life.oneAtATime(seal),

    checksum: () => (uploadId === undefined ? undefined : compositeText(compositeOfParts())),

    complete: () =>
      life.oneAtATime(async () => {
        await seal()
        life.checkUsable()
        await attempt(() => (uploadId === undefined ? completeWhole() : completeParts()))
        life.becomes('done')
        release()
        // The object is there; what else began in its name is only in the way, and would be swept later.
        if (strayUpload) await abortUploadsOf(door, key).catch(() => {})
        return { archiveId: key }
      }),

    abort: life.abort,
  }
}
