/** What the service says of an object without its bytes. */
import {
  GetObjectAttributesCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
} from '@aws-sdk/client-s3'
import { isFirnError } from '#libs/errors/errors.js'
import { statusOf } from '../service-error.js'
import type { Composite } from './checksum.js'
import type { S3Door } from './s3-door.js'
import type { Patient, Signalled } from './send.js'

/** undefined where there is no such object. A missing bucket is an error: it must not look like lost bundles. */
export async function headOf(
  door: S3Door,
  key: string,
  options: Patient & { bucketIsThere?: boolean } = {},
): Promise<HeadObjectCommandOutput | undefined> {
  const { client, send } = door
  const command = new HeadObjectCommand({
    ...door.at(key),
    ...(door.checksums.mode === 'sha256' && { ChecksumMode: 'ENABLED' as const }),
  })
  try {
    return await send((call) => client.send(command, call), options)
  } catch (error) {
    if (isFirnError(error) || statusOf(error) !== 404) throw error
    // A HEAD has no body: the answer is the same for a missing object and a missing bucket.
    if (!options.bucketIsThere) await checkBucket(door, options)
    return undefined
  }
}

/** Throws what is wrong with the bucket. By a listing, as a HEAD has no body, and so no word of the reason. */
export async function checkBucket({ client, send, place }: S3Door, options: Patient = {}): Promise<void> {
  const command = new ListObjectsV2Command({ Bucket: place.bucket, Prefix: place.prefix, MaxKeys: 1 })
  await send((call) => client.send(command, call), options)
}

export type Holding = 'equal' | 'other' | 'nothing'

/** Settles what came of a write whose answer was lost: is what lies there what was sent? */
export async function holdingOf(
  door: S3Door,
  key: string,
  expected: { bytes: number; composite: Composite },
  options: Patient,
): Promise<Holding> {
  const head = await headOf(door, key, { ...options, bucketIsThere: true })
  if (head === undefined) return 'nothing'
  if ((head.ContentLength ?? 0) !== expected.bytes) return 'other'
  return door.checksums.agrees(expected.composite, head) === false ? 'other' : 'equal'
}

/** For services whose HEAD leaves the checksum out. */
export async function sha256AttributeOf(door: S3Door, key: string, options: Signalled): Promise<string | undefined> {
  const { client, send } = door
  try {
    const command = new GetObjectAttributesCommand({ ...door.at(key), ObjectAttributes: ['Checksum'] })
    return (await send((call) => client.send(command, call), options)).Checksum?.ChecksumSHA256
  } catch (error) {
    options.signal?.throwIfAborted()
    // Not known there, or not permitted: then it is not said.
    if (statusOf(error) !== undefined && (statusOf(error) ?? 0) < 600) return undefined
    throw error
  }
}
