/** Objects: put, read, looked at, deleted. */
import { createHash, randomBytes } from 'node:crypto'
import { type Blob, dropBlobs, keepBlob, readBlobs } from '../blobs.js'
import { Refusal } from '../refusal.js'
import type { Answer, Call } from '../service.js'
import { child, childText, document, type Node, parseXml } from '../xml.js'
import { type Algorithm, announcedAlgorithm, checksumHeaders, judgeDigests, openDigester } from './checksums.js'
import { bucketOf, type S3Request } from './request.js'
import { isReadable, restoreHeader } from './restore.js'
import { addObject, type Bucket, objectOf, type StoredObject, storageClassNamed, takeObject } from './store.js'

/** One Put or one part, as Amazon limits it. */
export const MAX_SEND_BYTES = 5 * 1024 ** 3
const MAX_KEY_BYTES = 1024

export async function putObject(request: S3Request): Promise<Answer> {
  const { call, key, s3 } = request
  const bucket = bucketOf(request)
  const storageClass = storageClassNamed(call.headers['x-amz-storage-class'])
  checkKey(key)
  if (call.headers['x-amz-copy-source'] !== undefined)
    throw new Refusal(501, 'NotImplemented', 'This emulator does not copy objects.')
  checkCondition(bucket, key, call)
  const { blob, etag, algorithm, value } = await receive(request, s3.options.light ? undefined : 'CRC64NVME')
  try {
    checkCondition(bucket, key, call) // somebody may have been faster
  } catch (error) {
    await dropBlobs([blob])
    throw error
  }
  const checksum = algorithm && value !== undefined ? ({ algorithm, type: 'FULL_OBJECT', value } as const) : undefined
  await replaceObject(bucket, {
    key,
    blobs: [blob],
    bytes: blob.bytes,
    etag,
    storageClass,
    modifiedAt: s3.clock.now(),
    headers: keptHeaders(call),
    checksum,
    restore: undefined,
  })
  return { status: 200, headers: { etag: `"${etag}"`, ...(checksum && checksumHeaders(checksum)) } }
}

/** Takes in bytes and judges them by everything that the request says of them. `otherwise`: summed so where it names no checksum. */
export async function receive(
  { payload, s3 }: S3Request,
  otherwise: Algorithm | undefined,
): Promise<{ blob: Blob; etag: string; algorithm: Algorithm | undefined; value: string | undefined }> {
  if (payload.announced === undefined)
    throw new Refusal(411, 'MissingContentLength', 'You must provide the Content-Length HTTP header.')
  if (payload.announced > MAX_SEND_BYTES)
    throw new Refusal(400, 'EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size')
  const { light } = s3.options
  const algorithm = announcedAlgorithm(payload.header) ?? otherwise
  const wantsMd5 = !light || payload.header('content-md5') !== undefined
  const digester = openDigester([...(wantsMd5 ? (['MD5'] as const) : []), ...(algorithm ? [algorithm] : [])])
  const blob = await keepBlob(s3.directory, payload.chunks(), digester.update)
  const digests = digester.digest()
  try {
    judgeDigests(digests, payload.header)
  } catch (error) {
    await dropBlobs([blob])
    throw error
  }
  const md5 = digests.get('MD5')
  const etag = md5 === undefined ? randomBytes(16).toString('hex') : Buffer.from(md5, 'base64').toString('hex')
  return { blob, etag, algorithm, value: algorithm && digests.get(algorithm) }
}

export async function getObject(request: S3Request): Promise<Answer> {
  const { call, key, s3 } = request
  const object = objectOf(bucketOf(request), key)
  checkReadConditions(object, call)
  if (!isReadable(object, s3.clock.now())) {
    throw new Refusal(403, 'InvalidObjectState', "The operation is not valid for the object's storage class", {
      details: { StorageClass: object.storageClass },
    })
  }
  const range = rangeOf(call.headers['range'], object.bytes)
  const { offset, length } = range ?? { offset: 0, length: object.bytes }
  return {
    status: range ? 206 : 200,
    headers: {
      ...describe(object, request, range === undefined),
      'content-length': String(length),
      ...(range && { 'content-range': `bytes ${offset}-${offset + length - 1}/${object.bytes}` }),
    },
    body: { bytes: length, chunks: readBlobs(object.blobs, offset, length) },
    expire: () => {
      object.restore = undefined
    },
  }
}

export async function headObject(request: S3Request): Promise<Answer> {
  const object = objectOf(bucketOf(request), request.key)
  checkReadConditions(object, request.call)
  return { status: 200, headers: { ...describe(object, request, true), 'content-length': String(object.bytes) } }
}

export async function deleteObject(request: S3Request): Promise<Answer> {
  const gone = takeObject(bucketOf(request), request.key)
  if (gone) await dropBlobs(gone.blobs)
  return { status: 204 }
}

