/**
 * Questions to an S3, each answered in a few words, so that the emulator's answers can be laid beside those of servers that others wrote.
 * Each probe has a key of its own.
 */
import { createHash } from 'node:crypto'
import * as aws from '@aws-sdk/client-s3'

export interface ProbedServer {
  readonly endpoint: string
  readonly region: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  readonly bucket: string
}

export interface Probe {
  readonly question: string
  /** The emulator's: what Amazon's documentation says, or, where reports of Amazon differ, the harsher. */
  readonly answer: string
  ask(probing: Probing): Promise<string>
}

export interface Probing {
  readonly client: aws.S3Client
  readonly Bucket: string
  readonly Key: string
  /** The same server for somebody else. */
  as(config: aws.S3ClientConfig): aws.S3Client
}

const MIB = 1 << 20
const BODY = Buffer.from('123456789')
const SHA256 = createHash('sha256').update(BODY).digest('base64')
const WRONG = createHash('sha256').update('other').digest('base64')

/** Puts every question to a server; in a bucket that is made and removed again. */
export async function probe(server: ProbedServer): Promise<ReadonlyMap<string, string>> {
  const { endpoint, region, credentials, bucket } = server
  const clients: aws.S3Client[] = []
  const as = (config: aws.S3ClientConfig) => {
    const plain = { requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED' } as const
    const client = new aws.S3Client({ endpoint, region, credentials, forcePathStyle: true, maxAttempts: 1, ...plain, ...config })
    clients.push(client)
    return client
  }
  const client = as({})
  await client.send(new aws.CreateBucketCommand({ Bucket: bucket }))
  const answers = new Map<string, string>()
  for (const [at, { question, ask }] of PROBES.entries()) {
    const answer = await ask({ client, Bucket: bucket, Key: `probe/${at}`, as }).catch(refused)
    answers.set(question, answer)
  }
  await empty(client, bucket)
  for (const one of clients) one.destroy()
  return answers
}

async function empty(client: aws.S3Client, Bucket: string): Promise<void> {
  const { Uploads = [] } = await client.send(new aws.ListMultipartUploadsCommand({ Bucket }))
  for (const { Key, UploadId } of Uploads) {
    await client.send(new aws.AbortMultipartUploadCommand({ Bucket, Key: Key!, UploadId: UploadId! }))
  }
  const { Contents = [] } = await client.send(new aws.ListObjectsV2Command({ Bucket }))
  for (const { Key } of Contents) await client.send(new aws.DeleteObjectCommand({ Bucket, Key: Key! }))
  await client.send(new aws.DeleteBucketCommand({ Bucket }))
}

/** Code and status; HEAD has no code. */
function refused(error: unknown): string {
  const { name, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
  const status = $metadata?.httpStatusCode
  if (status === undefined) throw error
  return /^(\d+|Unknown.*|NotFound)$/.test(name) ? String(status) : `${status} ${name}`
}

type Sent = { readonly Bucket: string; readonly Key: string; readonly UploadId: string }

async function begin(
  { client, Bucket, Key }: Probing,
  input: Partial<aws.CreateMultipartUploadCommandInput> = {},
): Promise<Sent> {
  const { UploadId } = await client.send(new aws.CreateMultipartUploadCommand({ Bucket, Key, ...input }))
  return { Bucket, Key, UploadId: UploadId! }
}

async function part(
  { client }: Probing,
  sent: Sent,
  PartNumber: number,
  Body: Buffer,
  input: Partial<aws.UploadPartCommandInput> = {},
) {
  const { $metadata: _, ...sums } = await client.send(new aws.UploadPartCommand({ ...sent, PartNumber, Body, ...input }))
  return { PartNumber, ...sums }
}

const complete = (
  { client }: Probing,
  sent: Sent,
  Parts: aws.CompletedPart[],
  input: Partial<aws.CompleteMultipartUploadCommandInput> = {},
) => client.send(new aws.CompleteMultipartUploadCommand({ ...sent, MultipartUpload: { Parts }, ...input }))

const put = ({ client, Bucket, Key }: Probing, input: Partial<aws.PutObjectCommandInput> = {}) =>
  client.send(new aws.PutObjectCommand({ Bucket, Key, Body: BODY, ...input }))
const head = ({ client, Bucket, Key }: Probing) =>
  client.send(new aws.HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }))
