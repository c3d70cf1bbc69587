/**
 * The runs that may match a query, newest bundles first.
 *
 * A GIN index gives its finds in no order, and to sort all runs of a frequent word before the first hit takes seconds in a large
 * index. So the search goes back through the bundles in windows, a small one first, each eight times as wide as the one before while
 * little is found: whoever wants the newest thousand hits of a frequent word has them from the first window, and a rare word has seen
 * everything after a handful. No cursor and no connection is held between two pages, however long the consumer takes.
 */
import type { Query } from '../query.js'
import { phraseKeys } from './keys.js'
import type { Pool } from './pool.js'
import { firstRunOf } from './run.js'
import type { SetAnswers } from './sets.js'

/** Ids of runs that are asked for at once, and how many of them make a window wide enough. */
const IDS_AT_ONCE = 4_096
const ENOUGH_IDS = 256
/** Of the first window: some thousand runs where bundles have 1,000 files. */
const FIRST_BUNDLES = 64n
const WIDER = 8n
/** After a window without any: what lies there is rare, or of other sets, and each window costs a scan of the index. */
const FAR_WIDER = 64n

/** Lists of ids, descending. */
export async function* findRuns(
  pool: Pool,
  query: Query,
  sets: SetAnswers,
  options: { setIds?: readonly string[]; signal?: AbortSignal },
): AsyncGenerator<readonly bigint[]> {
  const { sql, values } = condition(query, sets, options.setIds)
  const [ends] = await pool.texts('SELECT min(id), max(id) FROM firn_search.run')
  if (ends?.[0] == null) return
  const lowest = BigInt(ends[0])
  let above = BigInt(ends[1] as string) + 1n
  let width = firstRunOf(FIRST_BUNDLES)
  while (above > lowest) {
    options.signal?.throwIfAborted()
    const from = above - width
    // OFFSET 0: never by walking all ids backwards in the hope to meet a match soon.
    const rows = await pool.texts(
      `SELECT id FROM (SELECT id FROM firn_search.run WHERE id >= $1 AND id < $2 AND ${sql} OFFSET 0) AS found
       ORDER BY id DESC LIMIT ${IDS_AT_ONCE}`,
      [from, above, ...values],
    )
    const ids = rows.map(([id]) => BigInt(id as string))
    above = ids.length < IDS_AT_ONCE ? from : (ids.at(-1) as bigint)
    if (ids.length < ENOUGH_IDS) width *= ids.length === 0 ? FAR_WIDER : WIDER
    if (ids.length > 0) yield ids
  }
}

/** For the columns of `run`; `$1` and `$2` are the window. Exclusions by path are left to the recheck: a hash must not exclude. */
function condition(query: Query, { have, excluded }: SetAnswers, setIds: readonly string[] | undefined) {
  const values: unknown[] = []
  const parameter = (value: unknown) => `$${values.push(value) + 2}`
  const hasKeys = (keys: readonly number[]) => `w OPERATOR(pg_catalog.@>) ${parameter(keys)}::int4[]`
  const ofSets = (ids: Iterable<string>) => `set_id = ANY(${parameter([...ids])}::text[])`

  const terms: string[] = []
  const plain = new Set<number>()
  for (const [i, phrase] of query.all.entries()) {
    const choices = phraseKeys(phrase)
    const ids = have[i] as ReadonlySet<string>
    if (choices.length === 1 && ids.size === 0) for (const key of choices[0] as number[]) plain.add(key)
    else terms.push(`(${[...choices.map(hasKeys), ...(ids.size > 0 ? [ofSets(ids)] : [])].join(' OR ')})`)
  }
  if (plain.size > 0) terms.push(hasKeys([...plain])) // one scan of the index for all of them
  if (excluded.size > 0) terms.push(`NOT ${ofSets(excluded)}`)
  if (setIds !== undefined) terms.push(ofSets(setIds))
  return { sql: terms.join(' AND '), values }
}
