/** The policies of docs/vaults.md, as they stand there, on a server that enforces them: each role does its job, and nothing else. */
import { readFileSync } from 'node:fs'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { newPrefix } from '#libs/vault/s3/scratch-s3.js'
import { refusal } from '../cloud/test-client.js'
import { type Home, openHome } from '../firn.js'
import { describeWithServer } from '../tools.js'
import { lookAt, makeFiles } from '../tree.js'

interface Statement {
  readonly Sid?: string
  readonly Effect: string
}

/** Every statement of the page that has a name, with the bucket's and the accounts' own. */
function statements(bucket: string, account: (role: string) => string): Statement[] {
  const page = readFileSync(new URL('../../../docs/vaults.md', import.meta.url), 'utf8')
    .replaceAll('my-bucket', bucket)
    .replace(/arn:aws:iam::\d+:role\/firn-(worker|finder)/g, (_, role: string) => account(role))
  return [...page.matchAll(/```json\n(\{"Version"[\s\S]*?)```/g)]
    .flatMap(([, json]) => (JSON.parse(json as string) as { Statement: Statement[] }).Statement)
    .filter(({ Sid }) => Sid !== undefined)
}

describeWithServer('FIRN_TEST_VERSITYGW_URL', 'the policies of docs/vaults.md', (address) => {
  const { username, password, origin } = new URL(address)
  const bucket = `firn-${newPrefix()}`
  const clients: S3Client[] = []
  const clientOf = (accessKeyId: string) => {
    const credentials = { accessKeyId, secretAccessKey: password }
    const client = new S3Client({ endpoint: origin, region: 'us-east-1', forcePathStyle: true, credentials, maxAttempts: 1 })
    clients.push(client)
    return client
  }
  const as = (role: string): NodeJS.ProcessEnv => ({
    AWS_ACCESS_KEY_ID: `${username}-${role}`,
    AWS_SECRET_ACCESS_KEY: password,
  })
  const decree = (Statement: readonly Statement[]) =>
    root.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: JSON.stringify({ Version: '2012-10-17', Statement }) }))
  let known: Statement[]
  let root: S3Client
  let at: Home

  beforeAll(async () => {
    root = clientOf(username)
    await root.send(new CreateBucketCommand({ Bucket: bucket }))
    // The server knows no condition that WriteOnce could be written with.
    known = statements(bucket, (role) => `${username}-${role}`).filter(({ Sid }) => Sid !== 'WriteOnce')
    expect(known.map(({ Sid }) => Sid)).toEqual(['NeverDelete', 'All', 'Write', 'Read'])
    await decree(known)
    at = openHome({ FIRN_VAULT_URL: `s3://${bucket}/firn?endpoint=${origin}` })
    makeFiles(at.path('tree'), 30)
    // Too large for one piece.
    makeFiles(at.path('tree/large'), 1, { bytes: 20_000_000 })
  })
  afterAll(() => {
    at?.dispose()
    for (const client of clients) client.destroy()
  })

  test('a worker stores and checks, and a finder brings back', async () => {
    const stored = await at.run('archive-files', ['-r', '--json', '--workers', '1', 'tree'], as('worker'))
    expect(stored.summary).toMatchObject({ files_archived: 31, exit_code: 0 })
    expect((await at.run('firn', ['check', '--read-data'], as('worker'))).code).toBe(0)
    expect((await at.run('find-and-retrieve', ['--all', '--to', at.path('back')], as('finder'))).code).toBe(0)
    expect(lookAt(at.path('back', at.path('tree')))).toEqual(lookAt(at.path('tree')))
  }, 120_000)

  test('neither deletes, moves what protects the objects, or writes elsewhere; a finder writes nothing', async () => {
    const { Contents } = await root.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: 'firn/' }))
    const Key = Contents?.at(-1)?.Key as string
    for (const role of ['worker', 'finder']) {
      const client = clientOf(`${username}-${role}`)
      const denied = async (request: Promise<unknown>) => expect(await refusal(request)).toMatchObject({ name: 'AccessDenied' })
      await denied(client.send(new DeleteObjectCommand({ Bucket: bucket, Key })))
      await denied(
        client.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: 'Suspended' } })),
      )
      await denied(client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: '{}' })))
      await denied(client.send(new PutObjectCommand({ Bucket: bucket, Key: 'elsewhere', Body: 'x' })))
      if (role === 'finder') await denied(client.send(new PutObjectCommand({ Bucket: bucket, Key: 'firn/x', Body: 'x' })))
    }
    const archived = await at.run('archive-files', ['-r', '--workers', '1', '--force', 'tree'], as('finder'))
    expect(archived.code).not.toBe(0)
  }, 120_000)

  test('a worker whose keys may do everything deletes nothing all the same', async () => {
    const principal = { AWS: [`${username}-worker`] }
    const resources = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`]
    const everything = { Effect: 'Allow', Principal: principal, Action: 's3:*', Resource: resources }
    await decree([...known.filter(({ Sid }) => Sid === 'NeverDelete'), everything])
    const worker = clientOf(`${username}-worker`)
    const Key = 'firn/precious'
    await worker.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'x' }))
    const removal = () => worker.send(new DeleteObjectCommand({ Bucket: bucket, Key }))
    expect(await refusal(removal())).toMatchObject({ name: 'AccessDenied' })
    await decree([everything])
    await removal()
  }, 120_000)
})
