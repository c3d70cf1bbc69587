/** Directories as numbers: a file row names its directory by id. Ids never change and are never removed, so they may be kept. */
import type { Raw } from '#libs/os/raw.js'
import { boundedMap, keptOrAsked } from './bounded-map.js'
import type { Runs } from './database.js'

export interface DirectoryFacts {
  readonly host: string
  readonly path: Raw
}

export interface Directories {
  /** Ids of the paths, made where there are none yet. */
  idsOf(host: number, paths: Iterable<Raw>): Promise<Map<Raw, bigint>>
  /** The reverse. */
  factsOf(ids: Iterable<number>): Promise<Map<number, DirectoryFacts>>
  /** The same where the paths are enough: those that were just made need not be asked for. */
  pathsOf(ids: ReadonlySet<number>): Promise<Map<number, Raw>>
}

/** Neighbours of a walk follow each other, so few are enough: a megabyte or two in the three maps. */
const KEPT = 2_000

/** SQL: the bytes of a latin1 text, which is how `Raw` names travel to Postgres; and back. */
export const toBytes = (text: string) => `convert_to(${text}, 'LATIN1')`
export const toRaw = (bytes: string) => `convert_from(${bytes}, 'LATIN1')`

/**
 * SQL: the id of one directory as `d`, to be joined laterally. LIMIT keeps it a look-up by index: a planner that has no statistics
 * yet would rather hash every directory of the host, each time.
 */
export const directoryByPath = (host: string, bytes: string) =>
  `(SELECT id FROM directory WHERE host = ${host} AND sha256(path) = sha256(${bytes}) LIMIT 1) d`

/** SQL: whether the path of a directory is greater than one and less than the other. Their first 400 bytes are indexed, and order them as their whole paths do. */
export const pathBetween = (after: string, before: string) => `
  substring(path FROM 1 FOR 400) >= substring(${after} FROM 1 FOR 400) AND path > ${after}
  AND substring(path FROM 1 FOR 400) <= substring(${before} FROM 1 FOR 400) AND path < ${before}`

/**
 * One statement for what is there and what is not. Inserts go in the order of the paths: two workers that make the same directories
 * wait for each other, and never each for the other.
 */
const FIND_OR_MAKE = `
  WITH asked AS MATERIALIZED (SELECT ${toBytes('t')} AS path FROM unnest($2::text[]) AS t),
  known AS MATERIALIZED (
    SELECT d.id, a.path FROM asked a CROSS JOIN LATERAL ${directoryByPath('$1', 'a.path')}
  ),
  made AS (
    INSERT INTO directory (host, path)
    SELECT $1, path FROM asked a WHERE NOT EXISTS (SELECT FROM known k WHERE k.path = a.path) ORDER BY path
    ON CONFLICT DO NOTHING RETURNING id, path
  )
  SELECT id, ${toRaw('path')} AS path FROM known UNION ALL SELECT id, ${toRaw('path')} FROM made`

export function openDirectories(database: Runs): Directories {
  const ids = boundedMap<string, bigint>(KEPT)
  const facts = boundedMap<number, DirectoryFacts>(KEPT)
  const paths = boundedMap<number, Raw>(KEPT)

  return {
    async idsOf(host, asked) {
      const found = new Map<Raw, bigint>()
      let unknown: Raw[] = []
      for (const path of asked) {
        const id = ids.get(`${host}:${path}`)
        if (id === undefined) unknown.push(path)
        else found.set(path, id)
      }
      // A path that another worker was just inserting is in neither half of the answer: ask again.
      while (unknown.length > 0) {
        const { rows } = await database.query<{ id: bigint; path: Raw }>(FIND_OR_MAKE, [host, unknown.sort()], {
          name: 'directories',
        })
        for (const { id, path } of rows) {
          ids.set(`${host}:${path}`, id)
          paths.set(Number(id), path)
          found.set(path, id)
        }
        unknown = unknown.filter((path) => !found.has(path))
      }
      return found
    },
    factsOf: (wanted) =>
      keptOrAsked(facts, wanted, async (unknown) => {
        const sql = `SELECT d.id, h.name, ${toRaw('d.path')} FROM directory d JOIN host h ON h.number = d.host WHERE d.id = ANY($1::bigint[])`
        const rows = (await database.texts(sql, [unknown])) as [string, string, Raw][]
        return rows.map(([id, host, path]) => [Number(id), { host, path }])
      }),

    pathsOf: (wanted) =>
      keptOrAsked(paths, wanted, async (unknown) => {
        const sql = `SELECT id, ${toRaw('path')} FROM directory WHERE id = ANY($1::bigint[])`
        const rows = (await database.texts(sql, [unknown], { name: 'directory-paths' })) as [string, Raw][]
        return rows.map(([id, path]) => [Number(id), path])
      }),
  }
}
