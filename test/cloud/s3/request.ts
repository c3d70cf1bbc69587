/** What every S3 operation is given, and where a request says which bucket and key it is about. */
import type { Clock } from '../clock.js'
import type { Payload } from '../payload.js'
import { Refusal } from '../refusal.js'
import type { RequestBook } from '../requests.js'
import type { Call } from '../service.js'
import type { Signed } from '../signature.js'
import type { Bucket, Buckets } from './store.js'

export interface S3Request {
  readonly call: Call
  readonly bucketName: string
  readonly key: string
  readonly signed: Signed
  readonly payload: Payload
  readonly s3: S3State
}

export interface S3State {
  readonly clock: Clock
  readonly book: RequestBook
  /** Scratch directory of the bytes. */
  readonly directory: string
  readonly buckets: Buckets
  readonly options: Required<S3Options>
}

export interface S3Options {
  /** How long a thaw takes, in hours, by class and tier (`GLACIER`, `Standard`); the longest that Amazon names unless given. */
  thawHours?: (storageClass: string, tier: string, target: string) => number | undefined
  /** A Complete that comes again: the answer of the first (as Amazon, for some minutes at least), or NoSuchUpload. */
  completeAgain?: 'same-answer' | 'no-such-upload'
  /** Smallest part but the last; 5 MiB as Amazon's. Smaller for tests that want many parts of few bytes. */
  minPartBytes?: number
  /** Objects on a page of a listing; 1000 as Amazon's. Fewer for tests that want a large bucket of few objects. */
  pageKeys?: number
  /** Saves MD5 and the checksum that Amazon adds where the caller sends none: for benches, where they are not the subject. */
  light?: boolean
}

/** `/bucket/key` (path style) or `bucket.s3.<region>.amazonaws.com/key` and `bucket.localhost/key` (virtual host style). */
export function placeOf(call: Call): { bucketName: string; key: string } {
  const path = decode(call.path.slice(1))
  const [, virtual] = /^(.+?)\.(?:s3[.-].*|localhost)$/.exec(call.host) ?? []
  if (virtual !== undefined) return { bucketName: virtual, key: path }
  const slash = path.indexOf('/')
  return slash < 0 ? { bucketName: path, key: '' } : { bucketName: path.slice(0, slash), key: path.slice(slash + 1) }
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    throw new Refusal(400, 'InvalidURI', "Couldn't parse the specified URI.")
  }
}

/** The bucket, if it is in the region that the caller speaks to. */
export function bucketOf({ s3, bucketName, signed }: Pick<S3Request, 's3' | 'bucketName' | 'signed'>): Bucket {
  const bucket = s3.buckets.get(bucketName)
  if (!bucket)
    throw new Refusal(404, 'NoSuchBucket', 'The specified bucket does not exist', { details: { BucketName: bucketName } })
  if (bucket.region !== signed.region) {
    throw new Refusal(
      301,
      'PermanentRedirect',
      'The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.',
      {
        details: { Endpoint: `s3.${bucket.region}.amazonaws.com`, Bucket: bucketName },
        headers: { 'x-amz-bucket-region': bucket.region },
      },
    )
  }
  return bucket
}

/** A number in the query; `fallback` where it is not there. */
export function numberOf(call: Call, name: string, fallback: number): number {
  const text = call.query.get(name)
  if (text === undefined) return fallback
  if (!/^\d{1,9}$/.test(text))
    throw new Refusal(400, 'InvalidArgument', `Provided ${name} not an integer or within integer range`)
  return Number(text)
}
