/** Hashes files off the main thread, which must stay free to renew leases and locks while gigabytes are read back. */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { FirnError } from '#libs/errors/errors.js'
import { smallThread } from '#libs/os/memory.js'
import type { EqualityKey } from './equality.js'

export interface Hashed {
  readonly bytes: number
  /** Hex, as the code is. */
  readonly sha256: string
  /** Where a key was given (equality.ts). */
  readonly code?: string
}

export interface Hasher {
  /** The size and SHA-256 of a file as it is read now. Rejects with the system's error. */
  hash(path: string, options?: { signal?: AbortSignal | undefined; equality?: EqualityKey }): Promise<Hashed>
  close(): Promise<void>
}

/** To the thread. `cancelled` is one int32: the thread is deaf to messages while it reads, so it looks there. */
export interface HashRequest {
  id: number
  path: string
  equality: EqualityKey | undefined
  cancelled: SharedArrayBuffer
}

export type HashAnswer = { id: number; hashed: Hashed } | { id: number; errno: string; message: string; path: string }

/** A core hashes 0.4 to 1.6 GB/s, so that one thread would hold up a machine on which many bundles are packed at the same time. */
const THREADS = Math.min(8, availableParallelism())

interface Waiting {
  resolve(result: Hashed): void
  reject(error: unknown): void
}

interface Thread {
  readonly worker: Worker
  readonly waiting: Map<number, Waiting>
}

/** Threads are started when the others are busy, and keep the process alive only while somebody waits for them. */
export function openHasher(): Hasher {
  const threads = new Set<Thread>()
  let closed = false
  let lastId = 0

  function settle({ worker, waiting }: Thread, id: number): Waiting | undefined {
    const one = waiting.get(id)
    waiting.delete(id)
    // While it is closed somebody waits for its end, though an answer that nobody wants any more still comes.
    if (waiting.size === 0 && !closed) worker.unref()
    return one
  }

  function start(): Thread {
    const worker = new Worker(new URL('./hash-thread.js', import.meta.url), { resourceLimits: smallThread })
    const thread: Thread = { worker, waiting: new Map() }
    threads.add(thread)
    worker.on('message', (answer: HashAnswer) => {
      const one = settle(thread, answer.id)
      if ('hashed' in answer) one?.resolve(answer.hashed)
      else one?.reject(Object.assign(new Error(answer.message), { code: answer.errno, path: answer.path }))
    })
    let reason: unknown
    worker.on('error', (error) => {
      reason = error
    })
    worker.on('exit', () => {
      threads.delete(thread)
      const error = closed
        ? new FirnError('failed', 'The vault was closed.')
        : new FirnError('vault-failed', 'The thread that verifies objects ended early.', { cause: reason })
      for (const id of [...thread.waiting.keys()]) settle(thread, id)?.reject(error)
    })
    return thread
  }

  function leastBusy(): Thread {
    const [first, ...others] = threads
    if (!first) return start()
    const least = others.reduce((best, next) => (next.waiting.size < best.waiting.size ? next : best), first)
    return least.waiting.size > 0 && threads.size < THREADS ? start() : least
  }

  return {
    hash(path, { signal, equality } = {}) {
      if (signal?.aborted) return Promise.reject(signal.reason)
      if (closed) return Promise.reject(new FirnError('failed', 'The vault is closed.'))
      const thread = leastBusy()
      thread.worker.ref()
      const id = ++lastId
      const cancelled = new SharedArrayBuffer(4)
      return new Promise((resolve, reject) => {
        const onAbort = () => {
          Atomics.store(new Int32Array(cancelled), 0, 1)
          settle(thread, id)?.reject(signal?.reason)
        }
        const release = () => signal?.removeEventListener('abort', onAbort)
        thread.waiting.set(id, {
          resolve: (result) => {
            release()
            resolve(result)
          },
          reject: (error) => {
            release()
            reject(error)
          },
        })
        signal?.addEventListener('abort', onAbort, { once: true })
        thread.worker.postMessage({ id, path, equality, cancelled } satisfies HashRequest)
      })
    },

    async close() {
      closed = true
      await Promise.all([...threads].map(({ worker }) => worker.terminate()))
    },
  }
}
