/**
 * How fast requests begin, for all of a vault together. As fast as they come, until the service asks for fewer: then none begins for a
 * while, and after that at half the rate, one by one; half of that when it asks again; and with every answer a little faster, until
 * nobody has to wait any more. Without it all who waited would begin at the same moment, and be refused again.
 */
import { backOff, LONGEST_PAUSE_MS, pause } from './pause.js'

export interface Pacer {
  /** Waits until a request may begin; called off by the signal, it throws the signal's reason. */
  turn(signal?: AbortSignal): Promise<Turn>
}

/** Told how the request went: one of them, or neither where that says nothing of the rate. */
export interface Turn {
  answered(): void
  /** The service asks for fewer requests: none begins for a while, a longer one the more often this request was tried. */
  refused(tried: number): void
}

/** Time, for tests that have their own. */
export interface PaceClock {
  now(): number
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void>
}

export interface PacerOptions {
  /** The first pause of a request that failed for another reason. The first of a refused one, and how long a gap may grow, follow from it. */
  readonly pauseMs: number
  readonly clock?: PaceClock
}

/** Not `Date.now`, which steps when somebody sets the clock: a pace must not wait for an hour that was taken back. */
const REAL: PaceClock = { now: () => performance.now(), sleep: pause }

/** A service that asks for fewer requests may do so for a minute. */
export const THROTTLED_TRIES = 8
/** The pauses of a refused request, in those of others. */
const HOLD = 4
/** Of the first hold: the least gap that is kept at all, and the longest between two requests. */
const LEAST_GAP = 1 / 16
const LONGEST_GAP = 2
/** After an answer. From the longest gap to none takes some two hundred of them. */
const FASTER = 0.98

export function openPacer({ pauseMs, clock = REAL }: PacerOptions): Pacer {
  const firstHoldMs = pauseMs * HOLD
  const leastGap = firstHoldMs * LEAST_GAP
  const longestGap = firstHoldMs * LONGEST_GAP
  let gap = 0
  /** No request begins before. */
  let notBefore = 0
  /** Requests that began before the rate was lowered say nothing about the lower one. */
  let lowered = 0
  /** First come, first served. */
  let line: Promise<unknown> = Promise.resolve()
  let waiting = 0
  let lastStart = clock.now()
  let usualGap = firstHoldMs

  function begin(): Turn {
    const now = clock.now()
    usualGap += (Math.min(now - lastStart, firstHoldMs) - usualGap) / 8
    lastStart = now
    notBefore = Math.max(notBefore, now + gap)
    const epoch = lowered
    return {
      answered() {
        gap *= FASTER
        if (gap < leastGap / 2) gap = 0
      },
      refused(tried) {
        if (epoch === lowered) {
          lowered++
          gap = Math.min(longestGap, Math.max(leastGap, 2 * gap, 2 * usualGap))
        }
        notBefore = Math.max(notBefore, clock.now() + backOff(firstHoldMs, tried, LONGEST_PAUSE_MS))
      },
    }
  }

  return {
    async turn(signal) {
      signal?.throwIfAborted()
      // Where nobody waits, none is kept waiting.
      if (waiting === 0 && notBefore <= clock.now()) return begin()
      waiting++
      const before = line
      const mine = (async () => {
        await before
        while (!signal?.aborted) {
          const wait = notBefore - clock.now()
          if (wait <= 0) return begin()
          await clock.sleep(wait, signal)
        }
        throw signal.reason
      })().finally(() => {
        waiting--
      })
      line = mine.catch(() => {})
      return calledOff(mine, signal)
    },
  }
}

/** Who is called off leaves at once, also from the middle of a line. */
async function calledOff<T>(mine: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return mine
  let leave = () => {}
  const left = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason)
    signal.addEventListener('abort', leave, { once: true })
  })
  try {
    return await Promise.race([mine, left])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
