/**
 * The port on BullMQ, whatever it stores its jobs in. One BullMQ queue for each kind of job, so that each has a concurrency of its own.
 * The store is the backend's; the behaviour that the port promises is all here.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Job, Processor } from 'bullmq'
import { FirnError, Postpone } from '#libs/errors/errors.js'
import { DelayedError, type Queue, UnrecoverableError, WaitingError, type Worker } from './bullmq.js'
import { cleanText } from './clean-text.js'
import { ATTEMPTS, checkedPayload, isFinal, JOB_NAMES, jobId } from './jobs.js'
import type { AddOptions, JobHandler, JobName, JobQueue, Jobs, QueueWorker, WorkOptions } from './queue.js'

/** A job whose worker was killed so often is given up: it may be what kills them. BullMQ's own default, 1, gives up too soon. */
export const STALLED_AT_MOST = 10

/** Of a job that runs, so many more may be asked for: each worker that was killed leaves one that seems to run for a while. */
const AGAIN_AT_MOST = 5

/** Round trips under way at once when many jobs are added. */
const LOOK_UPS_AT_ONCE = 32

/** Jobs of one statement, and of one transaction. */
const ADDED_AT_ONCE = 1_000

type QueueHandle = Pick<
  Queue,
  'add' | 'addBulk' | 'getJob' | 'getJobState' | 'getJobCountByTypes' | 'upsertJobScheduler' | 'obliterate' | 'close'
