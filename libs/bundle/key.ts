/**
 * How objects are called in a vault: `<yyyy>/<mm>/<set>/<bundle>.<attempt>.tar` and `.manifest.ndjson.gz` beside it; the records of the set
 * beside them, `set.<n>.ndjson.gz`.
 */

export interface BundleNames {
  /** Start of the set; its year and month (UTC) begin the key. */
  readonly startedAt: Date
  readonly setId: string
  readonly bundleId: string
  readonly attempt: number
}

export const bundleKey = (names: KeyNames): string => `${stem(names)}.tar`
export const manifestKey = (names: KeyNames): string => `${stem(names)}.manifest.ndjson.gz`

/** A key says the month, not the time: what `parseKey` gives can make the same key again. */
export type KeyNames = BundleNames | (Omit<BundleNames, 'startedAt'> & { readonly month: string })

const stem = (names: KeyNames): string => `${setDirectory(names)}/${names.bundleId}.${names.attempt}`

const setDirectory = (names: { setId: string } & ({ startedAt: Date } | { month: string })): string =>
  `${'month' in names ? names.month : names.startedAt.toISOString().slice(0, 7).replace('-', '/')}/${names.setId}`

export interface RecordNames {
  readonly month: string
  readonly setId: string
  /** Counts up from 1. */
  readonly n: number
}

export const recordKey = (names: RecordNames | (Omit<RecordNames, 'month'> & { readonly startedAt: Date })): string =>
  `${setDirectory(names)}/set.${names.n}.ndjson.gz`

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
const KEY = new RegExp(`^(\\d{4}/\\d{2})/(${UUID})/(${UUID})\\.([1-9]\\d{0,8})\\.(?:tar|manifest\\.ndjson\\.gz)$`)

/** The names in a key that Firn gave, of a tar or of a manifest; undefined for any other. */
export function parseKey(key: string): (Omit<BundleNames, 'startedAt'> & { readonly month: string }) | undefined {
  const [, month, setId, bundleId, attempt] = KEY.exec(key) ?? []
  if (month === undefined || setId === undefined || bundleId === undefined) return undefined
  return { month, setId, bundleId, attempt: Number(attempt) }
}

const RECORD_KEY = new RegExp(`^(\\d{4}/\\d{2})/(${UUID})/set\\.([1-9]\\d{0,8})\\.ndjson\\.gz$`)

/** The names in the key of a set's record; undefined for any other. */
export function parseRecordKey(key: string): RecordNames | undefined {
  const [, month, setId, n] = RECORD_KEY.exec(key) ?? []
  return month === undefined || setId === undefined ? undefined : { month, setId, n: Number(n) }
}
