/** The emulated Glacier vaults by Amazon's own client: what they verify, and what only the hours of a virtual clock can show. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateVaultCommand,
  DeleteArchiveCommand,
  DescribeJobCommand,
  DescribeVaultCommand,
  GetJobOutputCommand,
  GlacierClient,
  InitiateJobCommand,
  InitiateMultipartUploadCommand,
  type JobParameters,
  ListJobsCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  ListVaultsCommand,
  UploadArchiveCommand,
  UploadMultipartPartCommand,
} from '@aws-sdk/client-glacier'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../clock.js'
import { type Cloud, startCloud } from '../cloud.js'
import { refusal } from '../test-client.js'
import { leafHasher, MIB, rootOf } from './tree-hash.js'

const about = { accountId: '-', vaultName: 'photos' }

let cloud: Cloud
let client: GlacierClient
beforeEach(async () => {
  cloud = await startCloud({ region: 'eu-west-1' })
  client = new GlacierClient({ endpoint: cloud.url, region: cloud.region, credentials: cloud.credentials, maxAttempts: 1 })
  await client.send(new CreateVaultCommand(about))
})
afterEach(async () => {
  client.destroy()
  await cloud.stop()
})

const bytesOf = (length: number): Buffer => Buffer.alloc(length, 'firn and ice')

function hashOf(bytes: Uint8Array): string {
  const hasher = leafHasher()
  hasher.update(bytes)
  return rootOf(hasher.leaves())
}

async function archive(bytes: Buffer, archiveDescription = ''): Promise<string> {
  const { archiveId, checksum } = await client.send(new UploadArchiveCommand({ ...about, archiveDescription, body: bytes }))
  expect(checksum).toBe(hashOf(bytes)) // the client's own hash was taken
  return archiveId as string
}

const initiate = (partSize: number) =>
  client.send(new InitiateMultipartUploadCommand({ ...about, partSize: String(partSize), archiveDescription: 'set/a.tar' }))

const part = (uploadId: string | undefined, first: number, body: Buffer, checksum = hashOf(body)) =>
  client.send(
    new UploadMultipartPartCommand({ ...about, uploadId, range: `bytes ${first}-${first + body.length - 1}/*`, body, checksum }),
  )

const complete = (uploadId: string | undefined, bytes: Buffer, size = bytes.length, checksum = hashOf(bytes)) =>
  client.send(new CompleteMultipartUploadCommand({ ...about, uploadId, archiveSize: String(size), checksum }))

const job = async (jobParameters: JobParameters) =>
  (await client.send(new InitiateJobCommand({ ...about, jobParameters }))).jobId as string
const retrieve = (ArchiveId: string, more: JobParameters = {}) => job({ Type: 'archive-retrieval', ArchiveId, ...more })

describe('vaults', () => {
  test('are made once, described and listed', async () => {
    await client.send(new CreateVaultCommand(about))
    await archive(bytesOf(10))
    expect(await client.send(new DescribeVaultCommand(about))).toMatchObject({
      VaultName: 'photos',
      NumberOfArchives: 1,
      SizeInBytes: 10,
    })
    expect((await client.send(new ListVaultsCommand({ accountId: '-' }))).VaultList).toHaveLength(1)
    expect(await refusal(client.send(new DescribeVaultCommand({ ...about, vaultName: 'none' })))).toMatchObject({
      name: 'ResourceNotFoundException',
      status: 404,
    })
  })

  test('are closed to whom they are closed', async () => {
    cloud.glacier.closeToNewCustomers()
    expect((await refusal(client.send(new DescribeVaultCommand(about)))).name).toBe('NoLongerSupportedException')
  })

  test('take no archive whose hash is another', async () => {
    const wrong = new UploadArchiveCommand({ ...about, body: bytesOf(10), checksum: hashOf(bytesOf(11)) })
    expect((await refusal(client.send(wrong))).name).toBe('InvalidParameterValueException')
  })
})

describe('uploads in parts', () => {
  const bytes = bytesOf(5 * MIB + 3)

  test('come in any order, are listed, and are verified as a whole', async () => {
    const { uploadId } = await initiate(2 * MIB)
    await part(uploadId, 4 * MIB, bytes.subarray(4 * MIB))
    await part(uploadId, 0, bytes.subarray(0, 2 * MIB))
    expect((await refusal(complete(uploadId, bytes))).name).toBe('InvalidParameterValueException')
    await part(uploadId, 2 * MIB, bytes.subarray(2 * MIB, 4 * MIB))
    const { Parts, PartSizeInBytes } = await client.send(new ListPartsCommand({ ...about, uploadId }))
    expect(PartSizeInBytes).toBe(2 * MIB)
    expect(Parts?.map(({ RangeInBytes }) => RangeInBytes)).toEqual(['0-2097151', '2097152-4194303', '4194304-5242882'])
    expect((await client.send(new ListMultipartUploadsCommand(about))).UploadsList).toMatchObject([
      { ArchiveDescription: 'set/a.tar' },
    ])
    expect((await refusal(complete(uploadId, bytes, bytes.length - 1))).status).toBe(400)
    expect((await refusal(complete(uploadId, bytes, bytes.length, hashOf(bytesOf(1))))).status).toBe(400)
    const first = await complete(uploadId, bytes)
    expect(first.checksum).toBe(hashOf(bytes))
    expect((await complete(uploadId, bytes)).archiveId).toBe(first.archiveId)
    expect((await client.send(new ListMultipartUploadsCommand(about))).UploadsList).toEqual([])
    cloud.clock.pass(2 * HOUR_MS)
    expect((await refusal(complete(uploadId, bytes))).status).toBe(404)
  })

  test('take a short part in the middle, and refuse the whole later', async () => {
    const { uploadId } = await initiate(2 * MIB)
    await part(uploadId, 0, bytes.subarray(0, MIB))
    await part(uploadId, 2 * MIB, bytes.subarray(2 * MIB, 3 * MIB))
    const gapless = Buffer.concat([bytes.subarray(0, MIB), bytes.subarray(2 * MIB, 3 * MIB)])
    expect((await refusal(complete(uploadId, gapless))).status).toBe(400)
  })

  test.each([0, 3 * MIB, MIB / 2, 8192 * MIB])('of %i bytes are not to be had', async (size) => {
    expect((await refusal(initiate(size))).name).toBe('InvalidParameterValueException')
  })

  test('that lie elsewhere, are too long, or came as other bytes are refused', async () => {
    const { uploadId } = await initiate(MIB)
    expect((await refusal(part(uploadId, MIB / 2, bytes.subarray(0, 10)))).status).toBe(400)
    expect((await refusal(part(uploadId, 0, bytes.subarray(0, MIB + 1)))).status).toBe(400)
    expect((await refusal(part(uploadId, 0, bytes.subarray(0, 10), hashOf(bytes)))).status).toBe(400)
    await client.send(new AbortMultipartUploadCommand({ ...about, uploadId }))
    expect((await refusal(part(uploadId, 0, bytes.subarray(0, 10)))).status).toBe(404)
  })
})

describe('jobs', () => {
  test.each([
    ['Expedited', 3 * MINUTE_MS],
    ['Standard', 4 * HOUR_MS],
    ['Bulk', 8 * HOUR_MS],
  ] as const)('of the tier %s take their time, and their output is there for a day', async (Tier, ms) => {
    const bytes = bytesOf(3000)
    const jobId = await retrieve(await archive(bytes), { Tier, Description: 'mine' })
    const output = () => client.send(new GetJobOutputCommand({ ...about, jobId }))
    expect(await client.send(new DescribeJobCommand({ ...about, jobId }))).toMatchObject({
      StatusCode: 'InProgress',
      JobDescription: 'mine',
      Tier,
    })
    expect((await refusal(output())).status).toBe(400)
    cloud.clock.pass(ms)
    expect(await client.send(new DescribeJobCommand({ ...about, jobId }))).toMatchObject({
      StatusCode: 'Succeeded',
      Completed: true,
    })
    const { body, checksum, status } = await output()
    expect(Buffer.from(await body!.transformToByteArray()).equals(bytes)).toBe(true)
    expect([checksum, status]).toEqual([hashOf(bytes), 200])
    cloud.clock.pass(DAY_MS)
    expect((await refusal(output())).status).toBe(404)
    expect((await client.send(new ListJobsCommand(about))).JobList).toHaveLength(1) // longer than its output
    cloud.clock.pass(DAY_MS)
    expect((await client.send(new ListJobsCommand(about))).JobList).toEqual([])
  })

  test('retrieve whole MiB, and give a checksum for one node of the tree alone', async () => {
    const bytes = bytesOf(7 * MIB + 10)
    const id = await archive(bytes)
    for (const RetrievalByteRange of ['1-1048575', '0-1048576', '1048576-8388607', '5-4', 'x'])
      expect((await refusal(retrieve(id, { RetrievalByteRange }))).status).toBe(400)
    const aligned = await retrieve(id, { RetrievalByteRange: `${4 * MIB}-${7 * MIB + 9}` })
    const crooked = await retrieve(id, { RetrievalByteRange: `${MIB}-${3 * MIB - 1}` })
    expect(cloud.requests.paid().map((act) => act.bytes)).toEqual([3 * MIB + 10, 2 * MIB])
    cloud.clock.pass(4 * HOUR_MS)
    const get = async (jobId: string, range?: string) => {
      const { body, checksum, contentRange, status } = await client.send(
        new GetJobOutputCommand({ ...about, jobId, ...(range && { range }) }),
      )
      return { is: hashOf(await body!.transformToByteArray()), checksum, contentRange, status }
    }
    const whole = bytes.subarray(4 * MIB)
    expect(await get(aligned)).toMatchObject({ is: hashOf(whole), checksum: hashOf(whole), status: 200 })
    const two = bytes.subarray(4 * MIB, 6 * MIB)
    expect(await get(aligned, `bytes=0-${2 * MIB - 1}`)).toEqual({
      is: hashOf(two),
      checksum: hashOf(two),
      contentRange: `bytes 0-${2 * MIB - 1}/${3 * MIB + 10}`,
      status: 206,
    })
    expect((await get(aligned, `bytes=${MIB}-${3 * MIB - 1}`)).checksum).toBeUndefined()
    expect((await get(crooked)).checksum).toBeUndefined()
  })

  test('are listed in pages of 50, by state', async () => {
    const id = await archive(bytesOf(10))
    for (let i = 0; i < 60; i++) await retrieve(id, { Tier: i < 5 ? 'Expedited' : 'Standard' })
    cloud.clock.pass(HOUR_MS)
    const first = await client.send(new ListJobsCommand(about))
    expect(first.JobList).toHaveLength(50)
    const { JobList, Marker } = await client.send(new ListJobsCommand({ ...about, marker: first.Marker }))
    expect([JobList?.length, Marker]).toEqual([10, undefined])
    expect((await client.send(new ListJobsCommand({ ...about, completed: 'true' }))).JobList).toHaveLength(5)
    expect((await client.send(new ListJobsCommand({ ...about, statuscode: 'InProgress', limit: 7 }))).JobList).toHaveLength(7)
    expect((await refusal(client.send(new ListJobsCommand({ ...about, limit: 51 })))).status).toBe(400)
  })

  test('of an archive that is not there, or not any more, are refused', async () => {
    const archiveId = await archive(bytesOf(10))
    await client.send(new DeleteArchiveCommand({ ...about, archiveId }))
    expect((await refusal(retrieve(archiveId))).status).toBe(404)
    expect((await refusal(client.send(new DeleteArchiveCommand({ ...about, archiveId })))).status).toBe(404)
  })
})

test('the inventory is that of the last whole day', async () => {
  const old = await archive(bytesOf(10), 'old')
  expect((await refusal(job({ Type: 'inventory-retrieval' }))).status).toBe(404)
  cloud.clock.pass(DAY_MS)
  const young = await archive(bytesOf(20), 'young')
  const listed = async () => {
    const jobId = await job({ Type: 'inventory-retrieval', Format: 'JSON' })
    cloud.clock.pass(4 * HOUR_MS)
    const { body } = await client.send(new GetJobOutputCommand({ ...about, jobId }))
    const { ArchiveList } = JSON.parse(await body!.transformToString()) as {
      ArchiveList: { ArchiveId: string; ArchiveDescription: string }[]
    }
    return ArchiveList.map(({ ArchiveId }) => ArchiveId)
  }
  expect(await listed()).toEqual([old])
  await client.send(new DeleteArchiveCommand({ ...about, archiveId: old }))
  expect(await listed()).toEqual([old])
  cloud.clock.pass(DAY_MS)
  expect(await listed()).toEqual([young])
})

test('what is not emulated says so', async () => {
  const { ListTagsForVaultCommand } = await import('@aws-sdk/client-glacier')
  expect((await refusal(client.send(new ListTagsForVaultCommand(about)))).status).toBe(501)
})
