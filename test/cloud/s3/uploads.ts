/** Multipart uploads: begun, fed part by part, completed or aborted, and listed. */
import { randomUUID } from 'node:crypto'
import { dropBlobs } from '../blobs.js'
import { Refusal } from '../refusal.js'
import type { Answer } from '../service.js'
import { childText, document, type Element, type Node, parseXml } from '../xml.js'
import {
  ALGORITHMS,
  type Algorithm,
  algorithmNamed,
  announcedAlgorithm,
  type Checksum,
  type ChecksumType,
  elementOf,
  headerOf,
  isCrc,
  wholeChecksum,
} from './checksums.js'
import { keyWriter } from './listing.js'
import { checkCondition, checkKey, keptHeaders, md5Of, receive, replaceObject, unquoted } from './objects.js'
import { bucketOf, numberOf, type S3Request } from './request.js'
import { byUtf8 } from './sorted-keys.js'
import { type Bucket, type Part, type StoredUpload, storageClassNamed } from './store.js'

const MAX_PARTS = 10_000

export async function createMultipartUpload(request: S3Request): Promise<Answer> {
  const { call, key, s3 } = request
  const bucket = bucketOf(request)
  checkKey(key)
  const named = call.headers['x-amz-checksum-algorithm']
  const algorithm = named === undefined ? undefined : algorithmNamed(named)
  const type = typeFor(algorithm, call.headers['x-amz-checksum-type'])
  const upload: StoredUpload = {
    id: randomUUID().replaceAll('-', ''),
    key,
    initiatedAt: s3.clock.now(),
    storageClass: storageClassNamed(call.headers['x-amz-storage-class']),
    headers: keptHeaders(call),
    algorithm,
    type,
    parts: new Map(),
  }
  bucket.uploads.set(upload.id, upload)
  return {
    status: 200,
    headers: algorithm ? { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type } : {},
    body: document('InitiateMultipartUploadResult', [
      ['Bucket', bucket.name],
      ['Key', key],
      ['UploadId', upload.id],
    ]),
  }
}