const restore = ({ client, Bucket, Key }: Probing, RestoreRequest: aws.RestoreRequest) =>
  client.send(new aws.RestoreObjectCommand({ Bucket, Key, RestoreRequest }))
const status = async (request: Promise<{ $metadata: { httpStatusCode?: number } }>) =>
  String((await request).$metadata.httpStatusCode)

export const PROBES: readonly Probe[] = [
  {
    question: 'a wrong secret',
    answer: '403 SignatureDoesNotMatch',
    ask: async (to) => {
      const { accessKeyId } = await to.client.config.credentials()
      return status(put({ ...to, client: to.as({ credentials: { accessKeyId, secretAccessKey: 'wrong' } }) }))
    },
  },
  {
    question: 'an unknown access key',
    answer: '403 InvalidAccessKeyId',
    ask: (to) => status(put({ ...to, client: to.as({ credentials: { accessKeyId: 'NOBODY', secretAccessKey: 'wrong' } }) })),
  },
  {
    question: 'a clock off by 20 minutes',
    answer: '403 RequestTimeTooSkewed',
    ask: (to) => status(put({ ...to, client: to.as({ systemClockOffset: 20 * 60_000 }) })),
  },
  {
    question: 'a bucket that is not there',
    answer: '404 NoSuchBucket',
    ask: (to) => status(put({ ...to, Bucket: 'firn-none-such' })),
  },
  {
    question: 'HEAD of a bucket that is not there',
    answer: '404',
    ask: ({ client }) => status(client.send(new aws.HeadBucketCommand({ Bucket: 'firn-none-such' }))),
  },
  { question: 'HEAD of a key that is not there', answer: '404', ask: (to) => status(head(to)) },
  {
    question: 'GET of a key that is not there',
    answer: '404 NoSuchKey',
    ask: ({ client, Bucket, Key }) => status(client.send(new aws.GetObjectCommand({ Bucket, Key }))),
  },
  {
    question: 'DELETE of a key that is not there',
    answer: '204',
    ask: ({ client, Bucket, Key }) => status(client.send(new aws.DeleteObjectCommand({ Bucket, Key }))),
  },
  {
    question: 'a range, and one behind the end',
    answer: '206 bytes 3-5/9 456, 416 InvalidRange',
    ask: async (to) => {
      const { client, Bucket, Key } = to
      await put(to)
      const got = await client.send(new aws.GetObjectCommand({ Bucket, Key, Range: 'bytes=3-5' }))
      const text = await got.Body!.transformToString()
      const behind = await status(client.send(new aws.GetObjectCommand({ Bucket, Key, Range: 'bytes=9-' }))).catch(refused)
      return `${got.$metadata.httpStatusCode} ${got.ContentRange} ${text}, ${behind}`
    },
  },
  {
    question: 'Put with If-None-Match over an object',
    answer: '412 PreconditionFailed',
    ask: async (to) => {
      await put(to, { IfNoneMatch: '*' })
      return status(put(to, { IfNoneMatch: '*' }))
    },
  },
  { question: 'Put with a wrong SHA-256', answer: '400 BadDigest', ask: (to) => status(put(to, { ChecksumSHA256: WRONG })) },
  {
    question: 'the SHA-256 of an object in HEAD',
    answer: `${SHA256} FULL_OBJECT`,
    ask: async (to) => {
      await put(to, { ChecksumSHA256: SHA256 })
      const { ChecksumSHA256, ChecksumType } = await head(to)
      return `${ChecksumSHA256} ${ChecksumType}`
    },
  },
  {
    question: 'a wrong Content-MD5',
    answer: '400 BadDigest',
    ask: (to) => status(put(to, { ContentMD5: createHash('md5').update('x').digest('base64') })),
  },
  {
    question: 'Complete of parts too small',
    answer: '400 EntityTooSmall',
    ask: async (to) => {
      const sent = await begin(to)
      return status(complete(to, sent, [await part(to, sent, 1, BODY), await part(to, sent, 2, BODY)]))
    },
  },
  {
    question: 'Complete in the wrong order',
    answer: '400 InvalidPartOrder',
    ask: async (to) => {
      const sent = await begin(to)
      const parts = [await part(to, sent, 1, BODY), await part(to, sent, 2, Buffer.alloc(5 * MIB))]
      return status(complete(to, sent, parts.reverse()))
    },
  },
  {
    question: 'Complete with a part that was never sent',
    answer: '400 InvalidPart',
    ask: async (to) => status(complete(to, await begin(to), [{ PartNumber: 1, ETag: '"00000000000000000000000000000000"' }])),
  },
  {
    question: 'Complete with another size than announced',
    answer: '400 InvalidRequest',
    ask: async (to) => {
      const sent = await begin(to)
      return status(complete(to, sent, [await part(to, sent, 1, BODY)], { MpuObjectSize: 8 }))
    },
  },
  {
    question: 'Complete with If-None-Match over an object',
    answer: '412 PreconditionFailed',
    ask: async (to) => {
      await put(to)
      const sent = await begin(to)
      return status(complete(to, sent, [await part(to, sent, 1, BODY)], { IfNoneMatch: '*' }))
    },
  },
  {
    question: 'Complete once more, after it was done',
    answer: '200',
    ask: async (to) => {
      const sent = await begin(to)
      const only = await part(to, sent, 1, BODY)
      await complete(to, sent, [only])
      return status(complete(to, sent, [only]))
    },
  },
  {
    question: 'a part for an upload that was aborted',
    answer: '404 NoSuchUpload',
    ask: async (to) => {
      const sent = await begin(to)
      await to.client.send(new aws.AbortMultipartUploadCommand(sent))
      await part(to, sent, 1, BODY)
      return 'taken'
    },
  },
  {
    question: 'a part with a wrong SHA-256',
    answer: '400 BadDigest',
    ask: async (to) => {
      const sent = await begin(to, { ChecksumAlgorithm: 'SHA256' })
      await part(to, sent, 1, BODY, { ChecksumSHA256: WRONG })
      return 'taken'
    },
  },
  {
    question: 'a part with a checksum that the upload did not name',
    answer: '400 InvalidRequest',
    ask: async (to) => {
      await part(to, await begin(to), 1, BODY, { ChecksumSHA256: SHA256 })
      return 'taken'
    },
  },
  {
    question: 'the composed SHA-256 of an upload',
    answer: `${createHash('sha256').update(createHash('sha256').update(BODY).digest()).digest('base64')}-1 COMPOSITE`,
    ask: async (to) => {
      const sent = await begin(to, { ChecksumAlgorithm: 'SHA256' })
      await complete(to, sent, [await part(to, sent, 1, BODY, { ChecksumSHA256: SHA256 })])
      const { ChecksumSHA256, ChecksumType } = await head(to)
      return `${ChecksumSHA256} ${ChecksumType}`
    },
  },
  {
    question: 'the CRC64NVME of an upload of two parts, in HEAD',
    answer: 'of 10485760 bytes: uQUNrazsHJA= FULL_OBJECT',
    ask: async (to) => {
      const sent = await begin(to, { ChecksumAlgorithm: 'CRC64NVME', ChecksumType: 'FULL_OBJECT' })
      const body = Buffer.alloc(5 * MIB, 'firn')
      const parts = []
      for (const number of [1, 2]) parts.push(await part(to, sent, number, body, { ChecksumAlgorithm: 'CRC64NVME' }))
      await complete(to, sent, parts)
      const { ContentLength, ChecksumCRC64NVME, ChecksumType } = await head(to)
      return `of ${ContentLength} bytes: ${ChecksumCRC64NVME} ${ChecksumType}`
    },
  },
  {
    question: 'an unfinished upload in the listing',
    answer: 'listed, with 1 part of 9 bytes',
    ask: async (to) => {
      const { client, Bucket, Key } = to
      const sent = await begin(to)
      await part(to, sent, 1, BODY)
      const { Uploads } = await client.send(new aws.ListMultipartUploadsCommand({ Bucket, Prefix: Key }))
      const { Parts } = await client.send(new aws.ListPartsCommand(sent))
      await client.send(new aws.AbortMultipartUploadCommand(sent))
      const found = Uploads?.some(({ UploadId }) => UploadId === sent.UploadId)
      return `${found ? 'listed' : 'not listed'}, with ${Parts?.length} part of ${Parts?.[0]?.Size} bytes`
    },
  },
  {
    question: 'a listing in pages of two, in the order of the bytes',
    answer: 'a b/c | ü \ufffd | 😀',
    ask: async (to) => {
      const { client, Bucket, Key } = to
      const names = ['😀', '\ufffd', 'a', 'b/c', 'ü']
      for (const name of names) await put({ ...to, Key: `${Key}-${name}` }).catch(() => undefined)
      const pages: string[] = []
      const listing = { Bucket, Prefix: `${Key}-`, MaxKeys: 2 }
      for await (const page of aws.paginateListObjectsV2({ client }, listing)) {
        pages.push((page.Contents ?? []).map((one) => one.Key!.slice(Key.length + 1)).join(' '))
      }
      return pages.filter((page) => page !== '').join(' | ') // an empty one may come last
    },
  },
  {
    question: 'the class GLACIER in HEAD, and GET of it',
    answer: 'GLACIER, 403 InvalidObjectState',
    ask: async (to) => {
      const { client, Bucket, Key } = to
      await put(to, { StorageClass: 'GLACIER' })
      const { StorageClass } = await head(to)
      return `${StorageClass}, ${await status(client.send(new aws.GetObjectCommand({ Bucket, Key }))).catch(refused)}`
    },
  },
  {
    question: 'a thaw, asked twice, and HEAD in between',
    answer: '202, ongoing-request="true", 409 RestoreAlreadyInProgress',
    ask: async (to) => {
      await put(to, { StorageClass: 'GLACIER' })
      const asked = { Days: 1, GlacierJobParameters: { Tier: 'Bulk' } } as const
      const first = await status(restore(to, asked))
      const { Restore } = await head(to)
      return `${first}, ${Restore}, ${await status(restore(to, asked)).catch(refused)}`
    },
  },
  {
    question: 'a thaw of an object that needs none',
    answer: '403 InvalidObjectState',
    ask: async (to) => {
      await put(to)
      return status(restore(to, { Days: 1, GlacierJobParameters: { Tier: 'Bulk' } }))
    },
  },
  {
    question: 'RestoreStatus in a listing, while a thaw is asked for',
    answer: 'in progress',
    ask: async (to) => {
      const { client, Bucket, Key } = to
      await put(to, { StorageClass: 'GLACIER' })
      await restore(to, { Days: 1, GlacierJobParameters: { Tier: 'Bulk' } }).catch(() => undefined)
      const page = await client.send(
        new aws.ListObjectsV2Command({ Bucket, Prefix: Key, OptionalObjectAttributes: ['RestoreStatus'] }),
      )
      const said = page.Contents?.[0]?.RestoreStatus
      return said === undefined ? 'not said' : said.IsRestoreInProgress ? 'in progress' : 'done'
    },
  },
]
