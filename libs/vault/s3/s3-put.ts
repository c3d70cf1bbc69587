/** An object in one request: written once, or replaced, and certain in the end whatever becomes of the answer. */
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { FirnError } from '#libs/errors/errors.js'
import { nameOf, statusOf, troubleOf } from '../service-error.js'
import { type Composite, wholeOf } from './checksum.js'
import type { S3Door } from './s3-door.js'
import { headOf, holdingOf } from './s3-head.js'
import type { Signalled } from './send.js'

export interface PutOptions extends Signalled {
  readonly storageClass?: string | undefined
  readonly replace?: boolean | undefined
  readonly tries?: number
}

export interface WriteOnce {
  put(key: string, body: Uint8Array, options: PutOptions): Promise<Composite>
  /**
   * Runs `write`, which makes the object appear, with `If-None-Match: *` as long as the service knows it. Returns undefined instead of
   * its answer where that was lost, and the object is there as it was sent.
   */
  appear<T>(
    key: string,
    expected: { bytes: number; composite: Composite },
    write: (condition: { IfNoneMatch?: '*' }, onRetry: () => void) => Promise<T>,
    options: Signalled,
  ): Promise<T | undefined>
}

export function writeOnce(door: S3Door): WriteOnce {
  const { client, send, checksums, place } = door
  let knowsCondition = true

  const exists = (key: string) =>
    new FirnError('vault-exists', `The vault ${place.id} cannot take ${key}: there is an object of that name already.`)

  async function appear<T>(
    key: string,
    expected: { bytes: number; composite: Composite },
    write: (condition: { IfNoneMatch?: '*' }, onRetry: () => void) => Promise<T>,
    options: Signalled,
  ): Promise<T | undefined> {
    // Amazon keeps the condition. Others may ignore it without a word: there one look more, which closes all but the narrowest gap.
    if (place.endpoint !== undefined && (await headOf(door, key, options))) throw exists(key)
    let doubtful = false
    try {
      return await write(knowsCondition ? { IfNoneMatch: '*' } : {}, () => {
        doubtful = true
      })
    } catch (error) {
      options.signal?.throwIfAborted()
      if (knowsCondition && (nameOf(error) === 'NotImplemented' || statusOf(error) === 501)) {
        knowsCondition = false
        if (await headOf(door, key, options)) throw exists(key)
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
    appear,
    async put(key, body, { storageClass, replace, signal, tries }) {
      const digest = await checksums.digest(body)
      const composite = wholeOf(digest)
      const write = (condition: { IfNoneMatch?: '*' }, onRetry: () => void) =>
        send(
          // Not cut off in its middle: it shall be known whether it happened.
          async () => {
            const answer = await client.send(
              new PutObjectCommand({
                ...door.at(key),
                Body: body,
                ContentLength: body.length,
                ...digest.fields,
                ...condition,
                ...(storageClass !== undefined && { StorageClass: storageClass as 'STANDARD' }),
              }),
            )
            checksums.check(key, digest, answer)
          },
          { signal, onRetry, ...(tries !== undefined && { tries }) },
        )
      if (replace) await write({}, () => {})
      else await appear(key, { bytes: body.length, composite }, write, { signal })
      return composite
    },
  }
}

/** The service may have done it and only the answer is missing. */
const mayHaveHappened = (error: unknown): boolean => ['passing', 'throttled'].includes(troubleOf(error))