export async function deleteObjects(request: S3Request): Promise<Answer> {
  const { payload } = request
  const bucket = bucketOf(request)
  const body = await payload.text()
  const algorithm = announcedAlgorithm(payload.header)
  if (algorithm === undefined && payload.header('content-md5') === undefined) {
    throw new Refusal(400, 'InvalidRequest', 'Missing required header for this request: Content-MD5 OR x-amz-checksum-*')
  }
  const digester = openDigester(['MD5', ...(algorithm ? [algorithm] : [])])
  digester.update(Buffer.from(body))
  judgeDigests(digester.digest(), payload.header)
  const asked = parseXml(body)
  const keys = (asked?.children ?? []).filter(({ name }) => name === 'Object').map((one) => child(one, 'Key')?.text)
  if (keys.length === 0 || keys.length > 1000) {
    throw new Refusal(
      400,
      'MalformedXML',
      'The XML you provided was not well-formed or did not validate against our published schema',
    )
  }
  const deleted: Node[] = []
  for (const key of keys) {
    const gone = takeObject(bucket, key ?? '')
    if (gone) await dropBlobs(gone.blobs)
    deleted.push(['Deleted', [['Key', key]]])
  }
  const quiet = childText(asked, 'Quiet') === 'true'
  return { status: 200, body: document('DeleteResult', quiet ? [] : deleted) }
}

/** Puts it in the place of what was there. */
export async function replaceObject(bucket: Bucket, object: StoredObject): Promise<void> {
  const before = addObject(bucket, object)
  if (before) await dropBlobs(before.blobs)
}

export function checkKey(key: string): void {
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) throw new Refusal(400, 'KeyTooLongError', 'Your key is too long')
}

/** `If-None-Match: *`, the only one that a write may have, and `If-Match`. */
export function checkCondition(bucket: Bucket, key: string, call: Call): void {
  const none = call.headers['if-none-match']
  const there = bucket.objects.get(key)
  if (none !== undefined && none !== '*') {
    throw new Refusal(501, 'NotImplemented', 'A header you provided implies functionality that is not implemented')
  }
  if (none === '*' && there) throw preconditionFailed('If-None-Match')
  const match = call.headers['if-match']
  if (match === undefined) return
  if (!there) throw new Refusal(404, 'NoSuchKey', 'The specified key does not exist.', { details: { Key: key } })
  if (unquoted(match) !== there.etag) throw preconditionFailed('If-Match')
}

function checkReadConditions(object: StoredObject, { headers }: Call): void {
  const match = headers['if-match']
  if (match !== undefined && match !== '*' && unquoted(match) !== object.etag) throw preconditionFailed('If-Match')
  const none = headers['if-none-match']
  if (none !== undefined && (none === '*' || unquoted(none) === object.etag))
    throw new Refusal(304, 'NotModified', 'Not Modified')
}

const preconditionFailed = (condition: string) =>
  new Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
    details: { Condition: condition },
  })

export const unquoted = (etag: string): string => etag.replace(/^"|"$/g, '')

const KEPT = ['content-type', 'content-encoding', 'content-disposition', 'content-language', 'cache-control', 'expires']

/** What an object says again when it is read. */
export function keptHeaders({ headers }: Call): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => KEPT.includes(name) || name.startsWith('x-amz-meta-'))
  const encoding = headers['content-encoding']
    ?.split(',')
    .map((one) => one.trim())
    .filter((one) => one !== 'aws-chunked')
    .join(',')
  const { 'content-encoding': _, ...rest } = Object.fromEntries(kept)
  return { 'content-type': 'binary/octet-stream', ...rest, ...(encoding && { 'content-encoding': encoding }) }
}

function describe(object: StoredObject, { call, s3 }: S3Request, whole: boolean): Record<string, string> {
  const restore = restoreHeader(object, s3.clock.now())
  return {
    ...object.headers,
    'accept-ranges': 'bytes',
    etag: `"${object.etag}"`,
    'last-modified': object.modifiedAt.toUTCString(),
    ...(object.storageClass !== 'STANDARD' && { 'x-amz-storage-class': object.storageClass }),
    ...(restore && { 'x-amz-restore': restore }),
    // Of a part of the object the sum of the whole would say nothing.
    ...(whole &&
      call.headers['x-amz-checksum-mode']?.toUpperCase() === 'ENABLED' &&
      object.checksum &&
      checksumHeaders(object.checksum)),
  }
}

function rangeOf(header: string | undefined, bytes: number): { offset: number; length: number } | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined
  const offset = first === '' ? Math.max(0, bytes - Number(last)) : Number(first)
  const end = first === '' || last === '' ? bytes : Math.min(bytes, Number(last) + 1)
  if (first !== '' && last !== '' && Number(last) < Number(first)) return undefined
  if (offset >= end) {
    throw new Refusal(416, 'InvalidRange', 'The requested range is not satisfiable', {
      details: { RangeRequested: header ?? '', ActualObjectSize: String(bytes) },
      headers: { 'content-range': `bytes */${bytes}` },
    })
  }
  return { offset, length: end - offset }
}

export const md5Of = (text: Buffer): string => createHash('md5').update(text).digest('hex')
