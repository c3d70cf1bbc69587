/** Hashes files off the main thread, which must stay free to renew leases and locks while gigabytes are read back. */
import { Worker } from 'node:worker_threads'
import { FirnError } from '#libs/errors/errors.js'

export interface Hasher {
  /** The size and SHA-256 of a file as it is read now. Files are taken one after another. Rejects with the system's error. */
  hash(path: string, signal?: AbortSignal): Promise<{ bytes: number; sha256: string }>
  close(): Promise<void>
}

/** To the thread. `cancelled` is one int32: the thread is deaf to messages while it reads, so it looks there. */
export interface HashRequest {
  id: number
  path: string
  cancelled: SharedArrayBuffer
}

export type HashAnswer =
  | { id: number; bytes: number; sha256: string }
  | { id: number; errno: string; message: string; path: string }

interface Waiting {
  resolve(result: { bytes: number; sha256: string }): void
  reject(error: unknown): void
}

/** Starts its thread at the first file. The thread keeps the process alive only while somebody waits for it. */
export function openHasher(): Hasher {
  let thread: Worker | undefined
  let closed = false
  let lastId = 0
  const waiting = new Map<number, Waiting>()

  function settle(id: number): Waiting | undefined {
    const one = waiting.get(id)
    waiting.delete(id)
    if (waiting.size === 0) thread?.unref()
    return one
  }

  function start(): Worker {
    const worker = new Worker(new URL('./hash-thread.js', import.meta.url))
    worker.on('message', (answer: HashAnswer) => {
      const one = settle(answer.id)
      if ('sha256' in answer) one?.resolve({ bytes: answer.bytes, sha256: answer.sha256 })
      else one?.reject(Object.assign(new Error(answer.message), { code: answer.errno, path: answer.path }))
    })
    let reason: unknown
    worker.on('error', (error) => {
      reason = error
    })
    worker.on('exit', () => {
      if (thread === worker) thread = undefined
      const error = new FirnError('vault-failed', 'The thread that verifies objects ended early.', { cause: reason })
      for (const id of [...waiting.keys()]) settle(id)?.reject(error)
    })
    return worker
  }

  return {
    hash(path, signal) {
      if (signal?.aborted) return Promise.reject(signal.reason)
      if (closed) return Promise.reject(new FirnError('failed', 'The vault is closed.'))
      thread ??= start()
      thread.ref()
      const id = ++lastId
      const cancelled = new SharedArrayBuffer(4)
      return new Promise((resolve, reject) => {
        const onAbort = () => {
          Atomics.store(new Int32Array(cancelled), 0, 1)
          settle(id)?.reject(signal?.reason)
        }
        const release = () => signal?.removeEventListener('abort', onAbort)
        waiting.set(id, {
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
        thread?.postMessage({ id, path, cancelled } satisfies HashRequest)
      })
    },

    async close() {
      closed = true
      await thread?.terminate()
    },
  }
}
