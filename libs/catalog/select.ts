/**
 * Rows of a selection as a stream. Directories come in order of their paths and the names of each in order, so all versions of a path
 * are neighbours: the newest is found with no sort and no memory that grows. Each page is a statement of its own that goes on behind
 * the last name, so a reader may take hours and holds no transaction.
 */
import { ENTRY_TYPES } from '#libs/bundle/entry.js'
import { nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import type { LocatedRow, Selection } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Database, Runs } from './database.js'
import { pathBetween, toBytes, toRaw } from './directories.js'
import type { RowReader } from './row-reader.js'
import { chosenBundles, outermost, passes } from './selection.js'
import { judgeOf } from './true-tree.js'
import { newestFirst, runsOf } from './versions.js'

const DIRECTORIES_A_PAGE = 500
const ROWS_A_PAGE = 2000
/** So many bundles may be named in a statement; of more, the rows of others are left out here. */
const BUNDLES_NAMED = 20_000
const DIRECTORY = ENTRY_TYPES.indexOf('directory')
/** SQL: greater than any name, which has 255 bytes at most. */
const AFTER_ALL = `decode(repeat('ff', 256), 'hex')`

/** Names of a directory, from `first` to `last`; without a last, all of them. */
interface Range {
  readonly directory: string
  readonly first: Raw
  readonly last?: Raw
}

export async function* select<R extends LocatedRow>(
  database: Database,
  reader: RowReader<R>,
  selection: Selection,
): AsyncGenerator<readonly R[]> {
  const chosen = await chosenBundles(database, selection)
  if (chosen?.numbers.length === 0) return
  const judge = judgeOf<R>(database, selection)
  const pass = passes(judge.wanted)
  const ranges = chosen ? rangesOfBundles(database, chosen.numbers, selection.host) : rangesOfPaths(database, selection)
  const bundles = chosen && chosen.numbers.length <= BUNDLES_NAMED ? chosen.numbers : undefined

  for await (const page of ranges) {
    for await (const rows of namesIn(reader, page, bundles, judge.wanted.directories === true)) {
      const versions = runsOf(rows.filter(pass), (a, b) => a.path === b.path && a.host === b.host)
      for (const run of versions) run.sort(newestFirst)
      const found = await judge.given(versions)
      if (found.length > 0) yield found
    }
  }
}

/** The inner statement keeps its order: Postgres walks the index of names directory by directory and stops at the limit. */
const NAMES = (columns: string, bundles: string, types: string) => `
  SELECT ${columns} FROM unnest($1::int[], $2::text[], $3::text[]) AS r (directory, first, last)
  CROSS JOIN LATERAL (
    SELECT * FROM file f WHERE f.directory = r.directory AND f.name >= ${toBytes('r.first')} AND f.name <= coalesce(${toBytes('r.last')}, ${AFTER_ALL})
      ${bundles} ${types} ORDER BY f.name LIMIT $4
  ) f LIMIT $4`

/** Pages of rows, each with all versions of its names. */
async function* namesIn<R extends LocatedRow>(
  reader: RowReader<R>,
  ranges: readonly Range[],
  bundles: readonly bigint[] | undefined,
  withDirectories: boolean,
): AsyncGenerator<R[]> {
  const sql = NAMES(
    reader.columns,
    bundles ? 'AND f.bundle = ANY($5::int[])' : '',
    withDirectories ? '' : `AND f.type <> ${DIRECTORY}`,
  )
  const ask = (left: readonly Range[], limit: number) =>
    reader.readPlaced(sql, [
      left.map(({ directory }) => directory),
      left.map(({ first }) => first),
      left.map(({ last }) => last ?? null),
      limit,
      ...(bundles ? [bundles] : []),
    ])
  let left = [...ranges]
  let limit = ROWS_A_PAGE
  let asked = ask(left, limit)
  for (;;) {
    const { rows, directories } = await asked
    const last = rows.at(-1)
    if (last === undefined || rows.length < limit) {
      yield rows
      return
    }
    // The last name may have more versions behind the limit: it is read again, as the first of the next page.
    const directory = String(directories.at(-1))
    const name = nameOf(last.path)
    let whole = rows.length - 1
    while (whole > 0 && rows[whole - 1]?.path === last.path && rows[whole - 1]?.host === last.host) whole--
    const at = left.findIndex((range) => range.directory === directory)
    left = left.slice(at).map((range, index) => (index === 0 ? { ...range, first: name } : range))
    limit = whole === 0 ? limit * 2 : ROWS_A_PAGE
    // The next page is read while somebody works with this one, who may want no other.
    asked = ask(left, limit)
    asked.catch(() => {})
    if (whole > 0) yield rows.slice(0, whole)
  }
}

