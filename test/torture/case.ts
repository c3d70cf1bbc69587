/** What a case of the torture is: one subject, run from one seed, on a directory of its own. */

/** `ci`: what fits into a run of continuous integration. `soak`: everything, for as long as it takes. */
export type Profile = 'ci' | 'soak'

/** `redis`: FIRN_TEST_REDIS_URL names one, and redis-server is there to start more. */
export type ServerName = 'redis'

export interface CaseContext {
  /** All that is random in a case comes from it: the same seed, the same run. */
  readonly seed: number
  readonly profile: Profile
  /** Empty, short, and open to the user of the database; removed after a case that passed. */
  readonly directory: string
  /** Adds to a counter that the run prints at its end: `count('kill points walked', 1)`. */
  count(what: string, n: number): void
  /** A line for whoever watches. */
  note(text: string): void
}

export interface Case {
  /** `kill/local`: what `--only` takes; `--only kill` runs all that begin with it. */
  readonly name: string
  /** It waits more than it works, or goes by the clock: it runs beside the others, from the beginning. */
  readonly waits?: boolean
  /** Servers that must be on this machine, or installed on it. */
  readonly needs?: readonly ServerName[]
  /** Not in the profile for CI. */
  readonly soakOnly?: boolean
  /** Throws when something does not hold. The message says what; the seed and the command that replays it are added. */
  run(context: CaseContext): Promise<void>
}
