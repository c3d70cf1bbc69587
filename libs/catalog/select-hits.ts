/**
 * What a search index found, judged by the catalog. All versions of each found path are looked at, and a path is emitted at one hit of
 * its own, so that nothing must be remembered of the pages before.
 */
import type { FindVerbs, LocatedRow, Selection } from './catalog.js'
import type { Runs } from './database.js'
import type { RowReader } from './row-reader.js'
import { passes } from './selection.js'
import { judgeOf } from './true-tree.js'
import { byPath, newestFirst } from './versions.js'

type Hits = Parameters<FindVerbs['selectHits']>[0]
type Matches = Parameters<FindVerbs['selectHits']>[2]
type SetWords = Parameters<Matches>[0]['set']

/** Rows whose versions are looked at together. */
const HITS_AT_ONCE = 500

export async function* selectHits<R extends LocatedRow>(
  database: Runs,
  reader: RowReader<R>,
  hits: Hits,
  selection: Selection,
  matches: Matches,
): AsyncGenerator<readonly R[]> {
  // An index has no directories: a path that is one now is found as the file that it was.
  const judge = judgeOf<R>(database, { ...selection, directories: false })
  const pass = passes(judge.wanted)
  const sets = new Map<string, SetWords>()
  for await (const page of hits) {
    for (let at = 0; at < page.length; at += HITS_AT_ONCE) {
      const asked = page.slice(at, at + HITS_AT_ONCE)
      const isHit = new Set(asked.map(({ bundleNumber, seq }) => `${bundleNumber}/${seq}`))
      const rows = (await versionsOf(reader, asked)).filter(pass)
      await learnSets(database, sets, rows)
      // What a path is now counts, whatever else is said of it.
      const matching = rows.filter(
        (row) => row.type === 'directory' || matches({ path: row.path, set: sets.get(row.setId) as SetWords }),
      )
      const own = (row: R) => isHit.has(`${row.bundleNumber}/${row.seq}`)
      const found = selection.allVersions
        ? (await judge.given(versionsByPath(matching))).filter(own)
        : await judge.given(await atTheirHit(database, matching, own))
      if (found.length > 0) yield found
    }
  }
}

/**
 * The versions of each path that has its hit among these: the newest version that the index has stands for it. So a newer version that is
 * not indexed yet is found by way of the older one.
 */
async function atTheirHit<R extends LocatedRow>(
  database: Runs,
  matching: readonly R[],
  own: (row: R) => boolean,
): Promise<R[][]> {
  const indexed = await indexedBundles(database, new Set(matching.map((row) => row.bundleNumber)))
  return versionsByPath(matching).filter((versions) => {
    const files = versions.filter(({ type }) => type !== 'directory')
    const standsFor = files.find((row) => indexed.has(row.bundleNumber)) ?? files[0]
    return standsFor !== undefined && own(standsFor)
  })
}

/** Of each path, the newest first. */
function versionsByPath<R extends LocatedRow>(matching: readonly R[]): R[][] {
  const versions = byPath(matching)
  for (const run of versions) run.sort(newestFirst)
  return versions
}

/** The inner statements keep it a look-up by index for each: a planner without statistics yet would rather read all files there are. */
const VERSIONS = (columns: string) => `
  SELECT ${columns}
  FROM (
    SELECT DISTINCT h.directory, h.name FROM unnest($1::int[], $2::int[]) AS u (bundle, seq)
    CROSS JOIN LATERAL (SELECT directory, name FROM file WHERE bundle = u.bundle AND seq = u.seq LIMIT 1) h
  ) k
  CROSS JOIN LATERAL (SELECT * FROM file WHERE directory = k.directory AND name = k.name OFFSET 0) f`

const versionsOf = <R>(reader: RowReader<R>, hits: readonly { bundleNumber: bigint; seq: number }[]): Promise<R[]> =>
  reader.read(VERSIONS(reader.columns), [hits.map((hit) => hit.bundleNumber), hits.map((hit) => hit.seq)])

async function indexedBundles(database: Runs, numbers: ReadonlySet<bigint>): Promise<Set<bigint>> {
  if (numbers.size === 0) return new Set()
  const { rows } = await database.query<{ number: bigint }>(
    'SELECT number FROM bundle WHERE number = ANY($1::bigint[]) AND indexed',
    [[...numbers]],
  )
  return new Set(rows.map(({ number }) => number))
}

/** Sets are few beside their files; those of one search fit in memory. */
async function learnSets(database: Runs, known: Map<string, SetWords>, rows: readonly LocatedRow[]): Promise<void> {
  const unknown = [...new Set(rows.map((row) => row.setId))].filter((id) => !known.has(id))
  if (unknown.length === 0) return
  const answer = await database.query<SetWords>('SELECT id, description, tags FROM "set" WHERE id = ANY($1::uuid[])', [unknown])
  for (const set of answer.rows) known.set(set.id, set)
}
