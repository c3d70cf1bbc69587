/** Buckets: made, asked for, removed. */
import { Refusal } from '../refusal.js'
import type { Answer } from '../service.js'
import { childText, document, parseXml } from '../xml.js'
import { bucketOf, type S3Request } from './request.js'
import { newBucket } from './store.js'

const NAME = /^(?!xn--|\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/

export async function createBucket({ s3, bucketName, signed, payload }: S3Request): Promise<Answer> {
  const asked = childText(parseXml(await payload.text()), 'LocationConstraint')
  if (!NAME.test(bucketName)) throw new Refusal(400, 'InvalidBucketName', 'The specified bucket is not valid.')
  const region = asked || 'us-east-1'
  if (region !== signed.region) {
    const message = `The ${asked || 'unspecified'} location constraint is incompatible for the region specific endpoint this request was sent to.`
    throw new Refusal(400, 'IllegalLocationConstraintException', message)
  }
  const there = s3.buckets.get(bucketName)
  // In the oldest region making one's own bucket again is no error.
  if (there && !(there.region === 'us-east-1' && region === 'us-east-1')) {
    throw new Refusal(
      409,
      'BucketAlreadyOwnedByYou',
      'Your previous request to create the named bucket succeeded and you already own it.',
    )
  }
  if (!there) s3.buckets.set(bucketName, newBucket(bucketName, region, s3.clock.now()))
  return { status: 200, headers: { location: `/${bucketName}` } }
}

export async function headBucket(request: S3Request): Promise<Answer> {
  return { status: 200, headers: { 'x-amz-bucket-region': bucketOf(request).region } }
}

export async function getBucketLocation({ s3, bucketName }: S3Request): Promise<Answer> {
  const bucket = s3.buckets.get(bucketName)
  if (!bucket) throw new Refusal(404, 'NoSuchBucket', 'The specified bucket does not exist')
  const region = bucket.region === 'us-east-1' ? '' : bucket.region
  return { status: 200, body: document('LocationConstraint', []).replace('></', `>${region}</`) }
}

export async function listBuckets({ s3 }: S3Request): Promise<Answer> {
  const buckets = [...s3.buckets.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  const rows = buckets.map(({ name, createdAt, region }) => {
    return [
      'Bucket',
      [
        ['Name', name],
        ['CreationDate', createdAt.toISOString()],
        ['BucketRegion', region],
      ],
    ] as const
  })
  return { status: 200, body: document('ListAllMyBucketsResult', [['Buckets', rows]]) }
}

export async function deleteBucket(request: S3Request): Promise<Answer> {
  const bucket = bucketOf(request)
  if (bucket.objects.size > 0) throw new Refusal(409, 'BucketNotEmpty', 'The bucket you tried to delete is not empty')
  request.s3.buckets.delete(bucket.name)
  return { status: 204 }
}
