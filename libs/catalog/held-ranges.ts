/**
 * "Did anything change in here?" for whole ranges of names: Postgres hashes the rows where they are, and says a letter for each range.
 * Looking at 100,000 rows one by one, only to see that they are as before, took a third of an unchanged run.
 */
import type { NameRange } from '#libs/bundle/name-ranges.js'
import type { Raw } from '#libs/os/raw.js'
import type { HeldLookup } from './catalog.js'
import type { Covers } from './covers.js'
import type { Runs } from './database.js'
import { directoryByPath, toBytes } from './directories.js'
import { isKept, lookedAt, withStored } from './held-stored.js'

type Answer = Awaited<ReturnType<HeldLookup['match']>>[number]

/** SQL: names may have several versions, of which the newest counts. So many rows of a range are read; where there are more, it is looked at. */
const MOST_ROWS = 'r.entries * 4 + 16'

/** SQL: of what is not gone. */
const HERE = 'FILTER (WHERE NOT is_gone)'

/**
 * The columns and their order are those of `nameRanges`. What that hash does not cover is asked beside it: a row that changed while it was
 * read, times that have no room in their columns, a set of its own.
 */
const MATCH = `
  WITH r AS MATERIALIZED (
    SELECT r.*, d.id, ${lookedAt('d.id', '$10::int')} AS looked FROM unnest($2::text[], $3::text[], $4::text[], $6::int[], $7::text[], $9::float8[])
      WITH ORDINALITY AS r (directory, first, last, entries, sha256, cover, ord)
    CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('r.directory'))}
  ), ${withStored(`
    SELECT r.ord, r.looked, f.* FROM r CROSS JOIN LATERAL (
      SELECT name, bundle, type, size, mtime_ns, ctime_ns, ino, state, data_bundle, extra FROM file
      WHERE directory = r.id AND name >= ${toBytes('r.first')} AND (r.last IS NULL OR name <= ${toBytes('r.last')})
      ORDER BY name LIMIT ${MOST_ROWS}
    ) f`)},
  missing AS MATERIALIZED (
    SELECT r.ord, g.name, g.at FROM r CROSS JOIN LATERAL (
      SELECT name, max(at) AS at FROM gone
      WHERE directory = r.id AND name >= ${toBytes('r.first')} AND (r.last IS NULL OR name <= ${toBytes('r.last')}) AND NOT removed
      GROUP BY name OFFSET 0
    ) g
  ),
  newest AS (
    SELECT n.*, coalesce(missing.at >= archived_at, FALSE) AS is_gone
    FROM (SELECT DISTINCT ON (ord, name) * FROM stored ORDER BY ord, name, archived_at DESC, number DESC) n
    LEFT JOIN missing USING (ord, name)
  ),
  held AS (
    SELECT ord, sha256(string_agg(record_send(ROW(name, type, size, mtime_ns, ctime_ns, ino)), '' ORDER BY name) ${HERE}) AS sha256,
      bool_and(state = 0 AND NOT coalesce(extra ? 'times', FALSE) AND set IS DISTINCT FROM $8
        AND ${isKept('newest', '$10::int', 'newest.looked')}) ${HERE} AS plain,
      min(archived_at) ${HERE} AS since, count(*) FILTER (WHERE is_gone) AS absent
    FROM newest GROUP BY ord
  ),
  known AS (SELECT ord, count(*) AS rows, count(DISTINCT name) AS names FROM rows GROUP BY ord)
  SELECT string_agg(r.ord || CASE
    WHEN known.rows >= ${MOST_ROWS} OR NOT held.plain OR held.sha256 <> decode(r.sha256, 'hex') OR held.sha256 IS NULL
      OR extract(epoch FROM held.since) * 1000 <= r.cover THEN 'l'
    WHEN known.names - held.absent = r.entries THEN 'w' ELSE 's' END, ' ')
  FROM known JOIN r USING (ord) LEFT JOIN held USING (ord)`

/** What is asked about: numbers of the host and the vault, and what shall be kept, as bits. */
export interface HeldPlace {
  readonly host: number
  readonly vault: number
  readonly asked: number
  /** Where anything of the host was ever gone. */
  readonly covers?: Covers
}

export async function matchStored(
  database: Runs,
  { host, vault, covers, asked }: HeldPlace,
  ranges: readonly NameRange[],
  { setId, wholes }: NonNullable<Parameters<HeldLookup['match']>[1]> = {},
): Promise<Answer[]> {
  // What has no hash is looked at in any case.
  const ranged = ranges.flatMap((range, index) => (range.sha256 === undefined ? [] : { ...range, index }))
  const answers: Answer[] = ranges.map(({ sha256 }) => (sha256 === undefined ? 'look' : 'none'))
  if (ranged.length === 0) return answers
  const isWhole = (directory: Raw) => wholes?.has(directory) === true
  const cover = await covers?.of(
    host,
    ranged.map(({ directory }) => directory),
  )
  const rows = await database.texts(
    MATCH,
    [
      host,
      ranged.map(({ directory }) => directory),
      ranged.map(({ directory, first }) => (isWhole(directory) ? '' : first)),
      ranged.map(({ directory, last }) => (isWhole(directory) ? null : last)),
      vault,
      ranged.map(({ entries }) => entries),
      ranged.map(({ sha256 }) => sha256),
      setId ?? null,
      ranged.map(({ directory }) => cover?.get(directory) ?? 0),
      asked,
    ],
    { name: 'match' },
  )
  for (const word of rows[0]?.[0]?.split(' ') ?? []) {
    const range = ranged[Number.parseInt(word, 10) - 1]
    if (range === undefined) continue
    const same = isWhole(range.directory) && word.endsWith('w') ? 'whole' : 'same'
    answers[range.index] = word.endsWith('l') ? 'look' : same
  }
  return answers
}
