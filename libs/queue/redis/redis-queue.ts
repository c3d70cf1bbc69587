/**
 * Jobs in Redis: BullMQ's own store. Whatever Redis forgets or refuses, the catalog knows what is to be done: adding fails at once and
 * clearly, workers wait until it is back.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { FirnError } from '#libs/errors/errors.js'
import { Queue, Worker } from '../bullmq.js'
import { bullmqQueue, STALLED_AT_MOST } from '../bullmq-queue.js'
import { JOB_NAMES, RETRY_DELAY_MS } from '../jobs.js'
import type { QueueDeps } from '../open-queue.js'
import type { JobQueue } from '../queue.js'
import { loadTelemetry } from '../telemetry.js'
import { checkServer } from './check-server.js'
import { connectRedis, refusal } from './connections.js'
import { isOutage, tellerOf } from './outage.js'
import { type RedisPlace, redisPlace } from './redis-url.js'

export interface RedisQueueOptions extends QueueDeps {
  readonly url: string
  /** How long a job stays a worker's that does not say a word; renewed at half of it. Default 60 s. */
  readonly lockDurationMs?: number
  /** Before the second attempt, doubled before each further one. Default 1 s. */
  readonly retryDelayMs?: number
}

/** BullMQ writes down every step of every job for whoever listens. Nobody does; its default is 10,000. */
const KEPT_EVENTS = 100

/** How long a worker that has no job any more waits for a Redis that is away, and for one that is there but does not let it end. */
const GONE_MS = 2_000
const STUCK_MS = 10_000
const LOOK_MS = 100

export async function openRedisQueue(options: RedisQueueOptions): Promise<JobQueue> {
  const { lockDurationMs = 60_000, retryDelayMs = RETRY_DELAY_MS } = options
  const place = redisPlace(options.url)
  const { prefix, where } = place
  const onNotice = options.onNotice ?? (() => {})
  const telemetry = options.traced ? loadTelemetry(onNotice) : undefined
  const bullmqOptions = { prefix, ...(telemetry && { telemetry: telemetry.forBullmq }) }
  const teller = tellerOf(where, { onError: options.onError, onNotice })
  const connections = await connectRedis(place, teller)
  const queues = new Map<string, Queue>()
  const openQueue = (name: string): Queue => {
    const queue = new Queue(name, {
      connection: connections.producer,
      ...bullmqOptions,
      streams: { events: { maxLen: KEPT_EVENTS } },
    })
    queue.on('error', teller.tell)
    return queue
  }
  try {
    for (const notice of await checkServer(connections.producer, where, place.allowEviction)) onNotice(notice)
    if (place.allowEviction) connections.allowEviction()
    // All of them now: one that is made while Redis is away would wait for it at its first job.
    for (const name of JOB_NAMES) queues.set(name, openQueue(name))
    await Promise.all([...queues.values()].map((queue) => queue.waitUntilReady()))
  } catch (error) {
    await connections.close()
    throw error instanceof FirnError ? error : refusal(place, error)
  }

  return bullmqQueue({
    onError: options.onError,
    retryDelayMs,
    explain: (error) => unanswered(place, error),
    openQueue: (name) => queues.get(name) ?? openQueue(name),

    openWorker(name, processor, concurrency) {
      const own = connections.forWorker()
      const worker = new Worker(name, processor, {
        connection: own.main,
        ...bullmqOptions,
        concurrency,
        lockDuration: lockDurationMs,
        stalledInterval: Math.max(1, Math.floor(lockDurationMs / 2)),
        maxStalledCount: STALLED_AT_MOST,
      })
      worker.on('error', teller.tell)
      return {
        on: worker.on.bind(worker),
        waitUntilReady: () => worker.waitUntilReady(),
        async close() {
          await worker.close()
          own.cut()
        },
        async letGo(closed) {
          let over = false
          void closed.finally(() => {
            over = true
          })
          const began = performance.now()
          let seen = began
          while (!over) {
            const now = performance.now()
            if (own.isReady()) seen = now
            const cut = now - seen > GONE_MS || now - began > STUCK_MS
            if (cut) own.cut()
            // Once more where BullMQ has opened one again, but not before the first cut had its time.
            await delay(cut ? GONE_MS : LOOK_MS)
          }
        },
      }
    },

    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()))
      await connections.close()
      await telemetry?.flush()
    },
  })
}

function unanswered(place: RedisPlace, error: unknown): FirnError {
  if (!isOutage(error)) return refusal(place, error)
  return new FirnError('try-again', `The queue's Redis at ${place.where} is away at the moment; try again later.`, {
    cause: error,
  })
}
