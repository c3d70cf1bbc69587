/**
 * Packing: from a plan to the bytes of a tar, on threads of their own. Small files cost a few synchronous system calls each; the bytes go
 * round in a fixed set of buffers between the thread and whoever stores them, so memory does not grow with files or their sizes.
 */

import { MessageChannel, Worker } from 'node:worker_threads'
import { FirnError } from '#libs/errors/errors.js'
import { smallThread } from '#libs/os/memory.js'
import type { Raw } from '#libs/os/raw.js'
import type { Entry, Problem } from './entry.js'
import type { ManifestHeader } from './manifest.js'
import { AWAY, BUFFERS, CHANGES, type FromThread, type PackTask, STOPPED } from './pack-messages.js'
import type { Keep } from './xattrs.js'

export interface PackRequest {
  readonly header: ManifestHeader
  /** Where each root of the header was when it was crawled; undefined: where it is now. */
  readonly realRoots?: readonly (Raw | undefined)[]
  /** Made by `encodePlan`. */
  readonly plan: Uint8Array
  readonly keep: Keep
  /** Whether the tar is hashed while it is made; not needed where the vault says what it read back. Default true. */
  readonly hashTar?: boolean
}

export interface Packed {
  readonly tarBytes: number
  /** Undefined where it was not asked for. */
  readonly tarSha256: string | undefined
  /** As it stands in the tar. */
  readonly manifest: Uint8Array
  /** What the manifest says, for those who need not read it as a stranger would. */
  readonly entries: readonly Entry[]
  readonly problems: Problem[]
}

export interface Packing {
  /** The tar, some 1 MiB at a time; the memory is valid until the next one is asked for. Ending early ends the packing. */
  readonly chunks: AsyncIterable<Uint8Array>
  /** Settles after the last chunk. */
  readonly result: Promise<Packed>
}

export interface Packer {
  /** Begins when the first chunk is asked for; waits for a free thread where all are at work. */
  pack(request: PackRequest, options?: { signal?: AbortSignal }): Packing
  /** What is being packed fails; returns when every thread has ended. */
  close(): Promise<void>
}

interface PackThread {
  readonly worker: Worker
  readonly exited: Promise<void>
  busy: boolean
  /** What killed it. */
  cause?: unknown
}

/** Threads are started when they are first needed, and kept; one that died is replaced. */
export function openPacker(options: { threads: number }): Packer {
  const threads = new Set<PackThread>()
  const waiting: ((thread: PackThread) => void)[] = []
  const closing = new AbortController()

  const start = (): PackThread => {
    const worker = new Worker(new URL('./pack-thread.js', import.meta.url), { resourceLimits: smallThread })
    const thread: PackThread = { worker, busy: false, exited: new Promise((resolve) => worker.once('exit', () => resolve())) }
    worker.on('error', (error) => {
      thread.cause = error
    })
    worker.on('exit', () => {
      threads.delete(thread)
      serve()
    })
    threads.add(thread)
    return thread
  }
  const freeThread = (): PackThread | undefined =>
    [...threads].find(({ busy }) => !busy) ?? (threads.size < options.threads ? start() : undefined)

  /** First come, first served. */
  const serve = () => {
    while (waiting.length > 0) {
      const thread = freeThread()
      if (thread === undefined) return
      thread.busy = true
      waiting.shift()?.(thread)
    }
  }
  const acquire = (stop: Stop): Promise<PackThread> =>
    new Promise((resolve, reject) => {
      const served = (thread: PackThread) => {
        stop.off(given)
        resolve(thread)
      }
      const given = (error: unknown) => {
        waiting.splice(waiting.indexOf(served), 1)
        reject(error)
      }
      waiting.push(served)
      stop.on(given)
      serve()
    })

  return {
    pack(request, { signal } = {}) {
      let settle: { resolve: (packed: Packed) => void; reject: (error: unknown) => void } | undefined
      const result = new Promise<Packed>((resolve, reject) => {
        settle = { resolve, reject }
      })
      result.catch(() => {}) // whoever takes the chunks hears of it too
      async function* chunks(): AsyncGenerator<Uint8Array> {
        const stop = stopOf(closing.signal, signal)
        try {
          stop.throwIfStopped()
          const thread = await acquire(stop)
          try {
            settle?.resolve(yield* packOn(thread, request, stop))
          } finally {
            thread.busy = false
            serve()
          }
        } catch (error) {
          settle?.reject(error)
          throw error
        } finally {
          stop.end()
          settle?.reject(new FirnError('failed', 'the packing was given up'))
        }
      }
      return { chunks: chunks(), result }
    },
    async close() {
      closing.abort(new FirnError('failed', 'packing was ended'))
      // Never terminate(): an addon that a thread is just loading would then take the whole process down.
      for (const { worker } of threads) worker.postMessage(undefined)
      await Promise.all([...threads].map(({ exited }) => exited))
    },
  }
}

