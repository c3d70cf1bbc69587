/** What the S3 of the emulator holds: buckets, objects, unfinished uploads. Bytes are on disk, everything else in memory. */
import type { Blob } from '../blobs.js'
import { Refusal } from '../refusal.js'
import type { Algorithm, Checksum, ChecksumType } from './checksums.js'
import { sortedKeys } from './sorted-keys.js'

/** Classes whose objects must be restored before they can be read. */
export const COLD_CLASSES: ReadonlySet<string> = new Set(['GLACIER', 'DEEP_ARCHIVE'])

export const STORAGE_CLASSES: ReadonlySet<string> = new Set([
  'STANDARD',
  'REDUCED_REDUNDANCY',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER_IR',
  ...COLD_CLASSES,
])

export interface StoredObject {
  readonly key: string
  /** One behind the other; an upload's parts stay as they came. */
  readonly blobs: readonly Blob[]
  readonly bytes: number
  /** Without quotes. */
  readonly etag: string
  readonly storageClass: string
  readonly modifiedAt: Date
  /** Content type, metadata and the like, as headers. */
  readonly headers: Readonly<Record<string, string>>
  readonly checksum: Checksum | undefined
  restore: Restore | undefined
}

export interface Restore {
  readonly tier: string
  readonly readyAt: Date
  /** Moves when the restore is asked again. */
  readonly expiresAt: Date
}

export interface StoredUpload {
  readonly id: string
  readonly key: string
  readonly initiatedAt: Date
  readonly storageClass: string
  readonly headers: Readonly<Record<string, string>>
  readonly algorithm: Algorithm | undefined
  readonly type: ChecksumType
  readonly parts: Map<number, Part>
}

export interface Part {
  readonly number: number
  readonly blob: Blob
  readonly etag: string
  readonly modifiedAt: Date
  /** Base64; of the upload's algorithm, or of CRC64NVME where it named none. */
  readonly checksum: string | undefined
}

export interface Bucket {
  readonly name: string
  readonly region: string
  readonly createdAt: Date
  readonly objects: Map<string, StoredObject>
  /** In the order of S3's listings: by the bytes of UTF-8. */
  readonly keys: ReturnType<typeof sortedKeys>
  readonly uploads: Map<string, StoredUpload>
  /** What was answered to the Complete of an upload, for one that comes again. */
  readonly completed: Map<string, { key: string; etag: string; checksum: Checksum | undefined }>
}

export type Buckets = Map<string, Bucket>

export const newBucket = (name: string, region: string, createdAt: Date): Bucket => ({
  name,
  region,
  createdAt,
  objects: new Map(),
  keys: sortedKeys(),
  uploads: new Map(),
  completed: new Map(),
})

export function addObject(bucket: Bucket, object: StoredObject): StoredObject | undefined {
  const before = bucket.objects.get(object.key)
  bucket.objects.set(object.key, object)
  if (!before) bucket.keys.add(object.key)
  return before
}

export function takeObject(bucket: Bucket, key: string): StoredObject | undefined {
  const object = bucket.objects.get(key)
  if (object) {
    bucket.objects.delete(key)
    bucket.keys.remove(key)
  }
  return object
}

export function objectOf(bucket: Bucket, key: string): StoredObject {
  const object = bucket.objects.get(key)
  if (!object) throw new Refusal(404, 'NoSuchKey', 'The specified key does not exist.', { details: { Key: key } })
  return object
}

export function storageClassNamed(name: string | undefined): string {
  const storageClass = name ?? 'STANDARD'
  if (!STORAGE_CLASSES.has(storageClass)) {
    throw new Refusal(400, 'InvalidStorageClass', 'The storage class you specified is not valid')
  }
  return storageClass
}
