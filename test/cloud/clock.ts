/** The emulator's time: the machine's, plus what a test let pass. Thaws, expiries and tokens go by it, so that days take no time. */

export interface Clock {
  now(): Date
  /** Lets this many milliseconds pass at once. */
  pass(ms: number): void
  /** Goes to a moment. */
  set(time: Date): void
  /**
   * What a caller's signature is judged by, and what the `Date` header says. It does not follow `pass`: the callers' clocks are this
   * machine's, and a signature five virtual hours old would be refused.
   */
  wall(): Date
  /** Puts the server's clock off from the callers', for tests of signatures that come too late or too early. */
  skew(ms: number): void
}

export function virtualClock(): Clock {
  let added = 0
  let skewed = 0
  return {
    now: () => new Date(Date.now() + added),
    pass(ms) {
      added += ms
    },
    set(time) {
      added = time.getTime() - Date.now()
    },
    wall: () => new Date(Date.now() + skewed),
    skew(ms) {
      skewed = ms
    },
  }
}

export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS
