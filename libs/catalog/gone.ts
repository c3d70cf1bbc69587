/**
 * Names that are in the catalog and not in the tree any more. A crawl says what it found in a directory that it listed; whatever the newest
 * state holds there beside it is gone, as of the moment of the listing. Postgres compares: names of a large directory stay where they are.
 */
import { ENTRY_TYPES } from '#libs/bundle/entry.js'
import { joinRaw, nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import type { FoundNames, GoneName } from './catalog.js'
import { lastNotThere, openCovers } from './covers.js'
import type { Runs } from './database.js'
import { directoryByPath, pathBetween, toBytes, toRaw } from './directories.js'

const DIRECTORY = ENTRY_TYPES.indexOf('directory')

/**
 * SQL: of a directory `dir` and a range of its names, the newest stored version of each name that was neither gone nor removed since, as
 * `name`, `type`, `archived_at`.
 */
const newestIn = (dir: string, range: string) => `
  SELECT * FROM (
    SELECT DISTINCT ON (f.name) f.name, f.type, b.archived_at
    FROM (SELECT name, type, bundle FROM file WHERE directory = ${dir} AND ${range} OFFSET 0) f
    CROSS JOIN LATERAL (
      SELECT number, archived_at FROM bundle b WHERE b.number = f.bundle AND b.state IN ('stored', 'missing', 'damaged') LIMIT 1
    ) b
    ORDER BY f.name, b.archived_at DESC, b.number DESC
  ) n WHERE NOT coalesce((SELECT max(g.at) FROM gone g WHERE g.directory = ${dir} AND g.name = n.name) >= n.archived_at, FALSE)`

/**
 * SQL: of listings (directories $2, after $3, last $4, age in ms $5, ms of what covers them $6) and the names found in them (of which
 * listing $7, name $8, whether it is a directory $9, whether this crawl archives it $10), the names `missing` that the newest state of the
 * host $1 holds and that are not there, or are of another kind now. What is archived as another kind is `replaced`: its new version says it.
 */
const MISSING = `
  l AS MATERIALIZED (
    SELECT l.*, date_trunc('milliseconds', clock_timestamp() - l.age * interval '1 millisecond') AS at, d.id
    FROM unnest($2::text[], $3::text[], $4::text[], $5::float8[], $6::float8[])
      WITH ORDINALITY AS l (directory, after, last, age, cover, ord)
    CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('l.directory'))}
  ),
  found AS MATERIALIZED (
    SELECT ord, ${toBytes('name')} AS name, directory, archived
    FROM unnest($7::int[], $8::text[], $9::bool[], $10::bool[]) AS f (ord, name, directory, archived)
  ),
  candidates AS MATERIALIZED (
    SELECT DISTINCT h.ord, h.id, h.name, coalesce(f.archived, FALSE) AS replaced, f.directory AS is_directory
    FROM (
      SELECT l.ord, l.id, h.* FROM l CROSS JOIN LATERAL (
        SELECT name, type FROM file
        WHERE directory = l.id AND name > coalesce(${toBytes('l.after')}, '') AND (l.last IS NULL OR name <= ${toBytes('l.last')}) OFFSET 0
      ) h
    ) h LEFT JOIN found f USING (ord, name)
    WHERE f.name IS NULL OR f.directory <> (h.type = ${DIRECTORY})
  ),
  missing AS MATERIALIZED (
    SELECT l.ord, l.id, l.at, l.directory AS parent, c.replaced, n.* FROM candidates c JOIN l USING (ord)
    CROSS JOIN LATERAL (${newestIn('c.id', 'name = c.name')}) n
    WHERE (c.is_directory IS NULL OR c.is_directory <> (n.type = ${DIRECTORY}))
      AND n.archived_at <= l.at AND extract(epoch FROM n.archived_at) * 1000 > l.cover
  )`

/** SQL: how many files `missing` are, those below missing directories with them. ("0" is the byte after "/".) */
const COUNT_FILES = `
  SELECT count(*) AS files FROM (
    SELECT FROM missing WHERE type <> ${DIRECTORY}
    UNION ALL
    SELECT FROM (
      SELECT ${toBytes(`CASE parent WHEN '/' THEN '' ELSE parent END || '/'`)} || name AS path,
        ${lastNotThere('d.name')} AS cover
      FROM (SELECT id, name, parent FROM missing WHERE type = ${DIRECTORY}) d
    ) m
    CROSS JOIN LATERAL (
      SELECT id FROM directory WHERE host = $1 AND sha256(path) = sha256(m.path)
      UNION ALL
      SELECT id FROM directory WHERE host = $1 AND ${pathBetween(`m.path || '/'::bytea`, `m.path || '0'::bytea`)}
    ) d
    CROSS JOIN LATERAL (${newestIn('d.id', 'TRUE')}) f WHERE f.type <> ${DIRECTORY} AND (m.cover IS NULL OR f.archived_at > m.cover)
  ) all_of_them`

/** A name that was gone, came back and is gone again within one set: the later time is kept. */
const ADD = `
  INSERT INTO gone (directory, name, "set", removed, at) SELECT id, name, $11, FALSE, at FROM missing WHERE NOT replaced ORDER BY id, name
  ON CONFLICT (directory, name, "set", removed) DO UPDATE SET at = greatest(gone.at, excluded.at)`

const NOTE = `
  WITH ${MISSING}, noted AS (${ADD})
  UPDATE "set" SET files_gone = files_gone + (${COUNT_FILES}) WHERE id = $11 AND EXISTS (SELECT FROM missing)`

async function valuesOf(database: Runs, host: number, listings: readonly FoundNames[]): Promise<unknown[]> {
  const covers = await openCovers(database).of(
    host,
    listings.map(({ directory }) => directory),
  )
  const now = Number(process.hrtime.bigint() / 1_000_000n)
  const names = listings.flatMap((listing, index) => listing.names.map((name) => ({ ...name, ord: index + 1 })))
  return [
    host,
    listings.map(({ directory }) => directory),
    listings.map(({ after }) => after ?? null),
    listings.map(({ last }) => last ?? null),
    listings.map(({ listedAt }) => now - listedAt),
    listings.map(({ directory }) => covers.get(directory) ?? 0),
    names.map(({ ord }) => ord),
    names.map(({ name }) => name),
    names.map(({ isDirectory }) => isDirectory ?? null),
    names.map(({ isArchived }) => isArchived ?? false),
  ]
}

export async function noteGone(database: Runs, host: number, setId: string, listings: readonly FoundNames[]): Promise<void> {
  if (listings.length === 0) return
  await database.query(NOTE, [...(await valuesOf(database, host, listings)), setId], { name: 'note-gone' })
}

/** Of each listing, whether anything would be. */
export async function wouldBeGone(database: Runs, host: number, listings: readonly FoundNames[]): Promise<boolean[]> {
  if (listings.length === 0) return []
  const rows = await database.texts(
    `WITH ${MISSING} SELECT DISTINCT ord FROM missing WHERE NOT replaced`,
    await valuesOf(database, host, listings),
  )
  const any = new Set(rows.map(([ord]) => Number(ord)))
  return listings.map((_, index) => any.has(index + 1))
}

/** Before they are removed: what ends in between leaves a note of a file that is still there, which does no harm. */
export async function noteRemoved(database: Runs, host: number, setId: string, paths: readonly Raw[]): Promise<void> {
  if (paths.length === 0) return
  await database.query(
    `INSERT INTO gone (directory, name, "set", removed, at)
     SELECT d.id, ${toBytes('p.name')}, $2, TRUE, date_trunc('milliseconds', clock_timestamp())
     FROM unnest($3::text[], $4::text[]) AS p (directory, name)
     CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('p.directory'))}
     ON CONFLICT (directory, name, "set", removed) DO UPDATE SET at = excluded.at`,
    [host, setId, paths.map(parentOf), paths.map(nameOf)],
  )
}

/** Those that were kept after all. */
export async function forgetRemoved(database: Runs, host: number, setId: string, paths: readonly Raw[]): Promise<void> {
  if (paths.length === 0) return
  await database.query(
    `DELETE FROM gone g USING (
       SELECT d.id, ${toBytes('p.name')} AS name FROM unnest($3::text[], $4::text[]) AS p (directory, name)
       CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('p.directory'))}
     ) p WHERE g.directory = p.id AND g.name = p.name AND g."set" = $2 AND g.removed`,
    [host, setId, paths.map(parentOf), paths.map(nameOf)],
  )
}

const PAGE = 2_000

/** What a set found gone, and what it removed; by directory and name. */
export async function* goneOf(database: Runs, setId: string): AsyncGenerator<readonly GoneName[]> {
  let after: readonly [string, string] = ['0', '']
  for (;;) {
    const rows = (await database.texts(
      `SELECT g.directory, ${toRaw('g.name')}, ${toRaw('d.path')}, g.removed::int, extract(epoch FROM g.at) * 1000
       FROM (
         SELECT * FROM gone WHERE "set" = $1 AND (directory, name) > ($2::int, ${toBytes('$3::text')})
         ORDER BY "set", directory, name LIMIT ${PAGE}
       ) g CROSS JOIN LATERAL (SELECT path FROM directory d WHERE d.id = g.directory LIMIT 1) d
       ORDER BY g.directory, g.name`,
      [setId, ...after],
    )) as [string, Raw, Raw, string, string][]
    const last = rows.at(-1)
    if (last === undefined) return
    // A name may be there twice, gone and removed: both are on one page.
    const whole = rows.length < PAGE ? rows : rows.filter(([directory, name]) => directory !== last[0] || name !== last[1])
    const end = whole.at(-1) ?? last
    after = [end[0], end[1]]
    yield (whole.length > 0 ? whole : rows).map(([, name, path, removed, ms]) => ({
      path: joinRaw(path, name),
      removed: removed === '1',
      at: new Date(Number(ms)),
    }))
  }
}
