/**
 * The retriever on duty: one at a time, whatever number of them runs; the others stand by. It looks when the queue says so (every
 * FIRN_CHECK_SECONDS, and at once when somebody asks for files), when the next bundle is expected, and by its own clock, should the
 * queue be silent. What was asked for with `--detach` is fetched beside that, so that nobody's thaw waits for another's files.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Catalog } from '#libs/catalog/catalog.js'
import type { JobQueue } from '#libs/queue/queue.js'
import { keepLease } from './keep-lease.js'
import { untilNextLook } from './retrieve.js'
import { RETRIEVER } from './retriever-duty.js'
import { sentence } from './thaw-items.js'
import { type FetchOptions, fetchDetached, lookAtThaws, type WatchParts } from './watch-retrievals.js'

export interface RetrieverParts extends WatchParts {
  readonly catalog: WatchParts['catalog'] & Pick<Catalog, 'takeDuty' | 'leaveDuty'>
  readonly queue: Pick<JobQueue, 'work' | 'every'>
}

export interface RetrieverOptions extends Omit<FetchOptions, 'tries'> {
  readonly checkSeconds: number
  /** Whether this one watches, or another does and this one stands by. */
  readonly onDuty?: (mine: boolean) => void
  /** How long to stand by between two tries to take the duty over. Default 5 s. */
  readonly standByMs?: number
}

/** Looks do not follow each other faster, however often somebody rings. */
const PAUSE_MS = 1_000
/** After something failed as a whole (the database, the queue), and before what was read in vain is read again. */
const TROUBLE_MS = 2_000

/** Takes the duty whenever it is free, and does it; until the signal. */
export async function runRetriever(parts: RetrieverParts, options: RetrieverOptions): Promise<void> {
  const { signal, standByMs = 5_000 } = options
  let mine: boolean | undefined
  while (!signal.aborted) {
    try {
      const taken = await parts.catalog.takeDuty(RETRIEVER, parts.owner, parts.isGone)
      if (taken !== mine) options.onDuty?.(taken)
      mine = taken
      if (taken) await doDuty(parts, options)
    } catch (error) {
      if (!signal.aborted) options.onTrouble?.('the retriever', sentence(error))
    }
    await pause(standByMs, signal)
  }
}

async function doDuty(parts: RetrieverParts, options: RetrieverOptions): Promise<void> {
  const { catalog, queue, owner } = parts
  const checkMs = options.checkSeconds * 1000
  await using duty = keepLease(() => catalog.takeDuty(RETRIEVER, owner, parts.isGone), options.signal)
  const { signal } = duty
  const own = { ...options, signal, tries: new Map<string, number>() }
  const lookBell = openBell(signal)
  const fetchBell = openBell(signal)
  const worker = await queue.work('watch-retrievals', async () => lookBell.ring(), { concurrency: 1 })
  const fetching = fetchWhenRung()
  try {
    while (!signal.aborted) {
      let nextAt: Date | undefined
      let failed = false
      const lookedAt = Date.now()
      try {
        await schedule()
        ;({ nextAt } = await lookAtThaws(parts, own))
      } catch (error) {
        if (signal.aborted) break
        failed = true
        options.onTrouble?.('the retriever', sentence(error))
      }
      fetchBell.ring()
      await pause(PAUSE_MS, signal)
      // By its own clock a little later than the queue's.
      const latest = failed ? TROUBLE_MS : checkMs * 1.1
      await lookBell.rung(untilNextLook(nextAt, lookedAt, latest))
    }
  } finally {
    await fetching
    await worker.stop(0)
    await catalog.leaveDuty(RETRIEVER, owner).catch(() => {})
  }

  /** Each time, as a queue that lost everything loses this, too. One that is away stops no look: there is the own clock. */
  async function schedule(): Promise<void> {
    try {
      await queue.every('watch-retrievals', {}, checkMs)
    } catch (error) {
      if (!signal.aborted) options.onTrouble?.('the queue', sentence(error))
    }
  }

  async function fetchWhenRung(): Promise<void> {
    while (!signal.aborted) {
      await fetchBell.rung(checkMs)
      try {
        // What froze again meanwhile must be looked at; what could not be read is tried again.
        if (!signal.aborted && (await fetchDetached(parts, own)).again) {
          await pause(TROUBLE_MS, signal)
          lookBell.ring()
        }
      } catch (error) {
        if (!signal.aborted) options.onTrouble?.('the retriever', sentence(error))
        await pause(TROUBLE_MS, signal)
      }
    }
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal }).catch(() => {})

/** Rung while nobody listens, it is heard by the next who does. */
function openBell(signal: AbortSignal): { ring(): void; rung(withinMs: number): Promise<void> } {
  let isRung = false
  let wake = () => {}
  signal.addEventListener('abort', () => wake(), { once: true })
  return {
    ring() {
      isRung = true
      wake()
    },
    async rung(withinMs) {
      if (!isRung && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, withinMs)
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
      isRung = false
    },
  }
}
