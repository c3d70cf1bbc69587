/** The queue in Postgres: the suite, and what only this backend can show. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createPostgresBackend, Queue } from 'bullmq'
import pg from 'pg'
import { isFirnError } from '#libs/errors/errors.js'
import { scratchDatabase } from '../../../test/database.js'
import { openQueue } from '../open-queue.js'
import { describeQueue } from '../queue-suite.js'
import { openPostgresQueue } from './postgres-queue.js'

describeQueue('in Postgres', async () => {
  const database = await scratchDatabase()
  return {
    open: (options) => openPostgresQueue({ url: database.url, retryDelayMs: 10, ...options }),
    async smuggle(name, id, data) {
      // Options in the URL would take the place of the search path that BullMQ asks for.
      const url = new URL(database.url)
      url.searchParams.delete('options')
      const queue = new Queue(name, { connection: { connectionString: url.href } }, createPostgresBackend)
      await queue.add(name, data, { jobId: id, removeOnFail: true })
      await queue.close()
    },
    async takeAway(name) {
      await ask(
        database.url,
        `UPDATE bullmq.job SET state = 'waiting', lock_token = NULL, locked_until_ms = NULL WHERE state = 'active' AND queue = '${name}';
         NOTIFY bullmq_jobs, '${name}'`,
      )
    },
    async leftOfLanes() {
      const tables = ['job', 'meta', 'event', 'metrics', 'dedup']
      const left = tables.map((table) => `SELECT 1 FROM bullmq.${table} WHERE queue LIKE '%.%'`)
      return (await ask(database.url, left.join(' UNION ALL '))).length
    },
    async connections() {
      const rows = await ask(
        database.url,
        'SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
      )
      return rows.length
    },
    drop: database.drop,
  }
})

describe('a queue in Postgres', () => {
  let database: Awaited<ReturnType<typeof scratchDatabase>>
  beforeEach(async () => {
    database = await scratchDatabase()
  })
  afterEach(() => database.drop())

  const fail = (error: unknown) => {
    throw error
  }

  test('is opened by many at once on an empty database', async () => {
    const queues = await Promise.all(Array.from({ length: 4 }, () => openQueue(database.url, { onError: fail })))
    await Promise.all(queues.map((queue, i) => queue.add('store-bundle', { bundleId: `b${i}` })))
    expect(await queues[0]?.pending('store-bundle')).toBe(4)
    await Promise.all(queues.map((queue) => queue.close()))
  })

  test('keeps its tables in a schema of its own, and takes the options that the URL has', async () => {
    const url = new URL(database.url)
    url.searchParams.set('options', '-c work_mem=4MB')
    const queue = await openPostgresQueue({ url: url.href, onError: fail })
    await queue.add('store-bundle', { bundleId: 'b' })
    await queue.close()
    const rows = await ask(database.url, "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname IN ('public', 'bullmq')")
    expect(rows).toEqual([{ schemaname: 'bullmq' }])
  })

  test('keeps nothing of a job that is done or failed for good', async () => {
    const queue = await openPostgresQueue({ url: database.url, onError: fail, retryDelayMs: 10 })
    await queue.addMany('store-bundle', [{ bundleId: 'good' }, { bundleId: 'bad' }])
    let runs = 0
    await queue.work(
      'store-bundle',
      async ({ bundleId }) => {
        runs++
        if (bundleId === 'bad') throw new RangeError('once more')
      },
      { concurrency: 1 },
    )
    while ((await queue.pending('store-bundle')) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    await queue.close()
    expect(runs).toBe(4)
    expect(await ask(database.url, 'SELECT * FROM bullmq.job')).toEqual([])
  })

  test('survives that the server ends its connections, and says so', async () => {
    const errors: unknown[] = []
    const queue = await openPostgresQueue({ url: database.url, onError: (error) => errors.push(error) })
    const runs: string[] = []
    await queue.work('store-bundle', async ({ bundleId }) => void runs.push(bundleId), { concurrency: 2 })
    await queue.add('store-bundle', { bundleId: 'before' })
    while (runs.length < 1) await new Promise((resolve) => setTimeout(resolve, 5))
    await ask(
      database.url,
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    )
    while (errors.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    // A connection that did not hear of its end yet fails the first call that is given to it, and no other.
    while (!(await isTaken(queue.add('store-bundle', { bundleId: 'after' }))))
      await new Promise((resolve) => setTimeout(resolve, 5))
    while (runs.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(runs).toEqual(['before', 'after'])
    await queue.close()
  })

  test('refuses a machine whose clock is not the database’s', async () => {
    const now = Date.now
    try {
      for (const [skewMs, message] of [
        [5_000, /5\.\d s ahead of/],
        [-60_000, /(60|59)\.\d s behind/],
      ] as const) {
        Date.now = () => now() + skewMs
        const opening = openPostgresQueue({ url: database.url, onError: fail })
        await expect(opening).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(message) })
      }
    } finally {
      Date.now = now
    }
  })

  test('of a newer Firn is refused', async () => {
    await (await openPostgresQueue({ url: database.url, onError: fail })).close()
    await ask(database.url, 'UPDATE bullmq.migration SET min_client_version = 99')
    await expect(openPostgresQueue({ url: database.url, onError: fail })).rejects.toMatchObject({ code: 'database-newer' })
  })

  test('needs no right to make schemas where its own is made', async () => {
    const role = `worker_${database.url.split('_').at(-1)}`.replace(/[^a-z0-9_].*/, '')
    await (await openPostgresQueue({ url: database.url, onError: fail })).close()
    await ask(
      database.url,
      `CREATE ROLE ${role} LOGIN;
       GRANT USAGE, CREATE ON SCHEMA bullmq TO ${role};
       GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA bullmq TO ${role};
       GRANT USAGE ON ALL SEQUENCES IN SCHEMA bullmq TO ${role};`,
    )
    try {
      const url = new URL(database.url)
      url.username = role
      const queue = await openPostgresQueue({ url: url.href, onError: fail })
      await queue.add('store-bundle', { bundleId: 'b' })
      expect(await queue.pending('store-bundle')).toBe(1)
      await queue.close()
    } finally {
      await ask(database.url, `DROP OWNED BY ${role}; DROP ROLE ${role}`)
    }
  })

  test('gives the job of a killed worker to another: at once when it is added again, else when its lock is over', async () => {
    const queue = await openPostgresQueue({ url: database.url, onError: fail, lockDurationMs: 500 })
    for (const again of [true, false]) {
      const bundleId = again ? 'added-again' : 'left-alone'
      await queue.add('store-bundle', { bundleId })
      await killedAtWork(database.url)
      expect(await queue.pending('store-bundle')).toBe(1)
      if (again) await queue.add('store-bundle', { bundleId })
      const runs: string[] = []
      const worker = await queue.work('store-bundle', async (payload) => void runs.push(payload.bundleId), { concurrency: 1 })
      while ((await queue.pending('store-bundle')) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
      // Added again it ran at once, and once more when the lock of the dead was over.
      expect(runs).toEqual(again ? [bundleId, bundleId] : [bundleId])
      await worker.stop(0)
    }
    await queue.close()
  })

  test('that cannot be reached says so, without the password', async () => {
    const opening = openPostgresQueue({ url: 'postgresql://firn:secret@127.0.0.1:1/firn', onError: fail })
    await expect(opening).rejects.toMatchObject({ code: 'database', message: expect.not.stringMatching(/secret/) })
  })
})

