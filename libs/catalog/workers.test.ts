import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import pg from 'pg'
import { nobodyIsGone, type ScratchCatalog, scratchCatalog } from './scratch-catalog.js'

let scratch: ScratchCatalog
let client: pg.Client
beforeAll(async () => {
  scratch = await scratchCatalog()
  client = new pg.Client(scratch.url)
  await client.connect()
})
afterAll(async () => {
  await client.end()
  await scratch.drop()
})
beforeEach(() => client.query('DELETE FROM worker'))

test('who shows itself is seen, with its host and its roles, once however often', async () => {
  const { catalog } = scratch
  expect(await catalog.workers(nobodyIsGone)).toEqual([])
  await catalog.showWorker({ owner: 'one', host: 'alpha', roles: ['worker'] })
  await catalog.showWorker({ owner: 'one', host: 'alpha', roles: ['worker'] })
  await catalog.showWorker({ owner: 'two', host: 'beta', roles: ['worker', 'retriever'] })
  const workers = await catalog.workers(nobodyIsGone)
  expect(workers).toMatchObject([
    { owner: 'one', host: 'alpha', roles: ['worker'] },
    { owner: 'two', host: 'beta', roles: ['worker', 'retriever'] },
  ])
  expect(workers[0]?.seenAt.getTime()).toBeGreaterThanOrEqual(workers[0]?.startedAt.getTime() as number)
})

test('who ended, was not seen for a minute, or is known to be gone is not listed; after a day it is forgotten', async () => {
  const { catalog } = scratch
  for (const owner of ['ended', 'late', 'gone', 'old', 'here']) await catalog.showWorker({ owner, host: 'a', roles: ['worker'] })
  await catalog.forgetWorker('ended')
  await client.query(`UPDATE worker SET seen_at = now() - interval '61 seconds' WHERE owner = 'late'`)
  await client.query(`UPDATE worker SET seen_at = now() - interval '25 hours' WHERE owner = 'old'`)
  expect((await catalog.workers((owner) => owner === 'gone')).map(({ owner }) => owner)).toEqual(['here'])
  await catalog.showWorker({ owner: 'here', host: 'a', roles: ['worker'] })
  const { rows } = await client.query(`SELECT owner FROM worker ORDER BY owner`)
  expect(rows).toEqual([{ owner: 'gone' }, { owner: 'here' }, { owner: 'late' }])
})
