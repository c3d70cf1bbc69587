/** The source that walks local file systems, on a thread of its own: a directory of a million entries must not stop the heart. */
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { PlannedEntry } from '#libs/bundle/entry.js'
import { decodePlan } from '#libs/bundle/plan.js'
import { FirnError } from '#libs/errors/errors.js'
import { smallThread } from '#libs/os/memory.js'
import { type ThreadStarter, threadStarter } from '#libs/os/thread-starter.js'
import type { Source, WalkPage, WalkRequest } from '../source.js'
import { compileFilters } from './filters.js'
import { PAGES, PAGES_AHEAD, STOPPED, type WalkMessage, type WalkThreadData } from './walk-messages.js'

/** What takes a while to start may start before the walk is asked for. */
export interface TreeSource extends Source {
  prepare(): void
  /** Ends what was prepared for nothing. */
  close(): Promise<void>
}

export function openTreeSource(): TreeSource {
  const threads = threadStarter(new URL('./walk-thread.js', import.meta.url), smallThread)
  return { walk: (request, { signal } = {}) => walk(threads, request, signal), prepare: threads.prepare, close: threads.close }
}

async function* walk(threads: ThreadStarter, request: WalkRequest, signal: AbortSignal | undefined): AsyncGenerator<WalkPage> {
  signal?.throwIfAborted()
  // A pattern that cannot be read is known here: errors that come over from a thread have lost their code.
  compileFilters(request)
  const state = new Int32Array(new SharedArrayBuffer(8))
  Atomics.store(state, PAGES, PAGES_AHEAD)
  const { port1, port2 } = new MessageChannel()
  const thread = threads.start({ request, state, port: port2 } satisfies WalkThreadData, [port2])

  // Holds at most the pages that the thread may be ahead.
  const inbox: WalkMessage[] = []
  let wake = () => {}
  const arrived = (message: WalkMessage) => {
    inbox.push(message)
    wake()
  }
  const aborted = () => arrived({ kind: 'error', error: signal?.reason })
  port1.on('message', arrived)
  thread.on('error', (error) => arrived({ kind: 'error', error }))
  const exited = new Promise((resolve) => thread.once('exit', resolve))
  thread.on('exit', () => {
    // What it posted may still be under way. After its last word this is not read any more.
    for (let last = receiveMessageOnPort(port1); last !== undefined; last = receiveMessageOnPort(port1)) arrived(last.message)
    arrived({ kind: 'error', error: new FirnError('failed', 'The thread that walks the tree ended too early.') })
  })
  signal?.addEventListener('abort', aborted, { once: true })
  try {
    for (;;) {
      signal?.throwIfAborted()
      const message = inbox.shift()
      if (message === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        continue
      }
      if (message.kind === 'end') return
      if (message.kind === 'error') throw message.error
      Atomics.add(state, PAGES, 1)
      Atomics.notify(state, PAGES)
      yield pageOf(message)
    }
  } finally {
    signal?.removeEventListener('abort', aborted)
    Atomics.store(state, STOPPED, 1)
    Atomics.add(state, PAGES, 1) // so that it does not go to sleep after this
    Atomics.notify(state, PAGES)
    port1.close()
    // It looks at every entry whether to stop. Never terminate(): an addon that is being loaded then takes the whole process down.
    await exited
  }
}

/** Whose entries are read when they are asked for: of what did not change nobody does. */
function pageOf({ plan, ...page }: Extract<WalkMessage, { kind: 'page' }>): WalkPage {
  let entries: PlannedEntry[] | undefined
  return {
    ...page,
    get entries() {
      entries ??= decodePlan(plan)
      return entries
    },
  }
}
