/** Waiting before the next try. */
import { setTimeout as delay } from 'node:timers/promises'

/** Of any try: longer ones than this help nobody who waits. */
export const LONGEST_PAUSE_MS = 20_000

/**
 * How long before the try after `tried` ones, in ms: `first`, doubled with each try, and half of it by chance, for those that failed
 * together shall not come back together.
 */
export const backOff = (first: number, tried: number, longest = Number.POSITIVE_INFINITY): number =>
  Math.min(longest, first * 2 ** (tried - 1)) * (0.5 + Math.random() / 2)

/** Waits; called off by the signal, it throws the signal's reason. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal ? { signal } : {})
  } catch {
    throw signal?.reason
  }
}
