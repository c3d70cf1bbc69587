import * as aws from '@aws-sdk/client-s3'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { HOUR_MS } from './clock.js'
import { faultPlayer } from './faults.js'
import { refusal, startTestCloud, type TestCloud } from './test-client.js'

const Key = 'a'
let cloud: TestCloud
let Bucket: string
beforeEach(async () => {
  cloud = await startTestCloud()
  Bucket = cloud.Bucket
})
afterEach(() => cloud.stop())

const put = (client = cloud.client, Body = 'hello') => client.send(new aws.PutObjectCommand({ Bucket, Key, Body }))
/** Without Amazon's client looking at the checksum. */
const get = async (): Promise<Buffer> => {
  const client = cloud.clientWith({ responseChecksumValidation: 'WHEN_REQUIRED' })
  const { Body } = await client.send(new aws.GetObjectCommand({ Bucket, Key }))
  return Buffer.from(await Body!.transformToByteArray())
}

describe('faults', () => {
  test.each([
    ['slow-down', 'SlowDown', 503],
    ['internal-error', 'InternalError', 500],
    ['expired-token', 'ExpiredToken', 400],
    ['access-denied', 'AccessDenied', 403],
    ['conflict', 'ConditionalRequestConflict', 409],
    ['taken', 'PreconditionFailed', 412],
  ] as const)('%s answers %s and does nothing', async (kind, name, status) => {
    cloud.faults.add({ kind, operation: 'PutObject' })
    expect(await refusal(put())).toMatchObject({ name, status })
    expect(cloud.s3.objects(Bucket)).toEqual([])
    await put()
    expect(cloud.requests.recent()).toMatchObject([{ fault: kind, status }, { status: 200 }])
  })

  test('in a blackout every connection is reset, and nothing is done until it is over', async () => {
    await put()
    cloud.link.broken = true
    expect((await refusal(put())).message).toMatch(/ECONNRESET|EPIPE|hang up/)
    cloud.link.broken = false
    await put()
    expect(cloud.requests.count('PutObject')).toBe(2)
  })

  test('objects are cut and swapped behind the back of everybody', async () => {
    await put(cloud.client, 'first')
    await cloud.client.send(new aws.PutObjectCommand({ Bucket, Key: 'b', Body: 'the second' }))
    cloud.s3.swap(Bucket, Key, 'b')
    expect((await get()).toString()).toBe('the second')
    await cloud.s3.truncate(Bucket, Key)
    expect((await get()).toString()).toBe('the s')
    expect(cloud.s3.object(Bucket, 'b')?.bytes).toBe(5)
  })

  test('a storm of 503 is survived by a client that tries often enough', async () => {
    cloud.faults.add({ kind: 'slow-down', times: 2 })
    await put(cloud.clientWith({ maxAttempts: 3, retryStrategy: undefined as never }))
    expect(cloud.requests.count('PutObject')).toBe(3)
  })

  test('a refusal that comes while a large body is still sent is heard', async () => {
    const body = Buffer.alloc(8 << 20, 1)
    const put = () => cloud.client.send(new aws.PutObjectCommand({ Bucket, Key, Body: body, IfNoneMatch: '*' }))
    for (const kind of ['slow-down', 'internal-error', 'access-denied'] as const) {
      cloud.faults.add({ kind })
      expect((await refusal(put())).status).toBeGreaterThan(400)
    }
    await put()
    expect((await refusal(put())).name).toBe('PreconditionFailed')
    expect((await cloud.s3.read(Bucket, Key)).equals(body)).toBe(true)
  })

  test('a lost answer: it is done, and nobody says so', async () => {
    cloud.faults.add({ kind: 'lost-answer', operation: 'PutObject' })
    expect((await refusal(put())).status).toBeUndefined()
    expect((await cloud.s3.read(Bucket, Key)).toString()).toBe('hello')
    expect(cloud.requests.recent()).toMatchObject([{ status: 0, fault: 'lost-answer' }])
  })

  test('a reset: nothing is done', async () => {
    cloud.faults.add({ kind: 'reset', operation: 'PutObject' })
    expect((await refusal(put())).status).toBeUndefined()
    expect(cloud.s3.objects(Bucket)).toEqual([])
  })

  test('a stall: no answer comes, and the emulator stops all the same', async () => {
    cloud.faults.add({ kind: 'stall' })
    const abort = new AbortController()
    const request = refusal(
      cloud.client.send(new aws.PutObjectCommand({ Bucket, Key, Body: 'x' }), { abortSignal: abort.signal }),
    )
    while (cloud.requests.count() === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const stalled = put(cloud.clientWith({}))
    await stalled // others are answered
    abort.abort()
    expect((await request).name).toBe('AbortError')
    cloud.faults.add({ kind: 'stall' })
    const hangs = refusal(put())
    while (cloud.requests.count() < 3) await new Promise((resolve) => setTimeout(resolve, 5))
    await cloud.stop()
    expect((await hangs).status).toBeUndefined()
    cloud = await startTestCloud()
  })

  test('a truncated body and a flipped bit', async () => {
    const body = Buffer.alloc(300_000, 'firn')
    await cloud.client.send(new aws.PutObjectCommand({ Bucket, Key, Body: body }))
    cloud.faults.add({ kind: 'truncate', operation: 'GetObject' })
    await expect(get()).rejects.toThrow()
    cloud.faults.add({ kind: 'bit-flip', operation: 'GetObject' })
    const got = await get()
    expect(got.length).toBe(body.length)
    expect([...got].filter((byte, at) => byte !== body[at])).toHaveLength(1)
    expect(await get()).toEqual(body)
  })

  test('a bit that flips on the way there, and an answer with another checksum', async () => {
    const put = () => cloud.client.send(new aws.PutObjectCommand({ Bucket, Key, Body: 'firn', ChecksumAlgorithm: 'SHA256' }))
    cloud.faults.add({ kind: 'bit-flip-sent', operation: 'PutObject' })
    expect((await refusal(put())).status).toBe(400)
    cloud.faults.add({ kind: 'other-checksum', operation: 'PutObject' })
    const wrong = await put()
    const right = await put()
    expect(wrong.ChecksumSHA256).not.toBe(right.ChecksumSHA256)
    expect(wrong.ChecksumSHA256).toHaveLength(44)
    expect(wrong.ETag).not.toBe(right.ETag)
  })

  test('a copy that expires while it is read', async () => {
    await cloud.client.send(new aws.PutObjectCommand({ Bucket, Key, Body: Buffer.alloc(300_000), StorageClass: 'GLACIER' }))
    await cloud.client.send(new aws.RestoreObjectCommand({ Bucket, Key, RestoreRequest: { Days: 1 } }))
    cloud.clock.pass(6 * HOUR_MS)
    cloud.faults.add({ kind: 'expire-copy', operation: 'GetObject' })
    await expect(get()).rejects.toThrow()
    expect((await refusal(get())).name).toBe('InvalidObjectState')
  })

  test('an error behind a status of 200', async () => {
    const { UploadId } = await cloud.client.send(
      new aws.CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: 'CRC32' }),
    )
    const part = await cloud.client.send(
      new aws.UploadPartCommand({ Bucket, Key, UploadId: UploadId!, PartNumber: 1, Body: 'x' }),
    )
    const Parts = [{ PartNumber: 1, ETag: part.ETag!, ChecksumCRC32: part.ChecksumCRC32! }]
    const complete = new aws.CompleteMultipartUploadCommand({ Bucket, Key, UploadId: UploadId!, MultipartUpload: { Parts } })
    cloud.faults.add({ kind: 'error-in-200', operation: 'CompleteMultipartUpload' })
    expect((await refusal(cloud.client.send(complete))).name).toBe('InternalError')
    await cloud.client.send(complete)
  })

  test('are chosen by operation, target and order, and a seed draws the same ones again', () => {
    const request = (operation: string, target: string) => ({ service: 's3', operation, target })
    const player = faultPlayer()
    const remove = player.add({ kind: 'reset', operation: 'GetObject', target: 'x', after: 1, times: 2 })
    const played = ['a/x', 'a/y', 'a/x', 'a/x', 'a/x'].map((target) => player.take(request('GetObject', target)))
    expect(played).toEqual([undefined, undefined, 'reset', 'reset', undefined])
    expect(player.pending).toBe(0)
    remove()
    const draws = () => {
      const seeded = faultPlayer()
      seeded.add({ kind: 'slow-down', percent: 30, seed: 7 })
      return Array.from({ length: 1000 }, () => seeded.take(request('PutObject', 'a')) !== undefined)
    }
    expect(draws()).toEqual(draws())
    expect(draws().filter(Boolean).length).toBeGreaterThan(250)
    expect(draws().filter(Boolean).length).toBeLessThan(350)
  })
})

