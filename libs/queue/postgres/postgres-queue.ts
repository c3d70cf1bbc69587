/** Jobs in Postgres: BullMQ's own backend for it, in the schema `bullmq` of the catalog's database or of another. */
import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresConnectionOptions } from 'bullmq'
import pg from 'pg'
import { FirnError } from '#libs/errors/errors.js'
import {
  assertSchemaCompatibility,
  createPostgresBackend,
  LATEST_SCHEMA_VERSION,
  Queue,
  runMigrations,
  SchemaMigrationRequiredError,
  SchemaVersionMismatchError,
  Worker,
} from '../bullmq.js'
import { asFailure, bullmqQueue, STALLED_AT_MOST } from '../bullmq-queue.js'
import { RETRY_DELAY_MS } from '../jobs.js'
import type { QueueDeps } from '../open-queue.js'
import type { JobQueue } from '../queue.js'
import { loadTelemetry } from '../telemetry.js'
import { toldOnce } from '../told-once.js'

export interface PostgresQueueOptions extends QueueDeps {
  readonly url: string
  /** Connections at most, beside one for each worker that listens. Default 4. */
  readonly poolSize?: number
  /** How long a job stays a worker's that does not say a word; renewed at half of it. Default 60 s. */
  readonly lockDurationMs?: number
  /** Before the second attempt, doubled before each further one. Default 1 s. */
  readonly retryDelayMs?: number
}

const SCHEMA = 'bullmq'

/** BullMQ writes down every step of every job for whoever listens. Nobody does; its default is 10,000. */
const KEPT_EVENTS = 100

/** How long a close waits for the server's side of it. */
const GOODBYE_MS = 2_000

/** Locks are times by the clocks of the workers: one that is ahead would take the healthy jobs of others. */
const CLOCK_LEEWAY_MS = 1_000

export async function openPostgresQueue(options: PostgresQueueOptions): Promise<JobQueue> {
  const { url, poolSize = 4, lockDurationMs = 60_000, retryDelayMs = RETRY_DELAY_MS } = options
  const onError = toldOnce(options.onError)
  const telemetry = options.traced ? loadTelemetry(options.onNotice ?? (() => {})) : undefined
  const pool = new pg.Pool({
    ...withSettings(url),
    max: poolSize,
    // Without it a worker that listens would notice a connection that died in silence only after seconds of asking.
    keepAlive: true,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 30_000,
  })
  pool.on('error', onError)
  pool.setMaxListeners(0) // every queue and worker adds one of its own
  const ended = endOf(pool)

  // A pool is what BullMQ asks for; its own picture of one lacks the overloads of the real type.
  const connection = pool as unknown as PostgresConnectionOptions

  const bullmqOptions = { connection, ...(telemetry && { telemetry: telemetry.forBullmq }) }

  try {
    await prepare(pool)
  } catch (error) {
    await ended()
    throw error
  }

  return bullmqQueue({
    onError,
    retryDelayMs,
    explain,

    openQueue(name) {
      const queue = new Queue(name, { ...bullmqOptions, streams: { events: { maxLen: KEPT_EVENTS } } }, createPostgresBackend)
      queue.on('error', onError)
      return queue
    },

    openWorker(name, processor, concurrency) {
      // It keeps one connection to listen on. `max` is read at every checkout.
      pool.options.max += 1
      const worker = new Worker(
        name,
        processor,
        {
          ...bullmqOptions,
          concurrency,
          lockDuration: lockDurationMs,
          stalledInterval: Math.max(1, Math.floor(lockDurationMs / 2)),
          maxStalledCount: STALLED_AT_MOST,
        },
        createPostgresBackend,
      )
      worker.on('error', onError)
      worker.on('closed', () => {
        pool.options.max -= 1
      })
      return worker
    },

    async close() {
      await ended()
      await telemetry?.flush()
    },
  })
}

/** disk_full */
const FULL = '53100'

function explain(error: unknown): FirnError {
  const { message } = asFailure(error)
  return (error as { code?: unknown } | undefined)?.code === FULL
    ? new FirnError('database-full', `The queue's database has no room left (${message}): make room on its disk.`, {
        cause: error,
      })
    : new FirnError('database', `The queue does not answer as it should: ${message}.`, { cause: error })
}

/** Schema and clock, on one connection. */
async function prepare(pool: pg.Pool): Promise<void> {
  let client: pg.PoolClient
  try {
    client = await pool.connect()
  } catch (error) {
    throw new FirnError('database', `The queue's database cannot be reached: ${(error as Error).message}.`, { cause: error })
  }
  try {
    await checkClock(client)
    // Looked at first: making a schema asks for a right that a worker's role need not have.
    if ((await schemaVersion(client)) < LATEST_SCHEMA_VERSION) await runMigrations(client, SCHEMA)
  } catch (error) {
    if (error instanceof FirnError) throw error
    if (error instanceof SchemaVersionMismatchError) {
      throw new FirnError('database-newer', 'The queue was made by a newer Firn: this one must be upgraded first.', {
        cause: error,
      })
    }
    throw new FirnError('database', `The queue's tables cannot be made: ${(error as Error).message}.`, { cause: error })
  } finally {
    client.release()
  }
}

async function schemaVersion(client: pg.PoolClient): Promise<number> {
  try {
    return await assertSchemaCompatibility(client, SCHEMA)
  } catch (error) {
    if (error instanceof SchemaMigrationRequiredError) return 0
    throw error
  }
}

async function checkClock(client: pg.PoolClient): Promise<void> {
  const before = Date.now()
  const { rows } = await client.query<{ ms: string }>('SELECT floor(extract(epoch FROM clock_timestamp()) * 1000) AS ms')
  const after = Date.now()
  const theirs = Number(rows[0]?.ms)
  // The answer was given some time between: only what lies outside is certainly wrong.
  const aheadMs = Math.max(before - theirs, 0) - Math.max(theirs - after, 0)
  if (Math.abs(aheadMs) <= CLOCK_LEEWAY_MS) return
  const seconds = (Math.abs(aheadMs) / 1000).toFixed(1)
  const direction = aheadMs > 0 ? 'ahead of' : 'behind'
  throw new FirnError(
    'usage',
    `The clock of this machine is ${seconds} s ${direction} the database's: set both by NTP, else workers take each other's jobs.`,
  )
}

/**
 * BullMQ's statements name no schema: every connection must find it by itself. Nor does anybody wait for the disk: a job that a power
 * cut loses is added again by the reconciler, while the waiting would hold up every bundle. Options that the URL gives are kept.
 */
function withSettings(url: string): pg.PoolConfig {
  const parsed = new URL(url)
  const own = parsed.searchParams.get('options')
  parsed.searchParams.delete('options')
  return { connectionString: parsed.href, options: `${own ? `${own} ` : ''}-c search_path=${SCHEMA} -c synchronous_commit=off` }
}

/**
 * Ends the pool, and waits until the server has let every connection go. `pool.end` alone is back as soon as it has said goodbye:
 * whoever then stops the server or drops the database cuts connections that are still there, and hears of it as an error.
 */
function endOf(pool: pg.Pool): () => Promise<void> {
  const open = new Set<pg.PoolClient>()
  pool.on('connect', (client) => open.add(client))
  pool.on('remove', (client) => open.delete(client))
  return async () => {
    const removed = new Promise<void>((resolve) => {
      pool.on('remove', () => open.size === 0 && resolve())
    })
    await pool.end()
    // A server that cannot be reached any more says nothing: then nobody waits for it for long.
    if (open.size > 0) await Promise.race([removed, delay(GOODBYE_MS, undefined, { ref: false })])
  }
}