/** SHA sums can only be composed of the parts', CRC64NVME only be whole; the shorter CRCs may be either. */
function typeFor(algorithm: Algorithm | undefined, asked: string | undefined): ChecksumType {
  if (algorithm === undefined) {
    if (asked === undefined) return 'FULL_OBJECT' // of the CRC64NVME that the service adds by itself
    throw new Refusal(
      400,
      'InvalidRequest',
      'The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.',
    )
  }
  const only = algorithm === 'CRC64NVME' ? 'FULL_OBJECT' : isCrc(algorithm) ? undefined : 'COMPOSITE'
  const type = asked?.toUpperCase() ?? only ?? 'COMPOSITE'
  if ((type !== 'COMPOSITE' && type !== 'FULL_OBJECT') || (only !== undefined && type !== only)) {
    throw new Refusal(
      400,
      'InvalidRequest',
      `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    )
  }
  return type
}

export async function uploadPart(request: S3Request): Promise<Answer> {
  const { call, payload, s3 } = request
  const bucket = bucketOf(request)
  const upload = uploadOf(bucket, request)
  const number = numberOf(call, 'partNumber', 0)
  if (number < 1 || number > MAX_PARTS) {
    throw new Refusal(400, 'InvalidArgument', `Part number must be an integer between 1 and ${MAX_PARTS}, inclusive`)
  }
  const given = announcedAlgorithm(payload.header)
  const computes = upload.type === 'FULL_OBJECT' // a composed sum needs what the caller says of each part
  if (given !== upload.algorithm && !(given === undefined && computes)) {
    const [expected, actual] = [upload.algorithm?.toLowerCase() ?? 'null', given?.toLowerCase() ?? 'null']
    throw new Refusal(
      400,
      'InvalidRequest',
      `Checksum Type mismatch occurred, expected checksum Type: ${expected}, actual checksum Type: ${actual}`,
    )
  }
  const { blob, etag, value } = await receive(request, upload.algorithm ?? (s3.options.light ? undefined : 'CRC64NVME'))
  if (bucket.uploads.get(upload.id) !== upload) {
    await dropBlobs([blob])
    throw noSuchUpload()
  }
  const before = upload.parts.get(number)
  upload.parts.set(number, { number, blob, etag, modifiedAt: s3.clock.now(), checksum: value })
  if (before) await dropBlobs([before.blob])
  return { status: 200, headers: { etag: `"${etag}"`, ...(given && value && { [headerOf(given)]: value }) } }
}

export async function completeMultipartUpload(request: S3Request): Promise<Answer> {
  const { call, key, payload, s3 } = request
  const bucket = bucketOf(request)
  const body = parseXml(await payload.text())
  const id = call.query.get('uploadId') ?? ''
  const done = bucket.completed.get(id)
  if (done?.key === key && s3.options.completeAgain === 'same-answer') return completed(bucket, key, done.etag, done.checksum)
  const upload = uploadOf(bucket, request)
  const listed = (body?.children ?? []).filter(({ name }) => name === 'Part')
  if (body?.name !== 'CompleteMultipartUpload' || listed.length === 0) {
    throw new Refusal(
      400,
      'MalformedXML',
      'The XML you provided was not well-formed or did not validate against our published schema',
    )
  }
  const parts = listed.map((one) => listedPart(upload, one))
  for (let at = 1; at < parts.length; at++) {
    if (parts[at]!.number <= parts[at - 1]!.number) {
      throw new Refusal(
        400,
        'InvalidPartOrder',
        'The list of parts was not in ascending order. Parts must be ordered by part number.',
      )
    }
  }
  const small = parts.slice(0, -1).find(({ blob }) => blob.bytes < s3.options.minPartBytes)
  if (small) {
    throw new Refusal(400, 'EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size', {
      details: {
        ProposedSize: String(small.blob.bytes),
        MinSizeAllowed: String(s3.options.minPartBytes),
        PartNumber: String(small.number),
      },
    })
  }
  const bytes = parts.reduce((sum, { blob }) => sum + blob.bytes, 0)
  const announced = call.headers['x-amz-mp-object-size']
  if (announced !== undefined && Number(announced) !== bytes) {
    throw new Refusal(
      400,
      'InvalidRequest',
      `The provided 'x-amz-mp-object-size' header value ${announced} does not match what was computed: ${bytes}`,
    )
  }
  const checksum = checksumOf(upload, parts)
  judgeWhole(upload, checksum, call.headers)
  checkCondition(bucket, key, call)

  bucket.uploads.delete(upload.id)
  const etag = `${md5Of(Buffer.from(parts.map((part) => part.etag).join(''), 'hex'))}-${parts.length}`
  bucket.completed.set(upload.id, { key, etag, checksum })
  const used = new Set(parts)
  await replaceObject(bucket, {
    key,
    blobs: parts.map(({ blob }) => blob),
    bytes,
    etag,
    storageClass: upload.storageClass,
    modifiedAt: upload.initiatedAt, // so does Amazon
    headers: upload.headers,
    checksum,
    restore: undefined,
  })
  await dropBlobs([...upload.parts.values()].filter((part) => !used.has(part)).map(({ blob }) => blob))
  return completed(bucket, key, etag, checksum)
}

function completed(bucket: Bucket, key: string, etag: string, checksum: Checksum | undefined): Answer {
  return {
    status: 200,
    body: document('CompleteMultipartUploadResult', [
      ['Location', `/${bucket.name}/${key}`],
      ['Bucket', bucket.name],
      ['Key', key],
      ['ETag', `"${etag}"`],
      ...(checksum
        ? ([
            [elementOf(checksum.algorithm), checksum.value],
            ['ChecksumType', checksum.type],
          ] as const)
        : []),
    ]),
  }
}

/** A part as Complete names it, if it is the one that was uploaded. */
function listedPart(upload: StoredUpload, listed: Element): Part {
  const number = Number(childText(listed, 'PartNumber'))
  const part = upload.parts.get(number)
  const etag = unquoted(childText(listed, 'ETag') ?? '')
  const algorithm = upload.algorithm
  const sum = algorithm && childText(listed, elementOf(algorithm))
  if (!part || part.etag !== etag || (sum !== undefined && sum !== part.checksum)) {
    throw new Refusal(
      400,
      'InvalidPart',
      "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
      { details: { UploadId: upload.id, PartNumber: String(number), ETag: etag } },
    )
  }
  if (algorithm && upload.type === 'COMPOSITE' && sum === undefined) {
    const name = algorithm.toLowerCase()
    throw new Refusal(
      400,
      'InvalidRequest',
      `The upload was created using a ${name} checksum. The complete request must include the checksum for each part. It was missing for part ${number} in the request.`,
    )
  }
  return part
}

function checksumOf(upload: StoredUpload, parts: readonly Part[]): Checksum | undefined {
  const sums = parts.flatMap(({ checksum, blob }) => (checksum === undefined ? [] : [{ value: checksum, bytes: blob.bytes }]))
  if (sums.length < parts.length) return undefined
  return wholeChecksum(upload.algorithm ?? 'CRC64NVME', upload.type, sums)
}

/** What Complete says of the whole object. */
function judgeWhole(upload: StoredUpload, checksum: Checksum | undefined, headers: Readonly<Record<string, string>>): void {
  const type = headers['x-amz-checksum-type']
  if (type !== undefined && type.toUpperCase() !== upload.type) {
    throw new Refusal(
      400,
      'InvalidRequest',
      `The upload was created using the ${upload.type} checksum mode. The complete request must use the same checksum mode.`,
    )
  }
  const algorithm = ALGORITHMS.find((one) => headers[headerOf(one)] !== undefined)
  if (algorithm === undefined) return
  if (algorithm !== (upload.algorithm ?? 'CRC64NVME')) {
    throw new Refusal(
      400,
      'InvalidRequest',
      `Checksum Type mismatch occurred, expected checksum Type: ${upload.algorithm?.toLowerCase() ?? 'null'}, actual checksum Type: ${algorithm.toLowerCase()}`,
    )
  }
  const given = headers[headerOf(algorithm)]!
  const same = given === checksum?.value || (upload.type === 'COMPOSITE' && given === checksum?.value.replace(/-\d+$/, ''))
  if (!same) throw new Refusal(400, 'BadDigest', `The ${algorithm} you specified did not match the calculated checksum.`)
}

export async function abortMultipartUpload(request: S3Request): Promise<Answer> {
  const bucket = bucketOf(request)
  const upload = uploadOf(bucket, request)
  bucket.uploads.delete(upload.id)
  await dropBlobs([...upload.parts.values()].map(({ blob }) => blob))
  return { status: 204 }
}

export async function listParts(request: S3Request): Promise<Answer> {
  const { call } = request
  const bucket = bucketOf(request)
  const upload = uploadOf(bucket, request)
  const limit = Math.min(1000, numberOf(call, 'max-parts', 1000))
  const marker = numberOf(call, 'part-number-marker', 0)
  const all = [...upload.parts.values()].filter(({ number }) => number > marker).sort((a, b) => a.number - b.number)
  const page = all.slice(0, limit)
  const { algorithm } = upload
  const rows = page.map(({ number, modifiedAt, etag, blob, checksum }): Node => {
    const row: Node[] = [
      ['PartNumber', number],
      ['LastModified', modifiedAt.toISOString()],
      ['ETag', `"${etag}"`],
      ['Size', blob.bytes],
    ]
    if (algorithm) row.push([elementOf(algorithm), checksum])
    return ['Part', row]
  })
  return {
    status: 200,
    body: document('ListPartsResult', [
      ['Bucket', bucket.name],
      ['Key', upload.key],
      ['UploadId', upload.id],
      ['StorageClass', upload.storageClass],
      ['PartNumberMarker', marker],
      ['NextPartNumberMarker', page.at(-1)?.number],
      ['MaxParts', limit],
      ['IsTruncated', all.length > page.length],
      ['ChecksumAlgorithm', algorithm],
      ['ChecksumType', algorithm && upload.type],
      ...rows,
    ]),
  }
}

export async function listMultipartUploads(request: S3Request): Promise<Answer> {
  const { call } = request
  const bucket = bucketOf(request)
  const prefix = call.query.get('prefix') ?? ''
  const keyMarker = call.query.get('key-marker')
  const idMarker = call.query.get('upload-id-marker')
  const limit = Math.min(1000, numberOf(call, 'max-uploads', 1000))
  const written = keyWriter(call.query.get('encoding-type'))
  const order = [...bucket.uploads.values()]
    .filter(({ key }) => key.startsWith(prefix))
    .sort((a, b) => byUtf8(a.key, b.key) || a.initiatedAt.getTime() - b.initiatedAt.getTime() || (a.id < b.id ? -1 : 1))
  const all = order.filter((upload, at) => {
    if (keyMarker === undefined) return true
    const beside = byUtf8(upload.key, keyMarker)
    if (beside !== 0 || !idMarker) return beside > 0
    // Of the marker's own key, those behind the marker; where that upload is gone, those whose ids are.
    const mark = order.findIndex(({ id }) => id === idMarker)
    return mark >= 0 ? at > mark : upload.id > idMarker
  })
  const page = all.slice(0, limit)
  const last = all.length > page.length ? page.at(-1) : undefined
  return {
    status: 200,
    body: document('ListMultipartUploadsResult', [
      ['Bucket', bucket.name],
      ['KeyMarker', written(keyMarker ?? '')],
      ['UploadIdMarker', idMarker ?? ''],
      ['NextKeyMarker', last && written(last.key)],
      ['NextUploadIdMarker', last?.id],
      ['Prefix', written(prefix)],
      ['EncodingType', call.query.get('encoding-type')],
      ['MaxUploads', limit],
      ['IsTruncated', last !== undefined],
      ...page.map(
        ({ key, id, storageClass, initiatedAt, algorithm, type }): Node => [
          'Upload',
          [
            ['Key', written(key)],
            ['UploadId', id],
            ['StorageClass', storageClass],
            ['Initiated', initiatedAt.toISOString()],
            ['ChecksumAlgorithm', algorithm],
            ['ChecksumType', algorithm && type],
          ],
        ],
      ),
    ]),
  }
}

function uploadOf(bucket: Bucket, { call, key }: S3Request): StoredUpload {
  const upload = bucket.uploads.get(call.query.get('uploadId') ?? '')
  if (upload?.key !== key) throw noSuchUpload()
  return upload
}

const noSuchUpload = () =>
  new Refusal(
    404,
    'NoSuchUpload',
    'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
  )