async function* rangesOfPaths(database: Runs, { host, paths }: Selection): AsyncGenerator<Range[]> {
  const { rows: hosts } = await database.query<{ number: number }>(
    'SELECT number FROM host WHERE $1::text IS NULL OR name = $1 ORDER BY name COLLATE "C"',
    [host === undefined ? null : cleanText(host)],
  )
  for (const { number } of hosts) {
    for (const path of paths ? outermost(paths) : ['/' as Raw]) {
      // The path itself, as its parent names it; "/" is in itself, without a name.
      const parent = await directoryId(database, number, parentOf(path))
      const itself = nameOf(path)
      if (parent !== undefined && path !== '/') yield [{ directory: parent, first: itself, last: itself }]
      const own = await directoryId(database, number, path)
      if (own !== undefined) yield [{ directory: own, first: '' as Raw }]
      yield* rangesBelow(database, number, path)
    }
  }
}

async function directoryId(database: Runs, host: number, path: Raw): Promise<string | undefined> {
  const rows = await database.texts(
    `SELECT id FROM directory WHERE host = $1 AND sha256(path) = sha256(${toBytes('$2::text')})`,
    [host, path],
  )
  return rows[0]?.[0] ?? undefined
}

/** Every directory below a path. */
async function* rangesBelow(database: Runs, host: number, top: Raw): AsyncGenerator<Range[]> {
  const prefix = top === '/' ? '/' : `${top}/`
  const end = `${prefix.slice(0, -1)}0` // "0" is the byte after "/"
  for (let after = prefix; ; ) {
    const rows = (await database.texts(
      `SELECT id, ${toRaw('path')} FROM directory
       WHERE host = $1 AND ${pathBetween(toBytes('$2::text'), toBytes('$3::text'))}
       ORDER BY substring(path FROM 1 FOR 400), path LIMIT ${DIRECTORIES_A_PAGE}`,
      [host, after, end],
    )) as [string, Raw][]
    if (rows.length === 0) return
    yield rows.map(([directory]) => ({ directory, first: '' as Raw }))
    after = (rows.at(-1) as [string, Raw])[1]
  }
}

/** The directories of chosen bundles, put in order once, on a connection of their own. */
async function* rangesOfBundles(
  database: Database,
  numbers: readonly bigint[],
  host: string | undefined,
): AsyncGenerator<Range[]> {
  const connection = await database.connect()
  try {
    await connection.query('CREATE TEMPORARY TABLE chosen (n bigint, directory int)')
    await connection.query(
      `INSERT INTO chosen
       SELECT row_number() OVER (ORDER BY h.name COLLATE "C", d.path), d.id
       FROM (SELECT DISTINCT directory FROM file WHERE bundle = ANY($1::int[])) f
       JOIN directory d ON d.id = f.directory JOIN host h ON h.number = d.host
       WHERE $2::text IS NULL OR h.name = $2`,
      [numbers, host === undefined ? null : cleanText(host)],
    )
    await connection.query('CREATE INDEX ON chosen (n)')
    for (let after = 0; ; after += DIRECTORIES_A_PAGE) {
      const rows = (await connection.texts('SELECT directory FROM chosen WHERE n > $1 ORDER BY n LIMIT $2', [
        after,
        DIRECTORIES_A_PAGE,
      ])) as [string][]
      if (rows.length === 0) return
      yield rows.map(([directory]) => ({ directory, first: '' as Raw }))
    }
  } finally {
    await connection.end()
  }
}
