import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import * as aws from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { refusal, startTestCloud, type TestCloud } from '../test-client.js'
import { elementOf } from './checksums.js'

let cloud: TestCloud
let Bucket: string
beforeAll(async () => {
  cloud = await startTestCloud()
  Bucket = cloud.Bucket
})
afterAll(() => cloud.stop())

const put = (input: Partial<aws.PutObjectCommandInput> & { Key: string }) =>
  cloud.client.send(new aws.PutObjectCommand({ Bucket, Body: 'hello', ...input }))
const get = (input: Partial<aws.GetObjectCommandInput> & { Key: string }) =>
  cloud.client.send(new aws.GetObjectCommand({ Bucket, ...input }))

describe('buckets', () => {
  test('are made, found, listed and removed', async () => {
    await cloud.client.send(new aws.CreateBucketCommand({ Bucket: 'fresh' }))
    await cloud.client.send(new aws.HeadBucketCommand({ Bucket: 'fresh' }))
    const { Buckets } = await cloud.client.send(new aws.ListBucketsCommand({}))
    expect(Buckets!.map(({ Name }) => Name)).toEqual(['cold', 'fresh'])
    await cloud.client.send(new aws.DeleteBucketCommand({ Bucket: 'fresh' }))
    expect(await refusal(cloud.client.send(new aws.HeadBucketCommand({ Bucket: 'fresh' })))).toMatchObject({
      name: 'NotFound',
      status: 404,
    })
    expect(
      await refusal(cloud.client.send(new aws.PutObjectCommand({ Bucket: 'fresh', Key: 'a', Body: Buffer.from('x') }))),
    ).toMatchObject({
      name: 'NoSuchBucket',
    })
    expect(await refusal(cloud.client.send(new aws.CreateBucketCommand({ Bucket: 'Not_Valid' })))).toMatchObject({
      name: 'InvalidBucketName',
    })
  })

  test('of another region are named with their region', async () => {
    cloud.s3.addBucket('far', 'eu-west-1')
    let region: string | undefined
    const client = cloud.clientWith({})
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args)
        region = (result.response as { headers: Record<string, string> }).headers['x-amz-bucket-region']
        return result
      },
      { step: 'deserialize', priority: 'low' },
    )
    expect(await refusal(client.send(new aws.HeadBucketCommand({ Bucket: 'far' })))).toMatchObject({ status: 301 })
    expect(region).toBe('eu-west-1')
    expect(await refusal(client.send(new aws.GetObjectCommand({ Bucket: 'far', Key: 'a' })))).toMatchObject({
      name: 'PermanentRedirect',
    })
    const { LocationConstraint } = await client.send(new aws.GetBucketLocationCommand({ Bucket: 'far' }))
    expect(LocationConstraint).toBe('eu-west-1')
    await cloud.clientWith({ region: 'eu-west-1' }).send(new aws.PutObjectCommand({ Bucket: 'far', Key: 'a', Body: 'x' }))
    const elsewhere = new aws.CreateBucketCommand({
      Bucket: 'new',
      CreateBucketConfiguration: { LocationConstraint: 'eu-west-1' },
    })
    expect(await refusal(client.send(elsewhere))).toMatchObject({ name: 'IllegalLocationConstraintException' })
    await cloud.clientWith({ region: 'eu-west-1' }).send(elsewhere)
  })
})

