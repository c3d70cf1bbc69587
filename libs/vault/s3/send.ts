/**
 * How every request goes out: tried again with longer and longer pauses while the trouble may pass, all requests of a vault held back
 * together when the service asks for fewer, credentials fetched anew when they expired. The SDK's own retries are switched off: they
 * share a small budget for all requests, and hide whether an earlier try may have happened.
 */
import { backOff, pause } from '../pause.js'
import { troubleOf } from '../service-error.js'

/** Calls may be called off; `undefined` is passed on as it came. */
export interface Signalled {
  readonly signal?: AbortSignal | undefined
}

export interface SendOptions extends Signalled {
  /** In all. */
  readonly tries?: number
  /** Called before each further try: the try that failed may have happened all the same. */
  readonly onRetry?: (error: unknown) => void
}

export type Send = <T>(attempt: (call: { abortSignal?: AbortSignal }) => Promise<T>, options?: SendOptions) => Promise<T>

export interface SenderOptions {
  /** Asks the chain of credentials again. */
  readonly renew: () => Promise<unknown>
  /** The first pause. */
  readonly pauseMs?: number
}

const TRIES = 4
const LONGEST_PAUSE_MS = 20_000
/** A throttled request waits so many times longer. */
const THROTTLED = 4

export function openSender({ renew, pauseMs = 150 }: SenderOptions): Send {
  /** No request of this vault begins before. */
  let heldUntil = 0
  let renewing: Promise<unknown> | undefined

  async function turn(signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      const wait = heldUntil - Date.now()
      if (wait <= 0) return
      // Not all at the same moment again.
      await pause(wait * (1 + Math.random() / 4), signal)
    }
  }

  return async (attempt, { signal, tries = TRIES, onRetry } = {}) => {
    let renewed = false
    let corrected = false
    for (let tried = 1; ; ) {
      signal?.throwIfAborted()
      await turn(signal)
      try {
        return await attempt(signal ? { abortSignal: signal } : {})
      } catch (error) {
        signal?.throwIfAborted()
        const trouble = troubleOf(error)
        if (trouble === 'expired' && !renewed) {
          renewed = true
          // Several parts find it at once; one of them asks.
          renewing ??= renew().finally(() => {
            renewing = undefined
          })
          await renewing.catch(() => {})
        } else if (trouble === 'skewed' && !corrected) {
          corrected = true // the SDK has learnt the service's time from its answer
        } else {
          if ((trouble !== 'throttled' && trouble !== 'passing') || tried >= tries) throw error
          const wait = backOff(pauseMs * (trouble === 'throttled' ? THROTTLED : 1), tried, LONGEST_PAUSE_MS)
          if (trouble === 'throttled') heldUntil = Math.max(heldUntil, Date.now() + wait)
          else await pause(wait, signal)
          tried++
        }
        onRetry?.(error)
      }
    }
  }
}