describe('the URL of a queue', () => {
  test('is refused with the choices, and without its password', async () => {
    for (const url of ['amqp://firn:secret@host/', 'nothing', '', 'constructor://x']) {
      await expect(openQueue(url, { onError: () => {} })).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(
          /^((?!secret).)*choose one of postgres:\/\/\.\.\., postgresql:\/\/\.\.\., redis:\/\/.*\.\.\.\.$/,
        ),
      })
    }
  })
})

/** A process that takes a job and is killed while it runs. */
async function killedAtWork(url: string): Promise<void> {
  const module = new URL('./postgres-queue.js', import.meta.url).href
  const script = `
    const { openPostgresQueue } = await import(${JSON.stringify(module)})
    const queue = await openPostgresQueue({ url: ${JSON.stringify(url)}, lockDurationMs: 500, onError() {} })
    await queue.work('store-bundle', () => { process.kill(process.pid, 'SIGKILL'); return new Promise(() => {}) }, { concurrency: 1 })`
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]).catch((error) => {
    if (error.signal !== 'SIGKILL') throw error
  })
}

async function ask(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

/** False where the server ended the connection in this moment. */
const isTaken = (call: Promise<void>): Promise<boolean> =>
  call.then(
    () => true,
    (error: unknown) => {
      if (!isFirnError(error, 'database', 'try-again')) throw error
      return false
    },
  )
