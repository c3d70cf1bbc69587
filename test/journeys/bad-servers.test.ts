/** Servers that are not what was configured: one sentence each, the right exit code, nothing recorded and nothing given away. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type Cloud, startCloud } from '../cloud/cloud.js'
import { type Home, openHome, statusOf } from '../firn.js'
import { freePort } from '../free-port.js'
import { makeFiles } from '../tree.js'

let at: Home
let cloud: Cloud
let oldElasticsearch: Server

beforeAll(async () => {
  cloud = await startCloud({ buckets: ['cold'] })
  oldElasticsearch = createServer((_, answer) => {
    answer.setHeader('content-type', 'application/json')
    answer.end(JSON.stringify({ version: { number: '7.17.0', build_flavor: 'default' }, tagline: 'You Know, for Search' }))
  })
  await new Promise<void>((resolve) => oldElasticsearch.listen(0, '127.0.0.1', resolve))
  at = openHome()
  makeFiles(at.path('tree'), 3)
  expect((await at.run('firn', ['status'])).code).toBe(0)
}, 120_000)
afterAll(async () => {
  at?.dispose()
  await cloud?.stop()
  await new Promise((resolve) => oldElasticsearch?.close(resolve))
})

const SECRET = 'a-secret-that-is-not-it'

const s3 = (bucket: string, more = '', endpoint = cloud.url) => `s3://${bucket}/a?class=DEEP_ARCHIVE&endpoint=${endpoint}${more}`
const credentials = () => ({
  AWS_ACCESS_KEY_ID: cloud.credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: cloud.credentials.secretAccessKey,
})

test.each<[string, () => Promise<NodeJS.ProcessEnv> | NodeJS.ProcessEnv, number, RegExp]>([
  [
    'a key that nobody knows',
    () => ({ FIRN_VAULT_URL: s3('cold'), AWS_ACCESS_KEY_ID: 'AKIANOBODY', AWS_SECRET_ACCESS_KEY: SECRET }),
    2,
    /key/,
  ],
  ['a wrong secret', () => ({ FIRN_VAULT_URL: s3('cold'), ...credentials(), AWS_SECRET_ACCESS_KEY: SECRET }), 2, /secret/],
  ['no such bucket', () => ({ FIRN_VAULT_URL: s3('nowhere'), ...credentials() }), 2, /bucket/],
  ['a bucket of another region', () => ({ FIRN_VAULT_URL: s3('cold', '&region=eu-west-3'), ...credentials() }), 2, /region/],
  [
    'a class that there is not',
    () => ({ FIRN_VAULT_URL: s3('cold').replace('DEEP_ARCHIVE', 'DEEP'), ...credentials() }),
    2,
    /class/,
  ],
  [
    'an endpoint where nobody answers',
    async () => ({ FIRN_VAULT_URL: s3('cold', '', `http://127.0.0.1:${await freePort()}`), ...credentials() }),
    75,
    /cannot be reached/,
  ],
  [
    'a queue where nobody answers',
    async () => ({ FIRN_QUEUE_URL: `redis://:${SECRET}@127.0.0.1:${await freePort()}` }),
    75,
    /Redis|queue/,
  ],
  [
    'a database where nobody answers',
    async () => ({ FIRN_DATABASE_URL: `postgresql://firn:${SECRET}@127.0.0.1:${await freePort()}/firn` }),
    75,
    /database/i,
  ],
])(
  '%s',
  async (_, env, code, words) => {
    const ran = await at.run('archive-files', ['-r', 'tree'], await env())
    expect(
      ran.stderr
        .trimEnd()
        .split('\n')
        .filter((line) => !/no worker is running/.test(line)),
    ).toEqual([expect.stringMatching(words)])
    expect(ran.stderr).not.toContain(SECRET)
    expect(ran.code).toBe(code)
    expect(ran.stdout).toBe('')
    expect((await statusOf(at)).sets).toEqual([])
  },
  120_000,
)

test('an Elasticsearch that is too old: archiving goes on and says so, searching is refused', async () => {
  const env = { FIRN_SEARCH_URL: `http://127.0.0.1:${(oldElasticsearch.address() as AddressInfo).port}/firn` }
  const archived = await at.run('archive-files', ['-r', 'tree'], env)
  expect(archived.code).toBe(0)
  expect(archived.stderr).toMatch(/no Elasticsearch 8 or newer/)
  const found = await at.run('find-and-retrieve', ['-s', 'content', '-l'], env)
  expect(found.stderr).toMatch(/no Elasticsearch 8 or newer/)
  expect(found.code).toBe(2)
}, 120_000)
