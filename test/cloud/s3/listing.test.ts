import { ListObjectsV2Command, type ListObjectsV2CommandInput, PutObjectCommand, paginateListObjectsV2 } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { refusal, startTestCloud, type TestCloud } from '../test-client.js'
import { byUtf8, sortedKeys } from './sorted-keys.js'

const KEYS = ['a', 'a/', 'a/1', 'a/2', 'a/b/1', 'b c+d', 'firn/\u0001', 'ü', '\ufffd', '😀']
let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud()
  for (const Key of [...KEYS].reverse()) await cloud.client.send(new PutObjectCommand({ Bucket: cloud.Bucket, Key, Body: Key }))
})
afterAll(() => cloud.stop())

async function pages(input: Partial<ListObjectsV2CommandInput>): Promise<string[][]> {
  const found: string[][] = []
  for await (const page of paginateListObjectsV2({ client: cloud.client }, { Bucket: cloud.Bucket, ...input })) {
    const keys = (page.Contents ?? []).map(({ Key }) => Key!)
    found.push([...keys, ...(page.CommonPrefixes ?? []).map(({ Prefix }) => `${Prefix}...`)])
    expect(page.KeyCount).toBe(found.at(-1)!.length)
  }
  return found
}

describe('a listing', () => {
  test('is in the order of the bytes, page by page', async () => {
    const url = { EncodingType: 'url' } as const
    const all = KEYS.map((key) => encodeURIComponent(key).replace(/%2F/g, '/').replace(/%20/g, '+'))
    expect(await pages(url)).toEqual([all])
    expect(await pages({ ...url, MaxKeys: 3 })).toEqual([all.slice(0, 3), all.slice(3, 6), all.slice(6, 9), all.slice(9)])
  })

  test('keeps to its prefix and begins behind a key', async () => {
    expect(await pages({ Prefix: 'a/' })).toEqual([['a/', 'a/1', 'a/2', 'a/b/1']])
    expect(await pages({ Prefix: 'a/', MaxKeys: 1 })).toEqual([['a/'], ['a/1'], ['a/2'], ['a/b/1']])
    expect(await pages({ Prefix: 'a', StartAfter: 'a/1' })).toEqual([['a/2', 'a/b/1']])
    expect(await pages({ Prefix: 'none' })).toEqual([[]])
    expect(await pages({ Prefix: '😀', MaxKeys: 1 })).toEqual([['😀']])
  })

  test('groups behind a delimiter', async () => {
    expect(await pages({ Prefix: 'a', Delimiter: '/' })).toEqual([['a', 'a/...']])
    expect(await pages({ Prefix: 'a', Delimiter: '/', MaxKeys: 1 })).toEqual([['a'], ['a/...']])
    expect(await pages({ Prefix: 'a/', Delimiter: '/', MaxKeys: 1 })).toEqual([['a/'], ['a/1'], ['a/2'], ['a/b/...']])
  })

  test('names sizes, classes and checksums', async () => {
    const { Contents } = await cloud.client.send(new ListObjectsV2Command({ Bucket: cloud.Bucket, Prefix: 'ü' }))
    expect(Contents).toMatchObject([
      { Key: 'ü', Size: 2, StorageClass: 'STANDARD', ChecksumAlgorithm: ['CRC32'], ChecksumType: 'FULL_OBJECT' },
    ])
    expect(Contents![0]!.LastModified).toBeInstanceOf(Date)
  })

  test('refuses tokens that are not its own', async () => {
    const request = new ListObjectsV2Command({ Bucket: cloud.Bucket, ContinuationToken: 'xyz' })
    expect((await refusal(cloud.client.send(request))).name).toBe('InvalidArgument')
  })
})

describe('keys', () => {
  test('are ordered as their bytes are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
        expect(Math.sign(byUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
      }),
    )
  })

  test('that come and go between looks are where they belong', () => {
    const keys = sortedKeys()
    keys.add('b')
    keys.add('a')
    expect([...keys.from('')]).toEqual(['a', 'b'])
    keys.remove('a')
    keys.add('c')
    keys.add('a')
    keys.remove('b')
    expect([...keys.from('')]).toEqual(['a', 'c'])
    expect([...keys.from('b')]).toEqual(['c'])
  })
})
