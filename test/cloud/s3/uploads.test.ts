import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as aws from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { refusal, startTestCloud, type TestCloud } from '../test-client.js'
import { openDigester } from './checksums.js'

const MIB = 1 << 20
let cloud: TestCloud
let small: TestCloud
let Bucket: string
beforeAll(async () => {
  cloud = await startTestCloud()
  small = await startTestCloud({ minPartBytes: 10 })
  Bucket = cloud.Bucket
})
afterAll(async () => {
  await cloud.stop()
  await small.stop()
})

interface Begun {
  readonly Bucket: string
  readonly Key: string
  readonly UploadId: string
}

async function begin(on: TestCloud, Key: string, input: Partial<aws.CreateMultipartUploadCommandInput> = {}): Promise<Begun> {
  // The client would name CRC32 by itself.
  const client = on.clientWith({ requestChecksumCalculation: 'WHEN_REQUIRED' })
  const { UploadId } = await client.send(new aws.CreateMultipartUploadCommand({ Bucket, Key, ...input }))
  return { Bucket, Key, UploadId: UploadId! }
}

async function send(
  on: TestCloud,
  begun: Begun,
  PartNumber: number,
  Body: Buffer | string,
  input: Partial<aws.UploadPartCommandInput> = {},
): Promise<aws.CompletedPart> {
  const client = on.clientWith({ requestChecksumCalculation: 'WHEN_REQUIRED' })
  const { $metadata: _, ...sums } = await client.send(new aws.UploadPartCommand({ ...begun, PartNumber, Body, ...input }))
  return { PartNumber, ...sums }
}

const complete = (
  on: TestCloud,
  begun: Begun,
  Parts: aws.CompletedPart[],
  input: Partial<aws.CompleteMultipartUploadCommandInput> = {},
) => on.client.send(new aws.CompleteMultipartUploadCommand({ ...begun, MultipartUpload: { Parts }, ...input }))

const digest = (algorithm: 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA256', bytes: Buffer): string => {
  const digester = openDigester([algorithm])
  digester.update(bytes)
  return digester.digest().get(algorithm)!
}

