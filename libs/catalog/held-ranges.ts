/**
 * "Did anything change in here?" for whole ranges of names: Postgres hashes the rows where they are, and says a letter for each range.
 * Looking at 100,000 rows one by one, only to see that they are as before, took a third of an unchanged run.
 */
import type { NameRange } from '#libs/bundle/name-ranges.js'
import type { HeldLookup } from './catalog.js'
import type { Runs } from './database.js'
import { directoryByPath, toBytes } from './directories.js'

type Answer = Awaited<ReturnType<HeldLookup['match']>>[number]
const ANSWERS: Readonly<Record<string, Answer>> = { s: 'same', n: 'none', l: 'look' }

/** How many of the bundles that have a `key` in `keys` are stored in the vault $6 and not the set $7's. LIMIT: a look-up by index each. */
const storedOf = (keys: string, key: string, own: string) =>
  `(SELECT count(*) FROM unnest(${keys}) AS u (key) CROSS JOIN LATERAL
     (SELECT FROM bundle b WHERE b.${key} = u.key AND b.state = 'stored' AND b.vault = $6${own} LIMIT 1) b)`

/**
 * The columns and their order are those of `nameRanges`. What that hash does not cover is asked beside it: a row that changed while it was
 * read, times that have no room in their columns, bundles that are not `stored` (any more). One row too many is enough to see that there are other
 * names or versions: there may be millions.
 */
const MATCH = `
  SELECT string_agg(r.ord || CASE
    WHEN held.rows = 0 THEN 'n'
    WHEN held.plain AND held.sha256 = decode(r.sha256, 'hex')
      AND ${storedOf('held.bundles', 'number', ' AND b.set IS DISTINCT FROM $7')} = cardinality(held.bundles)
      AND ${storedOf('held.data_bundles', 'id', '')} = coalesce(cardinality(held.data_bundles), 0) THEN 's'
    ELSE 'l' END, ' ')
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $8::int[]) WITH ORDINALITY AS r (directory, first, last, sha256, entries, ord)
  CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('r.directory'))}
  CROSS JOIN LATERAL (
    SELECT count(*) AS rows,
      sha256(string_agg(record_send(ROW(f.name, f.type, f.size, f.mtime_ns, f.ctime_ns, f.ino)), '' ORDER BY f.name)) AS sha256,
      bool_and(f.state = 0 AND NOT coalesce(f.extra ? 'times', FALSE)) AS plain,
      array_agg(DISTINCT f.bundle) AS bundles,
      array_agg(DISTINCT f.data_bundle) FILTER (WHERE f.data_bundle IS NOT NULL) AS data_bundles
    FROM (
      SELECT * FROM file f WHERE f.directory = d.id AND f.name >= ${toBytes('r.first')} AND f.name <= ${toBytes('r.last')}
      ORDER BY f.name LIMIT r.entries + 1
    ) f
  ) held`

export async function matchStored(
  database: Runs,
  place: { readonly host: number; readonly vault: number },
  ranges: readonly NameRange[],
  setId: string | undefined,
): Promise<Answer[]> {
  // What has no hash is looked at in any case.
  const asked = ranges.flatMap((range, index) => (range.sha256 === undefined ? [] : { ...range, index }))
  const answers: Answer[] = ranges.map(({ sha256 }) => (sha256 === undefined ? 'look' : 'none'))
  if (asked.length === 0) return answers
  const rows = await database.texts(
    MATCH,
    [
      place.host,
      asked.map(({ directory }) => directory),
      asked.map(({ first }) => first),
      asked.map(({ last }) => last),
      asked.map(({ sha256 }) => sha256),
      place.vault,
      setId ?? null,
      asked.map(({ entries }) => entries),
    ],
    { name: 'match' },
  )
  for (const word of rows[0]?.[0]?.split(' ') ?? []) {
    const range = asked[Number.parseInt(word, 10) - 1]
    if (range !== undefined) answers[range.index] = ANSWERS[word.at(-1) ?? ''] ?? 'look'
  }
  return answers
}
