/** Dates in a vault may have been written by anybody: one far ahead would make its bundle the newest version of everything, for ever. */
import { FirnError } from '#libs/errors/errors.js'

/** Clocks differ; not by more than that. */
const MOST_AHEAD_MS = 86_400_000

export interface DateRules {
  /** Dates in the future are taken, dated by the vault's own clock: that of a worker may have been wrong. */
  readonly acceptDates?: boolean
  /** Milliseconds since 1970. Default `Date.now`. */
  readonly now?: () => number
}

/** The date, or `instead`, which is asked for only where it is needed. Throws `damaged`. `what` is dated so: `it`, `its manifest`. */
export async function believedDate(
  date: Date,
  what: string,
  { acceptDates = false, now = Date.now }: DateRules,
  instead: () => Promise<Date> | Date,
): Promise<Date> {
  if (date.getTime() <= now() + MOST_AHEAD_MS) return date
  if (acceptDates) return await instead()
  throw new FirnError(
    'damaged',
    `${what} is dated ${date.toISOString()}, in the future; with --accept-dates the time of the vault's object is taken instead`,
  )
}