/** Whatever may end a packing from outside. */
interface Stop {
  throwIfStopped(): void
  /** One listener at a time. */
  on(listener: (error: unknown) => void): void
  off(listener: (error: unknown) => void): void
  end(): void
}

function stopOf(...signals: (AbortSignal | undefined)[]): Stop {
  let listener: ((error: unknown) => void) | undefined
  const given = signals.filter((signal) => signal !== undefined)
  const aborted = ({ target }: Event) => listener?.((target as AbortSignal).reason)
  for (const signal of given) signal.addEventListener('abort', aborted, { once: true })
  return {
    throwIfStopped() {
      for (const signal of given) signal.throwIfAborted()
    },
    on(added) {
      listener = added
    },
    off(removed) {
      if (listener === removed) listener = undefined
    },
    end() {
      for (const signal of given) signal.removeEventListener('abort', aborted)
    },
  }
}

async function* packOn(thread: PackThread, request: PackRequest, stop: Stop): AsyncGenerator<Uint8Array, Packed> {
  stop.throwIfStopped()
  const { worker } = thread
  const { port1: port, port2 } = new MessageChannel()
  const state = new Int32Array(new SharedArrayBuffer(4 * (AWAY + BUFFERS)))
  const memories: SharedArrayBuffer[] = []
  const inbox: FromThread[] = []
  let failure: { error: unknown } | undefined
  let wake = () => {}
  const arrived = (message: FromThread) => {
    inbox.push(message)
    wake()
  }
  // At once, and not when the chunks are asked for again: whoever takes them may hang, and the thread waits for its buffers.
  const freeThread = () => {
    Atomics.store(state, STOPPED, 1)
    wakeThread(state)
  }
  const failed = (error: unknown) => {
    failure ??= { error }
    freeThread()
    wake()
  }
  const died = () => failed(new FirnError('failed', 'a packing thread ended unexpectedly', { cause: thread.cause }))
  port.on('message', arrived)
  worker.on('exit', died)
  stop.on(failed)
  worker.postMessage({ ...request, state, port: port2 } satisfies PackTask, [port2])
  try {
    for (;;) {
      if (failure !== undefined) throw failure.error
      const message = inbox.shift()
      if (message === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        continue
      }
      if (message.kind === 'failed') throw new FirnError(message.code, message.message, { cause: message.cause })
      if (message.kind === 'packed') return message.packed
      const { buffer, bytes, memory } = message
      if (memory !== undefined) memories[buffer] = memory
      yield new Uint8Array(memories[buffer] as SharedArrayBuffer, 0, bytes)
      Atomics.store(state, AWAY + buffer, 0)
      wakeThread(state)
    }
  } finally {
    stop.off(failed)
    worker.off('exit', died)
    freeThread()
    port.close()
  }
}

function wakeThread(state: Int32Array): void {
  Atomics.add(state, CHANGES, 1)
  Atomics.notify(state, CHANGES)
}
