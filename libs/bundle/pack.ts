/**
 * Packing: from a plan to the bytes of a tar, on threads of their own. Small files cost a few synchronous system calls each; the bytes go
 * round in a fixed set of buffers between the thread and whoever stores them, so memory does not grow with files or their sizes.
 */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { FirnError } from '#libs/errors/errors.js'
import type { Problem } from './entry.js'
import type { ManifestHeader } from './manifest.js'
import { FREE, type FromThread, type PackTask, STOPPED } from './pack-messages.js'

export interface PackRequest {
  readonly header: ManifestHeader
  /** Made by `encodePlan`. */
  readonly plan: Uint8Array
  /** xattrs: all but CIFS security descriptors (NFSv4 and POSIX ACLs among them). cifs: those. */
  readonly keep: { readonly xattrs: boolean; readonly cifs: boolean }
}

export interface Packed {
  readonly tarBytes: number
  readonly tarSha256: string
  /** As it stands in the tar. */
  readonly manifest: Uint8Array
  readonly problems: Problem[]
}

export interface Packing {
  /** The tar, some 1 MiB at a time; the memory is valid until the next one is asked for. Ending early ends the packing. */
  readonly chunks: AsyncIterable<Uint8Array>
  /** Settles after the last chunk. */
  readonly result: Promise<Packed>
}

export interface Packer {
  /** Waits for a free thread where all are at work. */
  pack(request: PackRequest, options?: { signal?: AbortSignal }): Packing
  close(): Promise<void>
}

interface PackThread {
  readonly worker: Worker
  busy: boolean
}

/** Threads are started when they are first needed, and kept. */
export function openPacker(options: { threads: number }): Packer {
  const threads: PackThread[] = []
  const waiting: ((thread: PackThread) => void)[] = []

  const acquire = (): PackThread | Promise<PackThread> => {
    const idle = threads.find(({ busy }) => !busy)
    if (idle !== undefined) {
      idle.busy = true
      return idle
    }
    if (threads.length >= options.threads) return new Promise((resolve) => waiting.push(resolve))
    const thread: PackThread = { worker: new Worker(new URL('./pack-thread.js', import.meta.url)), busy: true }
    // A thread that died is replaced by the next packing; whom it was working for hears of it by its port.
    thread.worker.on('error', () => {})
    thread.worker.on('exit', () => {
      const index = threads.indexOf(thread)
      if (index >= 0) threads.splice(index, 1)
    })
    threads.push(thread)
    return thread
  }
  const release = (thread: PackThread) => {
    const next = waiting.shift()
    if (next !== undefined) next(thread)
    else thread.busy = false
  }

  return {
    pack(request, { signal } = {}) {
      let settle: { resolve: (packed: Packed) => void; reject: (error: unknown) => void } | undefined
      const result = new Promise<Packed>((resolve, reject) => {
        settle = { resolve, reject }
      })
      result.catch(() => {}) // whoever takes the chunks hears of it too
      async function* chunks(): AsyncGenerator<Uint8Array> {
        let packed: Packed | undefined
        try {
          signal?.throwIfAborted()
          const thread = await acquire()
          try {
            packed = yield* packOn(thread.worker, request, signal)
          } finally {
            release(thread)
          }
          settle?.resolve(packed)
        } catch (error) {
          settle?.reject(error)
          throw error
        } finally {
          settle?.reject(new Error('the packing was given up'))
        }
      }
      return { chunks: chunks(), result }
    },
    async close() {
      await Promise.all(threads.map(({ worker }) => worker.terminate()))
    },
  }
}

async function* packOn(
  worker: Worker,
  request: PackRequest,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, Packed> {
  const { port1: port, port2 } = new MessageChannel()
  const state = new Int32Array(new SharedArrayBuffer(8))
  const inbox: FromThread[] = []
  let wake = () => {}
  const arrived = (message: FromThread) => {
    inbox.push(message)
    wake()
  }
  const aborted = () => arrived({ kind: 'error', error: signal?.reason })
  const died = () => arrived({ kind: 'error', error: new FirnError('failed', 'a packing thread ended unexpectedly') })
  port.on('message', arrived)
  worker.on('exit', died)
  signal?.addEventListener('abort', aborted, { once: true })
  worker.postMessage({ ...request, state, port: port2 } satisfies PackTask, [port2])
  try {
    for (;;) {
      const message = inbox.shift()
      if (message === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        continue
      }
      if (message.kind === 'error') throw message.error
      if (message.kind === 'packed') return message.packed
      yield message.chunk
      giveBack(port, state, message.chunk)
    }
  } finally {
    signal?.removeEventListener('abort', aborted)
    worker.off('exit', died)
    Atomics.store(state, STOPPED, 1)
    Atomics.add(state, FREE, 1) // wakes a thread that waits for a buffer
    Atomics.notify(state, FREE)
    port.close()
  }
}

function giveBack(port: MessagePort, state: Int32Array, chunk: Uint8Array): void {
  port.postMessage(chunk.buffer, [chunk.buffer as ArrayBuffer])
  Atomics.add(state, FREE, 1)
  Atomics.notify(state, FREE)
}