>
type WorkerHandle = Pick<Worker, 'close' | 'waitUntilReady'> & {
  on(event: 'failed', listener: (job: Job | undefined, error: Error) => void): unknown
  on(event: 'lockRenewalFailed', listener: (jobIds: string[]) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  /** Called when the worker is being closed and none of its handlers runs: sees to it that `closed` comes though the store is away. */
  letGo?(closed: Promise<void>): void
}

export interface Backend {
  /** Errors of what is opened go to the owner already. `queue`: BullMQ's name, a job's or that of one in a lane. */
  openQueue(queue: string): QueueHandle
  openWorker(queue: string, processor: Processor, concurrency: number): WorkerHandle
  /** Called when everything opened is closed. */
  close(): Promise<void>
  readonly onError: (error: unknown) => void
  /** What is wrong when the store fails a call. */
  explain(error: unknown): FirnError
  /** Before the second attempt, in ms, doubled before each further one. */
  readonly retryDelayMs: number
}

export function bullmqQueue(backend: Backend): JobQueue {
  const { onError } = backend
  const queues = new Map<string, QueueHandle>()
  const workers = new Set<QueueWorker>()
  let closing: Promise<void> | undefined

  const jobOptions = {
    attempts: ATTEMPTS,
    backoff: { type: 'exponential', delay: backend.retryDelayMs },
    // What became of a job stands in the catalog. A kept one would be in the way of its successor.
    removeOnComplete: true,
    removeOnFail: true,
    stackTraceLimit: 0,
  }

  function queueOf(name: string): QueueHandle {
    if (closing) throw new FirnError('failed', 'The queue is closed.')
    const queue = queues.get(name) ?? backend.openQueue(name)
    queues.set(name, queue)
    return queue
  }

  /** BullMQ's name for a kind of job, of everybody's or in a lane. */
  const nameIn = (lane: string | undefined, name: JobName): string => (lane === undefined ? name : `${name}.${lane}`)

  /** The id under which a job can be added so that it runs; undefined where it waits already (a delayed one is brought forward). */
  async function freeId(queue: QueueHandle, base: string, delayed: boolean): Promise<string | undefined> {
    for (let again = 0; again <= AGAIN_AT_MOST; again++) {
      const id = again === 0 ? base : `${base}-again${again}`
      const state = await queue.getJobState(id)
      if (state === 'unknown') return id
      if (state === 'completed' || state === 'failed') {
        // BullMQ would take the new one for the old one, and say nothing.
        await (await queue.getJob(id))?.remove()
        return id
      }
      if (state === 'delayed' && !delayed) {
        const job = await queue.getJob(id)
        // Began in this moment, or was promoted by another: that is all that is wanted.
        await job?.promote().catch(() => {})
      }
      if (state !== 'active') return undefined
    }
    return undefined
  }

  async function addMany<K extends JobName>(
    lane: string | undefined,
    name: K,
    payloads: readonly Jobs[K][],
    { delayMs = 0 }: AddOptions = {},
  ): Promise<void> {
    const queue = queueOf(nameIn(lane, name))
    const wanted = new Map(
      payloads.map((given) => {
        const payload = checkedPayload(name, given)
        return [jobId(name, payload), payload]
      }),
    )
    const fresh: { id: string; payload: Jobs[K] }[] = []
    const open = [...wanted]
    while (open.length > 0) {
      const group = open.splice(0, LOOK_UPS_AT_ONCE)
      const ids = await Promise.all(group.map(([base]) => freeId(queue, base, delayMs > 0)))
      for (const [i, [, payload]] of group.entries()) if (ids[i] !== undefined) fresh.push({ id: ids[i], payload })
    }
    const optionsOf = (id: string) => ({ ...jobOptions, jobId: id, ...(delayMs > 0 && { delay: delayMs }) })
    if (fresh.length === 1) {
      // The way for many costs Postgres several times as much where there is one.
      const { id, payload } = fresh[0]!
      await queue.add(name, payload, optionsOf(id))
      return
    }
    for (let start = 0; start < fresh.length; start += ADDED_AT_ONCE) {
      await queue.addBulk(
        fresh.slice(start, start + ADDED_AT_ONCE).map(({ id, payload }) => ({ name, data: payload, opts: optionsOf(id) })),
      )
    }
  }

  async function every<K extends JobName>(name: K, payload: Jobs[K], intervalMs: number): Promise<void> {
    const data = checkedPayload(name, payload)
    // Each time a trace of its own: else all of them, for years, were one.
    const opts = { ...jobOptions, telemetry: { omitContext: true } }
    await queueOf(name).upsertJobScheduler(`every-${jobId(name, data)}`, { every: intervalMs }, { name, data, opts })
  }

  async function work<K extends JobName>(
    lane: string | undefined,
    name: K,
    handler: JobHandler<K>,
    options: WorkOptions<K>,
  ): Promise<QueueWorker> {
    if (closing) throw new FirnError('failed', 'The queue is closed.')
    /** Our own controllers, not the signal of BullMQ: that one is lost silently when a processor declares fewer than three parameters. */
    const running = new Map<string, AbortController>()
    /** onFailed calls outside of any job. */
    const telling = new Set<Promise<void>>()
    let abandoning: FirnError | undefined
    let busy = 0
    let closed: Promise<void> | undefined
    /** From here on all that is missing is the store's answer. */
    const idle = () => {
      if (closed && busy === 0) worker.letGo?.(closed)
    }

    async function tell(payload: Jobs[K], error: unknown, final: boolean): Promise<void> {
      try {
        await options.onFailed?.(payload, error, final)
      } catch (failure) {
        onError(failure)
      }
    }

    /** Of a job that this worker has: how it ended, as far as that can be said without the store. */
    async function handled(job: Job, payload: Jobs[K], signal: AbortSignal): Promise<Ending> {
      try {
        await handler(payload, { signal })
        return { is: 'done' }
      } catch (error) {
        if (error instanceof Postpone) return { is: 'postponed', afterMs: error.afterMs }
        if (signal.aborted && signal.reason === abandoning) return { is: 'given back' }
        // The job is another worker's now, and so is what there is to say of it.
        if (signal.aborted) return { is: 'failed', error: asFailure(error) }
        const final = isFinal(error) || job.attemptsMade + 1 >= (job.opts.attempts ?? 1)
        await tell(payload, error, final)
        const failure = asFailure(error)
        return { is: 'failed', error: isFinal(error) ? new UnrecoverableError(failure.message) : failure }
      }
    }

    async function run(job: Job, payload: Jobs[K], controller: AbortController, token: string | undefined): Promise<void> {
      busy++
      const ending = await handled(job, payload, controller.signal).finally(() => {
        busy--
        idle()
      })
      if (ending.is === 'postponed') {
        await job.moveToDelayed(Date.now() + ending.afterMs, token)
        throw new DelayedError()
      }
      if (ending.is === 'given back') return giveBack(job, token)
      if (ending.is === 'failed') throw ending.error
    }

    const worker = backend.openWorker(
      nameIn(lane, name),
      async (job, token) => {
        const payload = understood(name, job)
        if (abandoning) return giveBack(job, token)
        const controller = new AbortController()
        const key = job.id ?? ''
        running.set(key, controller)
        try {
          await run(job, payload, controller, token)
        } finally {
          if (running.get(key) === controller) running.delete(key)
        }
      },
      options.concurrency,
    )

    worker.on('error', (error) => options.onTrouble?.(error instanceof FirnError ? error : backend.explain(error)))
    worker.on('lockRenewalFailed', (ids) => {
      const reason = new FirnError('lease-lost', 'The queue gave the job to another worker.')
      for (const id of ids) running.get(id)?.abort(reason)
    })
    worker.on('failed', (job, error) => {
      // Failed without having been run: its worker was killed too often.
      if (!job?.deferredFailure) return
      try {
        const told = tell(understood(name, job), error, true).finally(() => telling.delete(told))
        telling.add(told)
      } catch (malformed) {
        onError(malformed)
      }
    })

    function understood(expected: K, job: Job): Jobs[K] {
      try {
        return checkedPayload(expected, job.name === expected ? job.data : undefined)
      } catch (error) {
        onError(error)
        throw new UnrecoverableError(asFailure(error).message)
      }
    }

    const self: QueueWorker = {
      async stop(graceMs) {
        if (closed === undefined) {
          closed = worker.close().then(async () => {
            await Promise.all(telling)
            workers.delete(self)
          })
          idle()
        }
        const enough = new AbortController()
        const waited = graceMs > 0 ? delay(graceMs, undefined, { signal: enough.signal }).catch(() => {}) : Promise.resolve()
        await Promise.race([closed, waited])
        enough.abort()
        abandoning ??= new FirnError('try-again', 'The worker was stopped; the job goes back to the queue.')
        for (const controller of running.values()) controller.abort(abandoning)
        await closed
      },
    }
    workers.add(self)
    await worker.waitUntilReady()
    return self
  }

  async function answered<T>(call: Promise<T>): Promise<T> {
    try {
      return await call
    } catch (error) {
      throw error instanceof FirnError ? error : backend.explain(error)
    }
  }

  const count = async (name: JobName): Promise<number> =>
    queueOf(name).getJobCountByTypes('waiting', 'prioritized', 'delayed', 'active')

  const verbsIn = (lane: string | undefined): Pick<JobQueue, 'add' | 'addMany' | 'work'> => ({
    add: (name, payload, options) => answered(addMany(lane, name, [payload], options)),
    addMany: (name, payloads, options) => answered(addMany(lane, name, payloads, options)),
    work: (name, handler, options) => answered(work(lane, name, handler, options)),
  })

  /** The catalog knows what is still to be done; a queue that cannot be asked now keeps a few dead jobs. */
  async function forget(lane: string): Promise<void> {
    if (closing) return
    for (const name of JOB_NAMES) {
      const queue = queues.get(nameIn(lane, name))
      if (queue === undefined) continue
      queues.delete(nameIn(lane, name))
      await queue.obliterate({ force: true }).catch(onError)
      await queue.close().catch(onError)
    }
  }

  return {
    ...verbsIn(undefined),
    every: (name, payload, intervalMs) => answered(every(name, payload, intervalMs)),

    pending: (name) => answered(count(name)),

    lane: (id) => ({ ...verbsIn(id), [Symbol.asyncDispose]: () => forget(id) }),

    close() {
      closing ??= (async () => {
        const opened = [...queues.values()]
        await Promise.all([...workers].map((worker) => worker.stop(0)))
        await Promise.all(opened.map((queue) => queue.close()))
        await backend.close()
      })()
      return closing
    },
  }
}

type Ending =
  | { readonly is: 'done' | 'given back' }
  | { readonly is: 'postponed'; readonly afterMs: number }
  | { readonly is: 'failed'; readonly error: Error }

/** Back to the queue, with no attempt used up: another worker, or this one after a restart, takes it. */
async function giveBack(job: Job, token: string | undefined): Promise<never> {
  await job.moveToWait(token)
  throw new WaitingError()
}

/** What the queue keeps of an error: its message, cleaned. The error itself was told to the owner. */
export function asFailure(error: unknown): Error {
  const message = typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error)
  return new Error(cleanText(message))
}
