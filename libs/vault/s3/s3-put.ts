/** An object in one request: written once, or replaced, and certain in the end whatever becomes of the answer. */
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { FirnError } from '#libs/errors/errors.js'
import { nameOf, statusOf, troubleOf } from '../service-error.js'
import { type Composite, type Digest, wholeOf } from './checksum.js'
import type { S3Door } from './s3-door.js'
import { headOf, holdingOf } from './s3-head.js'
import type { Signalled } from './send.js'

export interface PutOptions extends Signalled {
  readonly storageClass?: string | undefined
  readonly replace?: boolean | undefined
  /** It costs next to nothing: it may be sent once more, to see whether the service keeps the condition. */
  readonly repeatable?: boolean
  readonly tries?: number
}

export interface WriteOnce {
  put(key: string, body: Uint8Array, options: PutOptions): Promise<Composite>
  /** Throws where there is an object of that name, on services that may not keep the condition. Amazon does: nothing is asked. */
  mustBeFree(key: string, options: Signalled): Promise<void>
  /**
   * Runs `write`, which makes the object appear, with `If-None-Match: *` as long as the service knows it; after `mustBeFree`. Returns
   * undefined instead of its answer where that was lost, and the object is there as it was sent.
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
  /** Of single requests. Amazon does; others may ignore it without a word. */
  let keepsCondition: boolean | undefined = place.endpoint === undefined ? true : undefined

  const exists = (key: string) =>
    new FirnError('vault-exists', `The vault ${place.id} cannot take ${key}: there is an object of that name already.`)

  async function mustBeFree(key: string, options: Signalled): Promise<void> {
    // Who writes next says whether the bucket is there.
    if (place.endpoint !== undefined && (await headOf(door, key, { ...options, bucketIsThere: true }))) throw exists(key)
  }

  async function appear<T>(
    key: string,
    expected: { bytes: number; composite: Composite },
    write: (condition: { IfNoneMatch?: '*' }, onRetry: () => void) => Promise<T>,
    options: Signalled,
  ): Promise<T | undefined> {
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

  function writing(key: string, body: Uint8Array, { digest, composite }: Sent, { storageClass, signal, tries }: PutOptions) {
    const command = (condition: { IfNoneMatch?: '*' }) =>
      new PutObjectCommand({
        ...door.at(key),
        Body: body,
        ContentLength: body.length,
        ...digest.fields,
        ...condition,
        ...(storageClass !== undefined && { StorageClass: storageClass as 'STANDARD' }),
      })
    const write = (condition: { IfNoneMatch?: '*' }, onRetry: () => void) =>
      send(
        // Not cut off in its middle: it shall be known whether it happened.
        async () => checksums.check(key, digest, await client.send(command(condition))),
        { signal, onRetry, ...(tries !== undefined && { tries }) },
      )
    /** The same once more: a service that does not keep the condition writes the same bytes again. */
    async function learn(): Promise<void> {
      try {
        await send(() => client.send(command({ IfNoneMatch: '*' })), { signal, tries: 1 })
        keepsCondition = false
      } catch (error) {
        if (statusOf(error) === 412) keepsCondition = true
      }
    }
    return {
      replace: () => write({}, () => {}),
      once: () => appear(key, { bytes: body.length, composite }, write, { signal }),
      learn,
    }
  }

  return {
    mustBeFree,
    appear,
    async put(key, body, options) {
      const digest = await checksums.digest(body)
      const composite = wholeOf(digest)
      const { replace, once, learn } = writing(key, body, { digest, composite }, options)
      if (options.replace) await replace()
      else {
        if (!keepsCondition || !knowsCondition) await mustBeFree(key, options)
        await once()
        if (keepsCondition === undefined && knowsCondition && options.repeatable) await learn()
      }
      return composite
    },
  }
}

interface Sent {
  readonly digest: Digest
  readonly composite: Composite
}

/** The service may have done it and only the answer is missing. */
const mayHaveHappened = (error: unknown): boolean => ['passing', 'throttled'].includes(troubleOf(error))
