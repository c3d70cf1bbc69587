/**
 * The placing threads of one target. One is always there, and does what must be done in order; others come when there is much to
 * place, for making a small file is mostly waiting for the kernel.
 */
import { availableParallelism } from 'node:os'
import type { ThreadStarter } from '#libs/os/thread-starter.js'
import type { Reply, Request, ThreadData } from './messages.js'
import { startThread, type Thread } from './thread-client.js'

export interface Threads {
  /** As many as this machine has processors, from now on. */
  grow(): void
  count(): number
  /** Lane 0 is the first thread. Without a lane: the one with the least to do. */
  ask(request: Request, lane?: number): Promise<Reply>
  askAll(request: Request): Promise<unknown>
  /** Memory for the bytes of a request; it comes back with the reply. */
  buffer(): ArrayBuffer
  /** Gives up what is under way. Safe to call twice. */
  close(): Promise<void>
}

const MOST_THREADS = 4
/** Many small files, or a part of a large one, for one message. */
const BUFFER_BYTES = 1024 * 1024

export function startThreads(starter: ThreadStarter, data: Omit<ThreadData, 'stop'>): Threads {
  const buffers: ArrayBuffer[] = []
  const start = () => startThread(starter, data, (buffer) => void buffers.push(buffer))
  const threads: Thread[] = [start()]
  const first = threads[0] as Thread
  const leastBusy = () => threads.reduce((least, thread) => (thread.waiting() < least.waiting() ? thread : least), first)

  return {
    grow() {
      while (threads.length < Math.min(MOST_THREADS, availableParallelism())) threads.push(start())
    },
    count: () => threads.length,
    ask: (request, lane) => (lane === undefined ? leastBusy() : (threads[lane % threads.length] as Thread)).ask(request),
    askAll: (request) => Promise.all(threads.map((thread) => thread.ask(request))),
    buffer: () => buffers.pop() ?? new ArrayBuffer(BUFFER_BYTES),
    async close() {
      await Promise.all(threads.map((thread) => thread.close()))
    },
  }
}