describe('objects', () => {
  test('come back with what was said of them, whatever their key', async () => {
    const Key = "a b/ü+(1)*~'!&=?#%41.tar"
    await put({ Key, Metadata: { set: 'x1' }, ContentType: 'application/x-tar', StorageClass: 'STANDARD_IA' })
    const got = await get({ Key })
    expect(await got.Body!.transformToString()).toBe('hello')
    expect(got).toMatchObject({
      Metadata: { set: 'x1' },
      ContentType: 'application/x-tar',
      StorageClass: 'STANDARD_IA',
      ContentLength: 5,
    })
    const md5 = createHash('md5').update('hello').digest('hex')
    const head = await cloud.client.send(new aws.HeadObjectCommand({ Bucket, Key }))
    expect(head).toMatchObject({ ETag: `"${md5}"`, ContentLength: 5, StorageClass: 'STANDARD_IA' })
    expect(await refusal(put({ Key, StorageClass: 'FROZEN' as never }))).toMatchObject({ name: 'InvalidStorageClass' })
  })

  test('are read in ranges', async () => {
    await put({ Key: 'ranged', Body: '0123456789' })
    const part = async (Range: string) => {
      const got = await get({ Key: 'ranged', Range })
      return [got.$metadata.httpStatusCode, got.ContentRange, await got.Body!.transformToString()]
    }
    expect(await part('bytes=2-4')).toEqual([206, 'bytes 2-4/10', '234'])
    expect(await part('bytes=7-')).toEqual([206, 'bytes 7-9/10', '789'])
    expect(await part('bytes=8-99')).toEqual([206, 'bytes 8-9/10', '89'])
    expect(await part('bytes=-3')).toEqual([206, 'bytes 7-9/10', '789'])
    expect(await refusal(part('bytes=10-'))).toMatchObject({ name: 'InvalidRange', status: 416 })
  })

  test('are written once where that is asked', async () => {
    await put({ Key: 'once', IfNoneMatch: '*' })
    expect(await refusal(put({ Key: 'once', Body: 'again', IfNoneMatch: '*' }))).toMatchObject({
      name: 'PreconditionFailed',
      status: 412,
    })
    expect((await cloud.s3.read(Bucket, 'once')).toString()).toBe('hello')
    const both = await Promise.allSettled([1, 2].map((n) => put({ Key: 'race', Body: `${n}`, IfNoneMatch: '*' })))
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  test('that are not there are missing, and deleting them is no error', async () => {
    expect(await refusal(get({ Key: 'none' }))).toMatchObject({ name: 'NoSuchKey', status: 404 })
    await cloud.client.send(new aws.DeleteObjectCommand({ Bucket, Key: 'none' }))
    await put({ Key: 'gone1' })
    await put({ Key: 'gone2' })
    await cloud.client.send(new aws.DeleteObjectCommand({ Bucket, Key: 'gone1' }))
    const Delete = { Objects: [{ Key: 'gone2' }, { Key: 'none' }] }
    const { Deleted } = await cloud.client.send(new aws.DeleteObjectsCommand({ Bucket, Delete }))
    expect(Deleted!.map(({ Key }) => Key)).toEqual(['gone2', 'none'])
    expect(cloud.s3.objects(Bucket).map(({ key }) => key)).not.toEqual(expect.arrayContaining(['gone1']))
    expect(cloud.s3.object(Bucket, 'gone2')).toBeUndefined()
  })

  test('are reached in virtual host style too', async () => {
    await put({ Key: 'hosted', Body: 'hello' })
    const { hostname, port } = new URL(cloud.url)
    const client = cloud.clientWith({ endpoint: `http://s3.us-east-1.amazonaws.com:${port}`, forcePathStyle: false })
    let host: string | undefined
    client.middlewareStack.add(
      (next) => (args) => {
        const request = args.request as { hostname: string }
        host = request.hostname
        request.hostname = hostname // signed for the one, sent to the other
        return next(args)
      },
      { step: 'finalizeRequest', priority: 'low' },
    )
    const got = await client.send(new aws.GetObjectCommand({ Bucket, Key: 'hosted' }))
    expect(host).toBe(`${Bucket}.s3.us-east-1.amazonaws.com`)
    expect(await got.Body!.transformToString()).toBe('hello')
  })

  test('can be damaged and removed behind everybody’s back', async () => {
    await put({ Key: 'rots' })
    await cloud.s3.damage(Bucket, 'rots')
    expect((await cloud.s3.read(Bucket, 'rots')).toString()).toBe('hemlo')
    // Amazon's client compares the checksum of what it reads.
    const read = async () => (await get({ Key: 'rots', ChecksumMode: 'ENABLED' })).Body!.transformToString()
    expect((await refusal(read())).message).toContain('Checksum mismatch')
    await cloud.s3.remove(Bucket, 'rots')
    expect((await refusal(get({ Key: 'rots' }))).name).toBe('NoSuchKey')
  })

  test('can be planted by the thousand, and listed by the page', async () => {
    cloud.s3.addBucket('planted', 'us-east-1')
    const keys = Array.from({ length: 2500 }, (_, n) => `p/${String(n).padStart(5, '0')}`)
    await cloud.s3.plant('planted', keys, (key) => Buffer.from(key), 'GLACIER')
    cloud.requests.reset()
    const found: string[] = []
    for await (const page of aws.paginateListObjectsV2({ client: cloud.client }, { Bucket: 'planted' })) {
      found.push(...page.Contents!.map(({ Key }) => Key!))
    }
    expect(found).toEqual(keys)
    expect(cloud.requests.byOperation()).toEqual({ ListObjectsV2: 3 })
    expect(cloud.s3.object('planted', 'p/00007')).toMatchObject({ bytes: 7, storageClass: 'GLACIER' })
  })

  test('an operation that is not known is refused, not guessed', async () => {
    await put({ Key: 'tagged' })
    const tag = new aws.GetObjectTaggingCommand({ Bucket, Key: 'tagged' })
    expect(await refusal(cloud.client.send(tag))).toMatchObject({ name: 'NotImplemented', status: 501 })
  })

  test('a request that is no HTTP worth the name does not hurt', async () => {
    const { port } = new URL(cloud.url)
    const status = await new Promise((resolve) => {
      httpRequest({ port, path: '/cold/%zz?a=%zz' }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).end()
    })
    expect(status).toBe(400)
  })
})

describe('checksums of an object', () => {
  test.each(['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const)('%s is verified, kept and told', async (algorithm) => {
    const Key = `sum-${algorithm}`
    const field = elementOf(algorithm)
    await put({ Key, ChecksumAlgorithm: algorithm })
    const head = await cloud.client.send(new aws.HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }))
    const said = (head as unknown as Record<string, string>)[field]!
    expect(said).toBe(cloud.s3.object(Bucket, Key)!.checksum!.value)
    expect(head.ChecksumType).toBe('FULL_OBJECT')
    expect((await cloud.client.send(new aws.HeadObjectCommand({ Bucket, Key }))) as object).not.toHaveProperty(field)
    await put({ Key, [field]: said })
    const wrong = Buffer.from(said, 'base64')
    wrong[0]! ^= 1
    expect(await refusal(put({ Key, Body: 'HELLO', [field]: wrong.toString('base64') }))).toMatchObject({
      name: 'BadDigest',
      status: 400,
    })
    expect((await cloud.s3.read(Bucket, Key)).toString()).toBe('hello')
  })

  test('Content-MD5 is verified', async () => {
    const ContentMD5 = createHash('md5').update('hello').digest('base64')
    await put({ Key: 'md5', ContentMD5 })
    expect(await refusal(put({ Key: 'md5', Body: Buffer.from('HELLO'), ContentMD5 }))).toMatchObject({ name: 'BadDigest' })
    expect(await refusal(put({ Key: 'md5', ContentMD5: 'abc' }))).toMatchObject({ name: 'InvalidDigest' })
  })

  test('CRC64NVME is added where the caller sends none', async () => {
    const client = cloud.clientWith({ requestChecksumCalculation: 'WHEN_REQUIRED' })
    await client.send(new aws.PutObjectCommand({ Bucket, Key: 'added', Body: '123456789' }))
    const head = await client.send(new aws.HeadObjectCommand({ Bucket, Key: 'added', ChecksumMode: 'ENABLED' }))
    expect(head.ChecksumCRC64NVME).toBe(Buffer.from('ae8b14860a799888', 'hex').toString('base64'))
  })
})
