/**
 * How every request goes out: tried again with longer and longer pauses while the trouble may pass, all requests of a vault slowed down
 * together when the service asks for fewer, credentials fetched anew when they expired. The SDK's own retries are switched off: they
 * share a small budget for all requests, and hide whether an earlier try may have happened.
 */
import { openPacer, type PaceClock, THROTTLED_TRIES } from '../pacer.js'
import { backOff, LONGEST_PAUSE_MS, pause } from '../pause.js'
import { troubleOf } from '../service-error.js'

/** Calls may be called off; `undefined` is passed on as it came. */
export interface Signalled {
  readonly signal?: AbortSignal | undefined
}

export interface Patient extends Signalled {
  /** In all. */
  readonly tries?: number
}

export interface SendOptions extends Patient {
  /** Called before each further try: the try that failed may have happened all the same. */
  readonly onRetry?: (error: unknown) => void
}

export type Send = <T>(attempt: (call: { abortSignal?: AbortSignal }) => Promise<T>, options?: SendOptions) => Promise<T>

export interface SenderOptions {
  /** Asks the chain of credentials again. */
  readonly renew: () => Promise<unknown>
  /** The first pause. */
  readonly pauseMs?: number
  /** For tests: the time that the pace is kept by. */
  readonly clock?: PaceClock
}

const TRIES = 4
/** Of each request that stores something: a minute of trouble, or so, is sat out, before a whole bundle is sent again. */
export const STORING_TRIES = 9

export function openSender({ renew, pauseMs = 150, clock }: SenderOptions): Send {
  const pacer = openPacer({ pauseMs, ...(clock && { clock }) })
  let renewing: Promise<unknown> | undefined

  return async (attempt, { signal, tries, onRetry } = {}) => {
    let renewed = false
    let corrected = false
    for (let tried = 1; ; ) {
      const turn = await pacer.turn(signal)
      try {
        const answer = await attempt(signal ? { abortSignal: signal } : {})
        turn.answered()
        return answer
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
          const throttled = trouble === 'throttled'
          if (throttled) turn.refused(tried)
          else if (trouble !== 'passing') {
            turn.answered()
            throw error
          }
          if (tried >= (tries ?? (throttled ? THROTTLED_TRIES : TRIES))) throw error
          if (!throttled) await pause(backOff(pauseMs, tried, LONGEST_PAUSE_MS), signal)
          tried++
        }
        onRetry?.(error)
      }
    }
  }
}
