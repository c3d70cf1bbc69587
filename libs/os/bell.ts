/** Waiting that somebody may cut short: for those who look every now and then, and need not wait when there is something to see. */
import { setTimeout as sleep } from 'node:timers/promises'

export interface Bell {
  /** Wakes who waits, if anybody does. */
  ring(): void
  /** Until it rings, but no longer than so many milliseconds. Throws the reason of a signal that is aborted. One waits at a time. */
  wait(ms: number, signal?: AbortSignal): Promise<void>
}

export function createBell(): Bell {
  let wake = new AbortController()
  return {
    ring: () => wake.abort(),
    async wait(ms, signal) {
      wake = new AbortController()
      const ends = signal ? AbortSignal.any([signal, wake.signal]) : wake.signal
      await sleep(ms, undefined, { signal: ends }).catch(() => signal?.throwIfAborted())
    },
  }
}
