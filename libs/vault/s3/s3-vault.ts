/** A vault in a bucket of S3, or of a service that speaks S3: bundles in any class, manifests beside them in one that needs no thaw. */
import { randomBytes } from 'node:crypto'
import { CreateMultipartUploadCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { FirnError } from '#libs/errors/errors.js'
import { checkPrefix } from '../object-key.js'
import type { PaceClock } from '../pacer.js'
import type { PriceList } from '../prices/price-list.js'
import { quoteFor } from '../prices/quote.js'
import { processMemory, type UploadMemory } from '../upload-memory.js'
import type { Shown, Vault } from '../vault.js'
import { type Composite, checksumsOf, compositeFrom } from './checksum.js'
import { type PartSizes, partSizes } from './part-sizes.js'
import { openS3Client, renewCredentials, type S3Credentials } from './s3-client.js'
import { openDoor } from './s3-door.js'
import { checkBucket, headOf, sha256AttributeOf } from './s3-head.js'
import { writeOnce } from './s3-put.js'
import { readObject } from './s3-read.js'
import { abortUpload, PROBE, sweepUploads } from './s3-sweep.js'
import { askForThaw, thawStatesOf } from './s3-thaw.js'
import { beginUpload } from './s3-upload.js'
import { COLD_CLASSES, type S3Place } from './s3-url.js'
import { openSender, STORING_TRIES } from './send.js'

export interface S3VaultOptions {
  readonly prices: PriceList
  readonly uploadMemoryBytes: number
  /** Default: the one of this process. */
  readonly memory?: UploadMemory
  /** Default: what the memory allows. */
  readonly sizes?: PartSizes
  /** Default: the SDK's own chain. */
  readonly credentials?: S3Credentials | (() => Promise<S3Credentials>)
  /** Silence on a connection after which a request is given up and tried again. */
  readonly stallMs?: number
  /** The first pause before a request that failed is tried again. */
  readonly pauseMs?: number
  /** For tests: the time that the pace of requests is kept by. */
  readonly clock?: PaceClock
}

const STALL_MS = 60_000
/** Objects sent by this process whose checksum is still known, until their `verify`. */
const KNOWN_OBJECTS = 1000
/** What is sent twice, once in a process, is no larger. */
const REPEATED_BYTES = 2 ** 20

export async function openS3Vault(place: S3Place, options: S3VaultOptions): Promise<Vault> {
  const { stallMs = STALL_MS, credentials, prices } = options
  const memory = options.memory ?? processMemory(options.uploadMemoryBytes)
  const client = openS3Client(place, { stallMs, ...(credentials && { credentials }) })
  const send = openSender({
    renew: () => renewCredentials(client),
    ...(options.pauseMs !== undefined && { pauseMs: options.pauseMs }),
    ...(options.clock && { clock: options.clock }),
  })
  const checksums = checksumsOf(place.checksum)
  const door = openDoor({ place, client, send, checksums })
  const { explained } = door
  const writes = writeOnce(door)
  const sizes = options.sizes ?? partSizes(memory.bytes)
  const thawStates = thawStatesOf(door)
  const known = new Map<string, { bytes: number; composite: Composite }>()
  const region = await explained('be opened', undefined, () => client.config.region())

  function remember(key: string, object: { bytes: number; composite: Composite }): void {
    if (known.size >= KNOWN_OBJECTS) known.delete(known.keys().next().value!)
    known.set(key, object)
  }

  return {
    id: place.id,
    maxObjectBytes: sizes.mostBytes,

    async prepare({ signal } = {}) {
      await explained('be used', signal, async () => {
        await checkBucket(door, { signal })
        // Whether it can be written, and has the class, is shown by an upload that is begun and ended: it leaves nothing.
        const key = `${PROBE}${randomBytes(4).toString('hex')}`
        const { UploadId } = await send(
          (call) =>
            client.send(
              new CreateMultipartUploadCommand({
                Bucket: place.bucket,
                Key: place.prefix + key,
                ...(place.storageClass !== undefined && { StorageClass: place.storageClass as 'STANDARD' }),
              }),
              call,
            ),
          { signal },
        )
        if (UploadId !== undefined) await abortUpload(door, { key, uploadId: UploadId }, {})
      })
    },

    async upload(key, { signal, warm } = {}) {
      signal?.throwIfAborted()
      return beginUpload({ door, writes, memory, sizes, onComplete: remember }, key, { signal, warm })
    },

    async put(key, bytes, { replace, signal } = {}) {
      await explained(`take ${key}`, signal, async () => {
        const repeatable = bytes.length <= REPEATED_BYTES
        const composite = await writes.put(key, bytes, {
          replace,
          signal,
          storageClass: place.manifestClass,
          repeatable,
          tries: STORING_TRIES,
        })
        remember(key, { bytes: bytes.length, composite })
      })
    },

    stat: (key, { signal } = {}) =>
      explained(`look at ${key}`, signal, async () => {
        const head = await headOf(door, key, { signal })
        return head && { bytes: head.ContentLength ?? 0, modifiedAt: head.LastModified ?? new Date(0) }
      }),

    /**
     * What the service says it holds: the SHA-256 of an object in one piece, the hash of the parts' hashes of one in parts, which only who
     * sent it can name (`expected.checksum`).
     */
    verify: (key, expected, { signal } = {}) =>
      explained(`verify ${key}`, signal, async (): Promise<Shown> => {
        const damaged = (what: string) => new FirnError('damaged', `${key} in the vault ${place.id} is damaged: ${what}.`)
        const head = await headOf(door, key, { signal, tries: STORING_TRIES })
        if (!head) throw new FirnError('vault-missing', `The vault ${place.id} has no object ${key}.`)
        if (head.ContentLength !== expected.bytes) {
          throw damaged(`it has ${head.ContentLength} bytes instead of ${expected.bytes}`)
        }
        if (place.checksum === 'none') return 'size'
        const said =
          head.ChecksumSHA256 ?? (place.checksum === 'sha256' ? await sha256AttributeOf(door, key, { signal }) : undefined)
        const composite = known.get(key)?.composite ?? compositeFrom(expected.checksum)
        const agrees = composite && checksums.agrees(composite, { ChecksumSHA256: said, ETag: head.ETag })
        if (agrees === false) throw damaged('the service holds another checksum of it than it was sent with')
        if (said !== undefined && /^[A-Za-z0-9+/]{43}=$/.test(said) && head.ChecksumType !== 'COMPOSITE') {
          const held = Buffer.from(said, 'base64').toString('hex')
          if (held !== expected.sha256.toLowerCase()) throw damaged(`its SHA-256 is ${held} instead of ${expected.sha256}`)
          return 'checksum'
        }
        return agrees ? 'checksum' : 'size'
      }),

    async *list(prefix, { signal } = {}) {
      checkPrefix(prefix)
      let token: string | undefined
      do {
        const command = new ListObjectsV2Command({
          Bucket: place.bucket,
          Prefix: place.prefix + prefix,
          ...(token !== undefined && { ContinuationToken: token }),
        })
        const page = await explained('be listed', signal, () => send((call) => client.send(command, call), { signal }))
        for (const { Key, Size, LastModified } of page.Contents ?? []) {
          signal?.throwIfAborted()
          // Consoles make empty objects that stand for directories.
          if (!Key?.startsWith(place.prefix) || Key.endsWith('/')) continue
          yield { key: Key.slice(place.prefix.length), bytes: Size ?? 0, modifiedAt: LastModified ?? new Date(0) }
        }
        token = page.IsTruncated ? page.NextContinuationToken : undefined
      } while (token !== undefined)
    },

    async *read(key, range, { signal } = {}) {
      signal?.throwIfAborted()
      yield* readObject(door, key, range, { signal, stallMs })
    },

    thaw: (key, request, { signal } = {}) => explained(`thaw ${key}`, signal, () => askForThaw(door, key, request, { signal })),

    thawStates: (keys, { signal } = {}) => explained('tell of thaws', signal, () => thawStates(keys, { signal })),

    quote(request) {
      const storageClass = place.storageClass ?? 'STANDARD'
      // What a server of one's own takes for reading is not Amazon's to say.
      if (place.endpoint !== undefined && !COLD_CLASSES.has(storageClass)) return undefined
      return quoteFor(prices, { service: 's3', storageClass, region }, request)
    },

    sweep: (isDead, { signal } = {}) => explained('be swept', signal, () => sweepUploads(door, isDead, { signal })),

    async close() {
      client.destroy()
    },
  }
}
