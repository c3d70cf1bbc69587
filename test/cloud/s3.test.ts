import * as aws from '@aws-sdk/client-s3'
import { S3Client } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { HOUR_MS } from './clock.js'
import { type Cloud, startCloud } from './cloud.js'

let cloud: Cloud
let client: S3Client
const Bucket = 'cold'

beforeAll(async () => {
  cloud = await startCloud({ buckets: [Bucket] })
  client = new S3Client({
    endpoint: cloud.url,
    region: cloud.region,
    credentials: cloud.credentials,
    forcePathStyle: true,
    maxAttempts: 1,
  })
})
afterAll(async () => {
  client.destroy()
  await cloud.stop()
})

describe('the emulator', () => {
  test('thaws a Deep Archive object in twelve hours of its own clock, and keeps it readable for the days asked', async () => {
    const Key = 'a b/ü+(1)*.tar'
    await client.send(
      new aws.PutObjectCommand({ Bucket, Key, Body: Buffer.from('hello'), StorageClass: 'DEEP_ARCHIVE', IfNoneMatch: '*' }),
    )
    await expect(client.send(new aws.GetObjectCommand({ Bucket, Key }))).rejects.toMatchObject({ name: 'InvalidObjectState' })
    const restore = new aws.RestoreObjectCommand({
      Bucket,
      Key,
      RestoreRequest: { Days: 3, GlacierJobParameters: { Tier: 'Standard' } },
    })
    await client.send(restore)
    await expect(client.send(restore)).rejects.toMatchObject({ name: 'RestoreAlreadyInProgress' })
    cloud.clock.pass(12 * HOUR_MS)
    const got = await client.send(new aws.GetObjectCommand({ Bucket, Key }))
    expect(await got.Body!.transformToString()).toBe('hello')
    expect(got.StorageClass).toBe('DEEP_ARCHIVE')
  })
})
