/** Descriptions and tags in the Postgres index: which phrases of a query whole sets have. */
import { hasPhrase, type Phrase, type Query, setReadings } from '../query.js'
import type { IndexedSet } from '../search-index.js'
import { addKeys, phraseKeys } from './keys.js'
import type { Pool } from './pool.js'

/** What the texts of sets say to a query. Exact. */
export interface SetAnswers {
  /** For each phrase of `query.all`, the sets that have it. */
  readonly have: readonly ReadonlySet<string>[]
  /** The sets that have a phrase which must not be. */
  readonly excluded: ReadonlySet<string>
}

/** Writes only what is new: it is called with every bundle. */
export async function putSet(pool: Pool, set: IndexedSet): Promise<void> {
  const description = clean(set.description)
  const tags = set.tags.map(clean)
  const keys = new Set<number>()
  for (const reading of setReadings(description, tags)) addKeys(keys, reading)
  await pool.texts(
    `INSERT INTO firn_search."set" AS s VALUES ($1, $2, $3, $4)
     ON CONFLICT (id) DO UPDATE SET description = excluded.description, tags = excluded.tags, w = excluded.w
     WHERE (s.description, s.tags) IS DISTINCT FROM (excluded.description, excluded.tags)`,
    [set.id, description, tags, [...keys]],
  )
}

export async function askSets(pool: Pool, query: Query): Promise<SetAnswers> {
  const phrases = [...query.all, ...query.none]
  const choices = phrases.flatMap(phraseKeys)
  const rows = await pool.texts(
    `SELECT id, to_json(description), to_json(tags) FROM firn_search."set"
     WHERE ${choices.map((_, i) => `w OPERATOR(pg_catalog.@>) $${i + 1}::int4[]`).join(' OR ')}`,
    choices,
  )
  const texts = rows.map(([id, description, tags]) => ({
    id: id as string,
    readings: setReadings(JSON.parse(description as string), JSON.parse(tags as string)),
  }))
  const having = (phrase: Phrase) => texts.filter(({ readings }) => readings.some((reading) => hasPhrase(reading, phrase)))
  const ids = (phrase: Phrase) => having(phrase).map(({ id }) => id)
  return { have: query.all.map((phrase) => new Set(ids(phrase))), excluded: new Set(query.none.flatMap(ids)) }
}

/** As Postgres takes text: without NUL, and without halves of surrogate pairs. Neither is part of a word. */
const clean = (text: string): string => text.replace(/\0|\p{Cs}/gu, ' ')
