/**
 * The emulated Glacier vaults are kept honest: the same questions go to them and to moto, and every answer that is not the same is
 * written down here. moto knows no uploads in parts of a vault, takes any hash, and its retrievals are done in seconds.
 */
import { createHash } from 'node:crypto'
import {
  CreateVaultCommand,
  DeleteArchiveCommand,
  DescribeJobCommand,
  DescribeVaultCommand,
  GetJobOutputCommand,
  GlacierClient,
  InitiateJobCommand,
  InitiateMultipartUploadCommand,
  ListJobsCommand,
  ListVaultsCommand,
  UploadArchiveCommand,
} from '@aws-sdk/client-glacier'
import { expect, test } from '@jest/globals'
import { HOUR_MS } from '../cloud/clock.js'
import { startCloud } from '../cloud/cloud.js'
import '../cloud/test-client.js'
import { describeWithServer } from '../tools.js'

/** What the emulator answers, and Amazon by its documentation. */
const ANSWERS = {
  'a vault that is not there': '404 ResourceNotFoundException',
  'a vault, made twice': '201, 201',
  'its description': 'glacier-probe, 0 archives',
  'an archive of 5 bytes': '201, with an id and the SHA-256 as its tree hash',
  'an archive with another hash than its own': '400 InvalidParameterValueException',
  'a retrieval': '202',
  'the job, at once': 'ArchiveRetrieval InProgress, said so: probe',
  'its output, too early': '400 InvalidParameterValueException',
  'the list of jobs': '1',
  'its output, when it is done': 'hello',
  'two bytes of it': 'el, 206',
  'a retrieval of no archive': '404 ResourceNotFoundException',
  'parts of 3 MiB': '400 InvalidParameterValueException',
  'parts of 1 MiB': '201',
  'removing the archive': '204',
}

type Question = keyof typeof ANSWERS

const OF_MOTO: Partial<Record<Question, string>> = {
  'a vault that is not there': '400 VaultNotFound',
  'an archive with another hash than its own': '201',
  'the job, at once': 'ArchiveRetrieval InProgress, said so: undefined',
  'its output, too early': '404 SyntaxError',
  'two bytes of it': 'hello, 200',
  'a retrieval of no archive': '202',
  'parts of 3 MiB': '404 SyntaxError',
  'parts of 1 MiB': '404 SyntaxError',
}

async function probe(
  endpoint: string,
  credentials: { accessKeyId: string; secretAccessKey: string },
  untilDone: () => Promise<void>,
) {
  const client = new GlacierClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
  const about = { accountId: '-', vaultName: 'glacier-probe' }
  const answers = new Map<Question, string>()
  const ask = async (question: Question, answer: () => Promise<string>) => {
    answers.set(question, await answer().catch((error) => `${error.$metadata?.httpStatusCode ?? 'no answer'} ${error.name}`))
  }
  const status = async (sent: Promise<{ $metadata: { httpStatusCode?: number | undefined } }>) =>
    String((await sent).$metadata.httpStatusCode)
  const body = Buffer.from('hello')
  const sha256 = createHash('sha256').update(body).digest('hex')
  let archiveId: string | undefined
  let jobId: string | undefined
  const output = (range?: string) => client.send(new GetJobOutputCommand({ ...about, jobId, ...(range && { range }) }))
  try {
    await ask('a vault that is not there', () =>
      status(client.send(new DescribeVaultCommand({ ...about, vaultName: 'nowhere' }))),
    )
    await ask('a vault, made twice', async () => {
      const make = () => status(client.send(new CreateVaultCommand(about)))
      return `${await make()}, ${await make()}`
    })
    await ask('its description', async () => {
      const { VaultName, NumberOfArchives } = await client.send(new DescribeVaultCommand(about))
      await client.send(new ListVaultsCommand({ accountId: '-' }))
      return `${VaultName}, ${NumberOfArchives} archives`
    })
    await ask('an archive of 5 bytes', async () => {
      const sent = await client.send(new UploadArchiveCommand({ ...about, body }))
      archiveId = sent.archiveId
      const said = archiveId && sent.checksum === sha256 ? 'with an id and the SHA-256 as its tree hash' : 'otherwise'
      return `${sent.$metadata.httpStatusCode}, ${said}`
    })
    await ask('an archive with another hash than its own', () =>
      status(client.send(new UploadArchiveCommand({ ...about, body, checksum: 'a'.repeat(64) }))),
    )
    await ask('a retrieval', async () => {
      const jobParameters = { Type: 'archive-retrieval', ArchiveId: archiveId, Description: 'probe', Tier: 'Standard' }
      const sent = await client.send(new InitiateJobCommand({ ...about, jobParameters }))
      jobId = sent.jobId
      return String(sent.$metadata.httpStatusCode)
    })
    await ask('the job, at once', async () => {
      const { Action, StatusCode, JobDescription } = await client.send(new DescribeJobCommand({ ...about, jobId }))
      return `${Action} ${StatusCode}, said so: ${JobDescription}`
    })
    await ask('its output, too early', () => status(output()))
    await ask('the list of jobs', async () => String((await client.send(new ListJobsCommand(about))).JobList?.length))
    await untilDone()
    await ask('its output, when it is done', async () => (await output()).body!.transformToString())
    await ask('two bytes of it', async () => {
      const some = await output('bytes=1-2')
      return `${await some.body!.transformToString()}, ${some.$metadata.httpStatusCode}`
    })
    await ask('a retrieval of no archive', () =>
      status(client.send(new InitiateJobCommand({ ...about, jobParameters: { Type: 'archive-retrieval', ArchiveId: 'none' } }))),
    )
    for (const mib of [3, 1] as const) {
      await ask(`parts of ${mib} MiB`, () =>
        status(client.send(new InitiateMultipartUploadCommand({ ...about, partSize: String(mib * 1024 * 1024) }))),
      )
    }
    await ask('removing the archive', () => status(client.send(new DeleteArchiveCommand({ ...about, archiveId }))))
    return Object.fromEntries(answers)
  } finally {
    client.destroy()
  }
}

test('the emulated vaults answer every question as it is written down', async () => {
  const cloud = await startCloud({ region: 'us-east-1' })
  try {
    expect(await probe(cloud.url, cloud.credentials, async () => cloud.clock.pass(4 * HOUR_MS))).toEqual(ANSWERS)
  } finally {
    await cloud.stop()
  }
})

describeWithServer('FIRN_TEST_MOTO_URL', 'the answers of moto', (address) => {
  test('differ from the emulator’s only where that is written down', async () => {
    const { origin, username, password } = new URL(address)
    const credentials = { accessKeyId: username || 'test', secretAccessKey: password || 'test' }
    // Its retrievals are done some seconds later, by its own clock.
    const given = await probe(origin, credentials, () => new Promise((resolve) => setTimeout(resolve, 12_000)))
    expect(given).toEqual({ ...ANSWERS, ...OF_MOTO })
  })
})
