/** The S3 of the emulator: from method, path and query to the operation, and how S3 says no. */
import type { Clock } from '../clock.js'
import { Refusal } from '../refusal.js'
import type { RequestBook } from '../requests.js'
import type { Answer, Call, Service } from '../service.js'
import { errorDocument } from '../xml.js'
import { createBucket, deleteBucket, getBucketLocation, headBucket, listBuckets } from './buckets.js'
import { listObjectsV2 } from './listing.js'
import { deleteObject, deleteObjects, getObject, headObject, putObject } from './objects.js'
import { placeOf, type S3Options, type S3Request, type S3State } from './request.js'
import { restoreObject } from './restore.js'
import type { Buckets } from './store.js'
import {
  abortMultipartUpload,
  completeMultipartUpload,
  createMultipartUpload,
  listMultipartUploads,
  listParts,
  uploadPart,
} from './uploads.js'

const OPERATIONS: Readonly<Record<string, (request: S3Request) => Promise<Answer>>> = {
  ListBuckets: listBuckets,
  CreateBucket: createBucket,
  HeadBucket: headBucket,
  GetBucketLocation: getBucketLocation,
  DeleteBucket: deleteBucket,
  PutObject: putObject,
  GetObject: getObject,
  HeadObject: headObject,
  DeleteObject: deleteObject,
  DeleteObjects: deleteObjects,
  ListObjectsV2: listObjectsV2,
  RestoreObject: restoreObject,
  CreateMultipartUpload: createMultipartUpload,
  UploadPart: uploadPart,
  CompleteMultipartUpload: completeMultipartUpload,
  AbortMultipartUpload: abortMultipartUpload,
  ListParts: listParts,
  ListMultipartUploads: listMultipartUploads,
}

export function openS3(world: {
  clock: Clock
  book: RequestBook
  directory: string
  buckets: Buckets
  options: S3Options
}): Service {
  const options = {
    thawHours: () => undefined,
    completeAgain: 'same-answer',
    minPartBytes: 5 << 20,
    pageKeys: 1000,
    light: false,
    ...world.options,
  } as const
  const s3: S3State = { ...world, options }
  return {
    name: 's3',
    signsPathTwiceEncoded: false,
    claims: () => true,
    route(call) {
      const { bucketName, key } = placeOf(call)
      const operation = operationOf(call, bucketName, key)
      return {
        operation,
        target: key === '' ? bucketName : `${bucketName}/${key}`,
        async run(signed, payload) {
          const run = OPERATIONS[operation]
          if (!run) throw new Refusal(501, 'NotImplemented', `This emulator does not know ${call.method} ${operation}.`)
          return run({ call, bucketName, key, signed, payload, s3 })
        },
      }
    },
    refuse: ({ status, code, message, details, headers }, call) => ({
      status,
      headers,
      body: errorDocument([
        ['Code', code],
        ['Message', message],
        ...Object.entries(details),
        ['Resource', call.path],
        ['RequestId', call.id],
      ]),
    }),
  }
}

/** Sub-resources of a bucket and of an object that have an operation here; the rest is `Unknown`. */
function operationOf({ method, query }: Call, bucket: string, key: string): string {
  const has = (name: string) => query.has(name)
  const only = (operations: Readonly<Record<string, string>>) => operations[method] ?? 'Unknown'
  if (bucket === '') return only({ GET: 'ListBuckets' })
  if (key === '') {
    if (has('location')) return only({ GET: 'GetBucketLocation' })
    if (has('uploads')) return only({ GET: 'ListMultipartUploads' })
    if (has('delete')) return only({ POST: 'DeleteObjects' })
    if (query.get('list-type') === '2') return only({ GET: 'ListObjectsV2' })
    if (query.size > (has('x-id') ? 1 : 0)) return 'Unknown'
    return only({ PUT: 'CreateBucket', HEAD: 'HeadBucket', DELETE: 'DeleteBucket' })
  }
  if (has('uploads')) return only({ POST: 'CreateMultipartUpload' })
  if (has('uploadId')) {
    return only({ PUT: 'UploadPart', POST: 'CompleteMultipartUpload', DELETE: 'AbortMultipartUpload', GET: 'ListParts' })
  }
  if (has('restore')) return only({ POST: 'RestoreObject' })
  for (const unknown of ['tagging', 'acl', 'attributes', 'retention', 'legal-hold', 'torrent', 'versionId', 'select']) {
    if (has(unknown)) return 'Unknown'
  }
  return only({ PUT: 'PutObject', GET: 'GetObject', HEAD: 'HeadObject', DELETE: 'DeleteObject' })
}
