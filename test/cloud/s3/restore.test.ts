import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  RestoreObjectCommand,
  type StorageClass,
  type Tier,
} from '@aws-sdk/client-s3'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../clock.js'
import { refusal, startTestCloud, type TestCloud } from '../test-client.js'

const Key = '2026/11/set/bundle.1.tar'
let cloud: TestCloud

beforeEach(async () => {
  cloud = await startTestCloud()
  cloud.clock.set(new Date('2026-11-10T15:00:00Z'))
})
afterEach(() => cloud.stop())

const put = (storageClass: StorageClass) =>
  cloud.client.send(new PutObjectCommand({ Bucket: cloud.Bucket, Key, Body: 'frozen', StorageClass: storageClass }))
const restore = async (Days: number, tier: Tier) => {
  const RestoreRequest = { Days, GlacierJobParameters: { Tier: tier } }
  const { $metadata } = await cloud.client.send(new RestoreObjectCommand({ Bucket: cloud.Bucket, Key, RestoreRequest }))
  return $metadata.httpStatusCode
}
const head = () => cloud.client.send(new HeadObjectCommand({ Bucket: cloud.Bucket, Key }))
const get = async () => (await cloud.client.send(new GetObjectCommand({ Bucket: cloud.Bucket, Key }))).Body!.transformToString()
const listed = async () => {
  const page = await cloud.client.send(
    new ListObjectsV2Command({ Bucket: cloud.Bucket, OptionalObjectAttributes: ['RestoreStatus'] }),
  )
  return page.Contents![0]!.RestoreStatus
}

describe('a thaw', () => {
  test('takes its hours, lasts its days to the next midnight, and the object is cold again', async () => {
    await put('DEEP_ARCHIVE')
    expect(await head()).not.toHaveProperty('Restore')
    expect(await listed()).toBeUndefined()
    expect(await refusal(get())).toMatchObject({ name: 'InvalidObjectState', status: 403 })

    expect(await restore(3, 'Standard')).toBe(202)
    expect(await head()).toMatchObject({ Restore: 'ongoing-request="true"', StorageClass: 'DEEP_ARCHIVE' })
    expect(await listed()).toEqual({ IsRestoreInProgress: true })
    cloud.clock.pass(12 * HOUR_MS - MINUTE_MS)
    expect(await refusal(get())).toMatchObject({ name: 'InvalidObjectState' })

    cloud.clock.pass(2 * MINUTE_MS) // now 03:01 of the 11th
    expect(await get()).toBe('frozen')
    expect(await head()).toMatchObject({
      Restore: 'ongoing-request="false", expiry-date="Sun, 15 Nov 2026 00:00:00 GMT"',
      StorageClass: 'DEEP_ARCHIVE',
    })
    expect(await listed()).toEqual({ IsRestoreInProgress: false, RestoreExpiryDate: new Date('2026-11-15T00:00:00Z') })

    cloud.clock.set(new Date('2026-11-15T00:00:01Z'))
    expect(await refusal(get())).toMatchObject({ name: 'InvalidObjectState' })
    expect(await head()).not.toHaveProperty('Restore')
    expect(await listed()).toBeUndefined()
    expect(await restore(1, 'Bulk')).toBe(202)
  })

  test.each([
    ['GLACIER', 'Expedited', 5 * MINUTE_MS],
    ['GLACIER', 'Standard', 5 * HOUR_MS],
    ['GLACIER', 'Bulk', 12 * HOUR_MS],
    ['DEEP_ARCHIVE', 'Bulk', 48 * HOUR_MS],
  ] as const)('of %s in %s takes its time', async (storageClass, tier, ms) => {
    await put(storageClass)
    await restore(1, tier)
    cloud.clock.pass(ms - MINUTE_MS)
    expect((await refusal(get())).name).toBe('InvalidObjectState')
    cloud.clock.pass(2 * MINUTE_MS)
    expect(await get()).toBe('frozen')
  })

  test('that runs refuses another, except a faster one, which is paid too', async () => {
    await put('GLACIER')
    expect(await restore(1, 'Bulk')).toBe(202)
    expect(await refusal(restore(1, 'Bulk'))).toMatchObject({ name: 'RestoreAlreadyInProgress', status: 409 })
    expect(await restore(1, 'Expedited')).toBe(202)
    expect(await refusal(restore(1, 'Standard'))).toMatchObject({ name: 'RestoreAlreadyInProgress' })
    cloud.clock.pass(6 * MINUTE_MS)
    expect(await get()).toBe('frozen')
    expect(cloud.requests.paid().map(({ tier, target, bytes }) => ({ tier, target, bytes }))).toEqual([
      { tier: 'Bulk', target: `${cloud.Bucket}/${Key}`, bytes: 6 },
      { tier: 'Expedited', target: `${cloud.Bucket}/${Key}`, bytes: 6 },
    ])
  })

  test('that is done is extended from now, for nothing', async () => {
    await put('GLACIER')
    await restore(1, 'Standard')
    cloud.clock.pass(6 * HOUR_MS)
    expect(await restore(10, 'Standard')).toBe(200)
    expect((await head()).Restore).toContain('Sat, 21 Nov 2026 00:00:00 GMT')
    expect(cloud.requests.paid()).toHaveLength(1)
  })

  test('is refused where it makes no sense', async () => {
    await put('DEEP_ARCHIVE')
    expect(await refusal(restore(1, 'Expedited'))).toMatchObject({ name: 'InvalidArgument', status: 400 })
    expect(await refusal(restore(0, 'Standard'))).toMatchObject({ name: 'InvalidArgument' })
    await put('STANDARD_IA')
    expect(await refusal(restore(1, 'Standard'))).toMatchObject({ status: 403 })
    expect(await get()).toBe('frozen')
  })

  test('takes the hours that the test says', async () => {
    await cloud.stop()
    cloud = await startTestCloud({ thawHours: (_, tier) => (tier === 'Bulk' ? 1 : undefined) })
    await put('GLACIER')
    await restore(1, 'Bulk')
    cloud.clock.pass(HOUR_MS + MINUTE_MS)
    expect(await get()).toBe('frozen')
    cloud.clock.pass(3 * DAY_MS)
    expect((await refusal(get())).name).toBe('InvalidObjectState')
  })

  test('has no capacity for Expedited when the script says so', async () => {
    await put('GLACIER')
    cloud.faults.add({ kind: 'no-expedited', operation: 'RestoreObject' })
    expect(await refusal(restore(1, 'Expedited'))).toMatchObject({ name: 'GlacierExpeditedRetrievalNotAvailable', status: 503 })
    expect(await restore(1, 'Expedited')).toBe(202)
  })

  test('that a stranger ends is over', async () => {
    await put('GLACIER')
    await restore(1, 'Standard')
    cloud.clock.pass(6 * HOUR_MS)
    cloud.s3.expire(cloud.Bucket, Key)
    expect((await refusal(get())).name).toBe('InvalidObjectState')
  })
})
