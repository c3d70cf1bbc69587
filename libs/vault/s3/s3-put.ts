/** An object in one request: written once, or replaced, and certain in the end whatever becomes of the answer. */
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { FirnError } from '#libs/errors/errors.js'
import { nameOf, statusOf, troubleOf } from '../service-error.js'
import { type Composite, wholeOf } from './checksum.js'
import type { S3Door } from './s3-door.js'
import { headOf, holdingOf } from './s3-head.js'
import type { Patient, SendOptions } from './send.js'

export interface PutOptions extends Patient {
  readonly storageClass?: string | undefined
  readonly replace?: boolean | undefined
  /** It costs next to nothing: it may be sent once more, to see whether the service keeps the condition. */
  readonly repeatable?: boolean
}

export interface WriteOnce {
  put(key: string, body: Uint8Array, options: PutOptions): Promise<Composite>
  /** Throws where there is an object of that name, on services that may not keep the condition. Amazon does: nothing is asked. */
  mustBeFree(key: string, options: Patient): Promise<void>
  /**
   * Runs `write`, which makes the object appear, with `If-None-Match: *` as long as the service knows it; after `mustBeFree`. Returns
   * undefined instead of its answer where that was lost, and the object is there as it was sent.
   */
  appear<T>(
    key: string,
    expected: { bytes: number; composite: Composite },
    write: (unless: Unless, onRetry: () => void) => Promise<T>,
    options: Patient,
  ): Promise<T | undefined>
}

export function writeOnce(door: S3Door): WriteOnce {
  const { client, send, checksums, place } = door
  /** What the service makes of `If-None-Match`. Amazon keeps it; others may ignore it without a word. */
  let condition: 'kept' | 'unclear' | 'ignored' | 'refused' = place.endpoint === undefined ? 'kept' : 'unclear'

  const exists = (key: string) =>
    new FirnError('vault-exists', `The vault ${place.id} cannot take ${key}: there is an object of that name already.`)

  async function refuseTaken(key: string, options: Patient): Promise<void> {
    // Who writes next says whether the bucket is there.
    if (await headOf(door, key, { ...options, bucketIsThere: true })) throw exists(key)
  }

  async function mustBeFree(key: string, options: Patient): Promise<void> {
    if (place.endpoint !== undefined) await refuseTaken(key, options)
  }

  async function appear<T>(
    key: string,
    expected: { bytes: number; composite: Composite },
    write: (unless: Unless, onRetry: () => void) => Promise<T>,
    options: Patient,
  ): Promise<T | undefined> {
    let doubtful = false
    try {
      return await write(condition === 'refused' ? {} : UNLESS_THERE, () => {
        doubtful = true
      })
    } catch (error) {
      options.signal?.throwIfAborted()
      if (condition !== 'refused' && (nameOf(error) === 'NotImplemented' || statusOf(error) === 501)) {
        condition = 'refused'
        await refuseTaken(key, options)
        return appear(key, expected, write, options)
      }
      const taken = statusOf(error) === 412
      if (taken && !doubtful) throw exists(key)
      const gone = nameOf(error) === 'NoSuchUpload' && doubtful
      const conflict = statusOf(error) === 409
      if (!taken && !gone && !conflict && !mayHaveHappened(error)) throw error
      const holding = await holdingOf(door, key, expected, options)
      if (holding === 'equal') return undefined
      if (holding === 'other') throw exists(key)
      if (conflict) {
        throw new FirnError(
          'vault-failed',
          `The vault ${place.id} was written by another at the same time; ${key} must be sent again.`,
        )
      }
      throw error
    }
  }

  return {
    mustBeFree,
    appear,
    async put(key, body, { storageClass, replace, repeatable, signal, tries }) {
      const digest = await checksums.digest(body)
      const composite = wholeOf(digest)
      const write = (unless: Unless, options: SendOptions) =>
        send(
          // Not cut off in its middle: it shall be known whether it happened.
          async () => {
            const answer = await client.send(
              new PutObjectCommand({
                ...door.at(key),
                Body: body,
                ContentLength: body.length,
                ...digest.fields,
                ...unless,
                ...(storageClass !== undefined && { StorageClass: storageClass as 'STANDARD' }),
              }),
            )
            checksums.check(key, digest, answer)
          },
          { signal, ...options },
        )
      const persistent = tries === undefined ? {} : { tries }
      if (replace) {
        await write({}, persistent)
        return composite
      }
      const patient = { signal, ...persistent }
      if (condition !== 'kept') await mustBeFree(key, patient)
      const once = (unless: Unless, onRetry: () => void) => write(unless, { onRetry, ...persistent })
      await appear(key, { bytes: body.length, composite }, once, patient)
      // The same once more: a service that does not keep the condition writes the same bytes again.
      if (condition === 'unclear' && repeatable) condition = await keeps(() => write(UNLESS_THERE, { tries: 1 }))
      return composite
    },
  }
}

type Unless = { IfNoneMatch?: '*' }
const UNLESS_THERE: Unless = { IfNoneMatch: '*' }

/** `write` is of an object that is there. */
async function keeps(write: () => Promise<void>): Promise<'kept' | 'ignored' | 'unclear'> {
  try {
    await write()
    return 'ignored'
  } catch (error) {
    return statusOf(error) === 412 ? 'kept' : 'unclear'
  }
}

/** The service may have done it and only the answer is missing. */
const mayHaveHappened = (error: unknown): boolean => ['passing', 'throttled'].includes(troubleOf(error))