describe('a multipart upload', () => {
  test('is invisible until it is complete, and then whole', async () => {
    const begun = await begin(cloud, 'whole', { StorageClass: 'DEEP_ARCHIVE', ChecksumAlgorithm: 'SHA256' })
    const bodies = [Buffer.alloc(5 * MIB, 1), Buffer.alloc(5 * MIB + 7, 2), Buffer.from('end')]
    const parts: aws.CompletedPart[] = []
    for (const [at, body] of bodies.entries()) parts.push(await send(cloud, begun, at + 1, body, { ChecksumAlgorithm: 'SHA256' }))
    expect(cloud.s3.object(Bucket, 'whole')).toBeUndefined()
    const whole = Buffer.concat(bodies)
    const done = await complete(cloud, begun, parts, { IfNoneMatch: '*', MpuObjectSize: whole.length })
    const sums = Buffer.concat(bodies.map((body) => createHash('sha256').update(body).digest()))
    const composed = `${createHash('sha256').update(sums).digest('base64')}-3`
    expect(done).toMatchObject({ ChecksumSHA256: composed, ChecksumType: 'COMPOSITE' })
    expect((await cloud.s3.read(Bucket, 'whole')).equals(whole)).toBe(true)
    const head = await cloud.client.send(new aws.HeadObjectCommand({ Bucket, Key: 'whole', ChecksumMode: 'ENABLED' }))
    expect(head).toMatchObject({
      ContentLength: whole.length,
      StorageClass: 'DEEP_ARCHIVE',
      ChecksumSHA256: composed,
      ETag: done.ETag,
    })
    expect(done.ETag).toMatch(/^"[0-9a-f]{32}-3"$/)
  })

  test.each(['CRC32', 'CRC32C', 'CRC64NVME'] as const)(
    'has the %s of the whole, and one that is said wrong is refused',
    async (algorithm) => {
      const begun = await begin(small, `full-${algorithm}`, { ChecksumAlgorithm: algorithm, ChecksumType: 'FULL_OBJECT' })
      const bodies = ['first part', 'second, longer part', 'x'].map((text) => Buffer.from(text))
      const parts = []
      for (const [at, body] of bodies.entries())
        parts.push(await send(small, begun, at + 1, body, { ChecksumAlgorithm: algorithm }))
      const whole = digest(algorithm, Buffer.concat(bodies))
      const field = `Checksum${algorithm}`
      const wrong = digest(algorithm, Buffer.from('other'))
      expect(await refusal(complete(small, begun, parts, { [field]: wrong }))).toMatchObject({ name: 'BadDigest' })
      expect(await complete(small, begun, parts, { [field]: whole, ChecksumType: 'FULL_OBJECT' })).toMatchObject({
        [field]: whole,
        ChecksumType: 'FULL_OBJECT',
      })
      const range = await small.client.send(new aws.GetObjectCommand({ Bucket, Key: `full-${algorithm}`, Range: 'bytes=5-15' }))
      expect(await range.Body!.transformToString()).toBe(Buffer.concat(bodies).toString().slice(5, 16))
    },
  )

  test('without an algorithm has the CRC64NVME that the service adds', async () => {
    const begun = await begin(small, 'plain')
    const parts = [await send(small, begun, 1, '0123456789'), await send(small, begun, 2, 'abc')]
    await complete(small, begun, parts)
    expect(small.s3.object(Bucket, 'plain')!.checksum).toEqual({
      algorithm: 'CRC64NVME',
      type: 'FULL_OBJECT',
      value: digest('CRC64NVME', Buffer.from('0123456789abc')),
    })
  })

  test('refuses parts whose checksums are of another kind, wrong, or missing', async () => {
    const plain = await begin(small, 'kinds')
    expect(await refusal(send(small, plain, 1, 'x', { ChecksumAlgorithm: 'CRC32' }))).toMatchObject({
      name: 'InvalidRequest',
      message: 'Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: crc32',
    })
    const begun = await begin(small, 'kinds', { ChecksumAlgorithm: 'SHA256' })
    expect((await refusal(send(small, begun, 1, 'x', { ChecksumAlgorithm: 'CRC32' }))).name).toBe('InvalidRequest')
    expect((await refusal(send(small, begun, 1, 'x'))).name).toBe('InvalidRequest')
    const ChecksumSHA256 = digest('SHA256', Buffer.from('y'))
    expect((await refusal(send(small, begun, 1, 'x', { ChecksumSHA256 }))).name).toBe('BadDigest')
    expect((await refusal(begin(small, 'kinds', { ChecksumAlgorithm: 'SHA256', ChecksumType: 'FULL_OBJECT' }))).name).toBe(
      'InvalidRequest',
    )
    const part = await send(small, begun, 1, 'x', { ChecksumAlgorithm: 'SHA256' })
    const { ChecksumSHA256: _, ...without } = part
    expect((await refusal(complete(small, begun, [without]))).name).toBe('InvalidRequest')
    expect((await refusal(complete(small, begun, [{ ...part, ChecksumSHA256 }]))).name).toBe('InvalidPart')
    await complete(small, begun, [part])
  })

  test('is refused for parts too small, out of order, unknown, or of another size than announced', async () => {
    const begun = await begin(cloud, 'judged')
    const parts = [await send(cloud, begun, 1, 'tiny'), await send(cloud, begun, 2, 'end')]
    expect(await refusal(complete(cloud, begun, parts))).toMatchObject({ name: 'EntityTooSmall', status: 400 })
    expect((await refusal(complete(cloud, begun, [parts[1]!, parts[0]!]))).name).toBe('InvalidPartOrder')
    expect((await refusal(complete(cloud, begun, [{ ...parts[0]!, ETag: '"0"' }]))).name).toBe('InvalidPart')
    expect((await refusal(complete(cloud, begun, [{ PartNumber: 3, ETag: '"0"' }]))).name).toBe('InvalidPart')
    expect((await refusal(complete(cloud, begun, []))).name).toBe('MalformedXML')
    expect(await refusal(complete(cloud, begun, [parts[1]!], { MpuObjectSize: 4 }))).toMatchObject({
      name: 'InvalidRequest',
      status: 400,
    })
    expect((await refusal(send(cloud, begun, 0, 'x'))).name).toBe('InvalidArgument')
    expect((await refusal(send(cloud, begun, 10_001, 'x'))).name).toBe('InvalidArgument')
    await send(cloud, begun, 10_000, 'x')
    await complete(cloud, begun, [parts[1]!], { MpuObjectSize: 3 })
    expect((await cloud.s3.read(Bucket, 'judged')).toString()).toBe('end')
  })

  test('does not replace what is there, where that is asked', async () => {
    await small.client.send(new aws.PutObjectCommand({ Bucket, Key: 'taken', Body: 'first' }))
    const begun = await begin(small, 'taken')
    const part = await send(small, begun, 1, 'second')
    expect(await refusal(complete(small, begun, [part], { IfNoneMatch: '*' }))).toMatchObject({
      name: 'PreconditionFailed',
      status: 412,
    })
    small.faults.add({ kind: 'conflict', operation: 'CompleteMultipartUpload' })
    expect(await refusal(complete(small, begun, [part]))).toMatchObject({ name: 'ConditionalRequestConflict', status: 409 })
    expect((await small.s3.read(Bucket, 'taken')).toString()).toBe('first')
  })

  test('that is completed twice answers the same; or knows nothing of it, where the test wants that', async () => {
    const begun = await begin(small, 'twice')
    const part = await send(small, begun, 1, 'bytes')
    const input = { IfNoneMatch: '*' }
    const { $metadata: _, ...first } = await complete(small, begun, [part], input)
    expect(await complete(small, begun, [part], input)).toMatchObject(first)
    const forgetful = await startTestCloud({ completeAgain: 'no-such-upload' })
    try {
      const again = await begin(forgetful, 'twice')
      const only = await send(forgetful, again, 1, 'bytes')
      await complete(forgetful, again, [only])
      expect(await refusal(complete(forgetful, again, [only]))).toMatchObject({ name: 'NoSuchUpload', status: 404 })
    } finally {
      await forgetful.stop()
    }
  })

  test('that is aborted is gone, with its bytes', async () => {
    const alone = await startTestCloud()
    try {
      const begun = await begin(alone, 'aborted')
      const directory = dirname(alone.s3.uploads(Bucket).length === 1 ? await partFile(alone, begun) : '')
      expect(await readdir(directory)).toHaveLength(1)
      await alone.client.send(new aws.AbortMultipartUploadCommand(begun))
      expect(await readdir(directory)).toHaveLength(0)
      expect((await refusal(send(alone, begun, 1, 'late'))).name).toBe('NoSuchUpload')
      expect((await refusal(complete(alone, begun, [{ PartNumber: 1, ETag: '"x"' }]))).name).toBe('NoSuchUpload')
      expect(await refusal(alone.client.send(new aws.AbortMultipartUploadCommand(begun)))).toMatchObject({
        name: 'NoSuchUpload',
        status: 404,
      })
      expect(await readdir(directory)).toHaveLength(0)
    } finally {
      await alone.stop()
    }
  })

  test('lists its parts page by page; one sent again counts once', async () => {
    const begun = await begin(small, 'listed', { ChecksumAlgorithm: 'CRC32C' })
    for (const number of [3, 1, 2]) await send(small, begun, number, `part ${number}`, { ChecksumAlgorithm: 'CRC32C' })
    await send(small, begun, 2, 'again', { ChecksumAlgorithm: 'CRC32C' })
    const numbers: unknown[] = []
    for await (const page of aws.paginateListParts({ client: small.client, pageSize: 2 }, begun)) {
      numbers.push((page.Parts ?? []).map(({ PartNumber, Size, ChecksumCRC32C }) => [PartNumber, Size, ChecksumCRC32C]))
      expect(page.ChecksumAlgorithm).toBe('CRC32C')
    }
    expect(numbers).toEqual([
      [
        [1, 6, digest('CRC32C', Buffer.from('part 1'))],
        [2, 5, digest('CRC32C', Buffer.from('again'))],
      ],
      [[3, 6, digest('CRC32C', Buffer.from('part 3'))]],
      [], // as Amazon, the last page names a marker too
    ])
  })

  test('is listed while it is unfinished, page by page, also two of one key', async () => {
    const alone = await startTestCloud()
    try {
      for (const key of ['p/b', 'p/a', 'p/a', 'q', 'p/c']) await begin(alone, key)
      const pages: string[][] = []
      let marker: { KeyMarker?: string; UploadIdMarker?: string } = {}
      for (;;) {
        const page = await alone.client.send(
          new aws.ListMultipartUploadsCommand({ Bucket, Prefix: 'p/', MaxUploads: 2, ...marker }),
        )
        pages.push((page.Uploads ?? []).map(({ Key }) => Key!))
        if (!page.IsTruncated) break
        marker = { KeyMarker: page.NextKeyMarker!, UploadIdMarker: page.NextUploadIdMarker! }
      }
      expect(pages).toEqual([
        ['p/a', 'p/a'],
        ['p/b', 'p/c'],
      ])
      const one = await alone.client.send(new aws.ListMultipartUploadsCommand({ Bucket, MaxUploads: 1 }))
      const rest = await alone.client.send(
        new aws.ListMultipartUploadsCommand({ Bucket, KeyMarker: one.NextKeyMarker!, UploadIdMarker: one.NextUploadIdMarker! }),
      )
      expect(rest.Uploads!.map(({ Key }) => Key)).toEqual(['p/a', 'p/b', 'p/c', 'q'])
    } finally {
      await alone.stop()
    }
  })
})

async function partFile(on: TestCloud, begun: Begun): Promise<string> {
  await send(on, begun, 1, 'bytes')
  return on.s3.uploads(Bucket)[0]!.parts.get(1)!.blob.path
}
