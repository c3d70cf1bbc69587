import { Readable } from 'node:stream'
import { GetObjectCommand, HeadBucketCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { MINUTE_MS } from './clock.js'
import { openPayload } from './payload.js'
import type { Call } from './service.js'
import { verifySignature } from './signature.js'
import { refusal, startTestCloud, type TestCloud } from './test-client.js'

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud()
})
afterAll(() => cloud.stop())
beforeEach(() => cloud.clock.skew(0))

describe('signatures', () => {
  const head = () => new HeadBucketCommand({ Bucket: cloud.Bucket })
  const put = (Key: string) => new PutObjectCommand({ Bucket: cloud.Bucket, Key, Body: 'x' })

  test('a wrong secret, an unknown key and no signature at all are refused', async () => {
    const { accessKeyId } = cloud.credentials
    const wrong = cloud.clientWith({ credentials: { accessKeyId, secretAccessKey: 'wrong' } })
    expect(await refusal(wrong.send(put('a')))).toMatchObject({ name: 'SignatureDoesNotMatch', status: 403 })
    const unknown = cloud.clientWith({ credentials: { accessKeyId: 'AKIAUNKNOWN', secretAccessKey: 'x' } })
    expect(await refusal(unknown.send(put('a')))).toMatchObject({ name: 'InvalidAccessKeyId', status: 403 })
    expect((await fetch(`${cloud.url}/${cloud.Bucket}/a`)).status).toBe(403)
  })

  test('a clock off by 16 minutes, either way, is refused, and one off by 14 is not', async () => {
    for (const minutes of [16, -16]) {
      cloud.clock.skew(minutes * MINUTE_MS)
      expect(await refusal(cloud.clientWith({}).send(put('a')))).toMatchObject({ name: 'RequestTimeTooSkewed', status: 403 })
    }
    for (const minutes of [14, -14]) {
      cloud.clock.skew(minutes * MINUTE_MS)
      await cloud.clientWith({}).send(head())
    }
  })

  test('the client mends its clock by the Date of the answer, if it may try again', async () => {
    cloud.clock.skew(20 * MINUTE_MS)
    await cloud.clientWith({ maxAttempts: 2 }).send(put('skewed'))
  })

  test('virtual days do not make signatures old', async () => {
    cloud.clock.pass(90 * 24 * 60 * MINUTE_MS)
    await cloud.client.send(head())
  })

  test('a changed header, query or path is noticed', async () => {
    const changes: ((request: { headers: Record<string, string>; query: Record<string, string>; path: string }) => void)[] = [
      ({ headers }) => Object.assign(headers, { 'x-amz-meta-late': 'not signed' }),
      ({ headers }) => Object.assign(headers, { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }),
      ({ query }) => Object.assign(query, { versionId: '1' }),
      (request) => Object.assign(request, { path: `${request.path}x` }),
    ]
    for (const change of changes) {
      const client = cloud.clientWith({})
      client.middlewareStack.add(
        (next) => (args) => {
          change(args.request as never)
          return next(args)
        },
        { step: 'finalizeRequest', priority: 'low' },
      )
      expect((await refusal(client.send(put('changed')))).status).toBe(403)
    }
    expect(cloud.s3.object(cloud.Bucket, 'changed')).toBeUndefined()
  })

  test('a body that is not the one that was signed is refused and leaves nothing', async () => {
    const client = cloud.clientWith({ requestChecksumCalculation: 'WHEN_REQUIRED' })
    client.middlewareStack.add(
      (next) => (args) => {
        Object.assign(args.request as object, { body: 'y' })
        return next(args)
      },
      { step: 'finalizeRequest', priority: 'low' },
    )
    expect(await refusal(client.send(put('swapped')))).toMatchObject({ name: 'XAmzContentSHA256Mismatch' })
    expect(cloud.s3.object(cloud.Bucket, 'swapped')).toBeUndefined()
  })

  test('a session needs its token, and ends by the virtual clock', async () => {
    const session = cloud.session(900)
    const client = cloud.clientWith({ credentials: session })
    await client.send(put('by-session'))
    const { sessionToken: _, expiration: __, ...without } = session
    expect(await refusal(cloud.clientWith({ credentials: without }).send(put('a')))).toMatchObject({ name: 'InvalidToken' })
    cloud.clock.pass(901_000)
    expect(await refusal(client.send(put('a')))).toMatchObject({ name: 'ExpiredToken', status: 400 })
  })

  test('a stream of chunks with a checksum behind it is unwrapped', async () => {
    const body = Buffer.alloc(200_001, 'firn')
    const stream = Readable.from([body.subarray(0, 70_000), body.subarray(70_000)], { objectMode: false })
    const ContentLength = body.length
    await cloud.client.send(
      new PutObjectCommand({ Bucket: cloud.Bucket, Key: 'streamed', Body: stream, ContentLength, ChecksumAlgorithm: 'CRC32C' }),
    )
    expect(await cloud.s3.read(cloud.Bucket, 'streamed')).toEqual(body)
    expect(cloud.s3.object(cloud.Bucket, 'streamed')!.checksum).toMatchObject({ algorithm: 'CRC32C' })
    expect(cloud.s3.object(cloud.Bucket, 'streamed')!.headers).not.toHaveProperty('content-encoding')
    const got = await cloud.client.send(new GetObjectCommand({ Bucket: cloud.Bucket, Key: 'streamed' }))
    expect(Buffer.from(await got.Body!.transformToByteArray())).toEqual(body)
  })
})

/** The example of Amazon's documentation, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks". */
describe('a stream whose chunks are signed', () => {
  const SIGNATURES = [
    'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
    '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
    'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
  ]
  const SIZES = [65_536, 1024, 0]
  const call: Call = {
    id: '1',
    method: 'PUT',
    host: 's3.amazonaws.com',
    path: '/examplebucket/chunkObject.txt',
    query: new Map(),
    headers: {
      host: 's3.amazonaws.com',
      'content-encoding': 'aws-chunked',
      'content-length': '66824',
      'x-amz-date': '20130524T000000Z',
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
      'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
      'x-amz-decoded-content-length': '66560',
      authorization:
        'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
    },
  }
  const body = (fill: string) =>
    SIZES.map((size, at) => `${size.toString(16)};chunk-signature=${SIGNATURES[at]}\r\n${fill.repeat(size)}\r\n`).join('')
  const opened = (fill: string) => {
    const then = new Date('2013-05-24T00:00:00Z')
    const credentials = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }
    const signed = verifySignature(call, { service: 's3', twiceEncoded: false, find: () => credentials, wall: then, now: then })
    const wire = Buffer.from(body(fill))
    return openPayload(call, signed, Readable.from([wire.subarray(0, 40), wire.subarray(40, 66_000), wire.subarray(66_000)]))
  }

  test('is unwrapped', async () => {
    expect(await opened('a').text()).toBe('a'.repeat(66_560))
  })

  test('is refused where a chunk is not what was signed', async () => {
    await expect(opened('b').text()).rejects.toMatchObject({ code: 'SignatureDoesNotMatch' })
  })
})
