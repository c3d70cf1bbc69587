/** The main thread's end of one placing thread: each request is answered once, and memory for bytes goes back and forth. */
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { smallThread } from '#libs/os/memory.js'
import { type ThreadStarter, threadStarter } from '#libs/os/thread-starter.js'
import type { Reply, Request, ThreadData } from './messages.js'
import { type Failure, failureOf } from './obstacle.js'
import { brokenBy } from './target.js'

export interface Thread {
  ask(request: Request): Promise<Reply>
  /** How many requests have no answer yet. */
  waiting(): number
  /** Gives up what is under way. Safe to call twice. */
  close(): Promise<void>
}

export const placingThreads = (): ThreadStarter => threadStarter(new URL('./thread.js', import.meta.url), smallThread)

/** `onBuffer`: the memory of a request's bytes is free again. */
export function startThread(
  starter: ThreadStarter,
  data: Omit<ThreadData, 'stop'>,
  onBuffer: (buffer: ArrayBuffer) => void,
): Thread {
  const stop = new SharedArrayBuffer(4)
  const worker = starter.start({ ...data, stop } satisfies ThreadData)
  const waiting = new Map<number, { resolve: (reply: Reply) => void; reject: (error: unknown) => void }>()
  let asked = 0
  let ended: unknown
  let closing: Promise<void> | undefined

  function end(error: unknown): void {
    ended ??= error
    for (const { reject } of waiting.values()) reject(ended)
    waiting.clear()
  }

  worker.on(
    'message',
    ({ id, reply, failure }: { id: number } & ({ reply: Reply; failure?: never } | { reply?: never; failure: Failure })) => {
      const asker = waiting.get(id)
      waiting.delete(id)
      // A process that only forgot to close shall end; one that waits for an answer shall not.
      if (waiting.size === 0) worker.unref()
      if (reply?.buffer) onBuffer(reply.buffer)
      if (reply) asker?.resolve(reply)
      else asker?.reject(brokenBy(data.target.path, failure as Failure))
    },
  )
  worker.on('error', (error) =>
    end(
      errnoOf(error) === undefined
        ? new FirnError('failed', `The thread that places files broke off: ${error.message}.`, { cause: error })
        : brokenBy(data.target.path, failureOf(error)),
    ),
  )
  worker.on('exit', () => end(new FirnError('failed', 'The thread that places files has ended.')))
  worker.unref()

  const ask = (request: Request): Promise<Reply> =>
    new Promise((resolve, reject) => {
      if (ended) return reject(ended)
      const id = ++asked
      waiting.set(id, { resolve, reject })
      worker.ref()
      const bytes = request.kind === 'work' ? request.bytes : undefined
      worker.postMessage({ id, request }, bytes ? [bytes.buffer] : [])
    })

  return {
    ask,
    waiting: () => waiting.size,
    close() {
      closing ??= (async () => {
        Atomics.store(new Int32Array(stop), 0, 1)
        await ask({ kind: 'close' }).catch(() => {})
        await worker.terminate()
      })()
      return closing
    },
  }
}