describe('requests', () => {
  test('are counted by operation, whatever became of them', async () => {
    await put()
    await put()
    await refusal(cloud.client.send(new aws.GetObjectCommand({ Bucket, Key: 'none' })))
    expect(cloud.requests.byOperation()).toEqual({ PutObject: 2, GetObject: 1 })
    expect(cloud.requests.count()).toBe(3)
    expect(cloud.requests.recent().at(-1)).toEqual({
      service: 's3',
      operation: 'GetObject',
      target: `${Bucket}/none`,
      status: 404,
    })
    cloud.requests.reset()
    expect(cloud.requests.count()).toBe(0)
  })
})

describe('the line', () => {
  test('is as slow as it is told, for all connections together', async () => {
    cloud.link.bytesPerSecond = 1_000_000
    const began = performance.now()
    await Promise.all(
      [1, 2].map((n) => cloud.client.send(new aws.PutObjectCommand({ Bucket, Key: `${n}`, Body: Buffer.alloc(100_000) }))),
    )
    expect(performance.now() - began).toBeGreaterThan(150) // 200 less what may run ahead
    cloud.link.bytesPerSecond = Number.POSITIVE_INFINITY
    cloud.link.latencyMs = 60
    const then = performance.now()
    await cloud.client.send(new aws.HeadObjectCommand({ Bucket, Key: '1' }))
    expect(performance.now() - then).toBeGreaterThan(55)
  })
})
