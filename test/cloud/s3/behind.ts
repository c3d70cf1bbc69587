/** What S3 holds, seen and changed behind everybody's back, as bad disks and strangers do. */
import { truncate } from 'node:fs/promises'
import { type Blob, dropBlobs, flipBit, keepBlob, readBlobs } from '../blobs.js'
import type { Clock } from '../clock.js'
import { openDigester } from './checksums.js'
import { replaceObject } from './objects.js'
import {
  type Bucket,
  type Buckets,
  newBucket,
  type StoredObject,
  type StoredUpload,
  storageClassNamed,
  takeObject,
} from './store.js'

export interface Behind {
  /** A bucket of another region, say. */
  addBucket(name: string, region: string): void
  /** Puts objects there without a request: thousands of them are there at once. Each is asked for its bytes, under one class. */
  plant(bucket: string, keys: readonly string[], bytesOf: (key: string) => Buffer, storageClass?: string): Promise<void>
  /** In key order. */
  objects(bucket: string): readonly StoredObject[]
  object(bucket: string, key: string): StoredObject | undefined
  /** Unfinished uploads. */
  uploads(bucket: string): readonly StoredUpload[]
  read(bucket: string, key: string): Promise<Buffer>
  /** The files that the object is made of, one behind the other. */
  files(bucket: string, key: string): readonly string[]
  /** Flips one bit: in the middle unless an offset is given. Size, ETag and checksums stay what they were. */
  damage(bucket: string, key: string, offset?: number): Promise<void>
  remove(bucket: string, key: string): Promise<void>
  /** Takes the second half of it away. */
  truncate(bucket: string, key: string): Promise<void>
  /** Each has the bytes of the other. */
  swap(bucket: string, one: string, other: string): void
  /** Makes the restored copy expire now. */
  expire(bucket: string, key: string): void
}

export function lookBehind(buckets: Buckets, clock: Clock, directory: string): Behind {
  const bucketNamed = (name: string): Bucket => {
    const bucket = buckets.get(name)
    if (!bucket) throw new Error(`the emulator has no bucket ${name}`)
    return bucket
  }
  const held = (name: string, key: string): StoredObject => {
    const object = bucketNamed(name).objects.get(key)
    if (!object) throw new Error(`the emulator has no object ${key} in ${name}`)
    return object
  }
  return {
    addBucket(name, region) {
      buckets.set(name, newBucket(name, region, clock.now()))
    },
    async plant(name, keys, bytesOf, storageClass = 'STANDARD') {
      const bucket = bucketNamed(name)
      for (const key of keys) {
        const digester = openDigester(['MD5', 'CRC64NVME'])
        const blob = await keepBlob(directory, once(bytesOf(key)), digester.update)
        const digests = digester.digest()
        await replaceObject(bucket, {
          key,
          blobs: [blob],
          bytes: blob.bytes,
          etag: Buffer.from(digests.get('MD5')!, 'base64').toString('hex'),
          storageClass: storageClassNamed(storageClass),
          modifiedAt: clock.now(),
          headers: { 'content-type': 'binary/octet-stream' },
          checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: digests.get('CRC64NVME')! },
          restore: undefined,
        })
      }
    },
    objects: (name) => [...bucketNamed(name).keys.from('')].map((key) => held(name, key)),
    object: (name, key) => bucketNamed(name).objects.get(key),
    uploads: (name) => [...bucketNamed(name).uploads.values()],
    async read(name, key) {
      const { blobs, bytes } = held(name, key)
      const chunks: Buffer[] = []
      for await (const chunk of readBlobs(blobs, 0, bytes)) chunks.push(chunk)
      return Buffer.concat(chunks)
    },
    files: (name, key) => held(name, key).blobs.map(({ path }) => path),
    async damage(name, key, offset) {
      const { blobs, bytes } = held(name, key)
      await flipBit(blobs, offset ?? Math.floor(bytes / 2))
    },
    async remove(name, key) {
      const gone = takeObject(bucketNamed(name), key)
      if (gone) await dropBlobs(gone.blobs)
    },
    async truncate(name, key) {
      const object = held(name, key)
      let left = Math.floor(object.bytes / 2)
      const bytes = left
      const blobs: Blob[] = []
      for (const blob of object.blobs) {
        const kept = { ...blob, bytes: Math.min(left, blob.bytes) }
        await truncate(kept.path, kept.bytes)
        blobs.push(kept)
        left -= kept.bytes
      }
      bucketNamed(name).objects.set(key, { ...object, blobs, bytes })
    },
    swap(name, one, other) {
      const { objects } = bucketNamed(name)
      const [first, second] = [held(name, one), held(name, other)]
      objects.set(one, { ...second, key: one })
      objects.set(other, { ...first, key: other })
    },
    expire(name, key) {
      held(name, key).restore = undefined
    },
  }
}

async function* once(bytes: Buffer): AsyncIterable<Buffer> {
  yield bytes
}
