/**
 * What was not in the tree at a moment: a path that a crawl found gone, or that lies below one. A directory that is gone, or that is
 * something else now, covers whatever was archived below it before. What --delete-after-archive removed is not gone.
 */
import { ENTRY_TYPES } from '#libs/bundle/entry.js'
import { nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { boundedMap } from './bounded-map.js'
import type { LocatedRow } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Runs } from './database.js'
import { directoryByPath, toBytes } from './directories.js'

const DIRECTORY = ENTRY_TYPES.indexOf('directory')

export interface Covers {
  /** Of each directory: when it, or one above it, was last not there, ms since 1970; 0: it always was, as far as is known. */
  of(host: number, directories: Iterable<Raw>): Promise<Map<Raw, number>>
}

/** A walk comes back to the directories above, and to few others. */
const KEPT = 10_000

/** SQL: when the directory `name` in `d.id` was last not there, gone or something else. NULL if it always was. */
export const lastNotThere = (name: string, asOf = `'infinity'`) => `
  greatest(
    (SELECT max(at) FROM gone g WHERE g.directory = d.id AND g.name = ${name} AND NOT g.removed AND g.at <= ${asOf}),
    ${lastOtherKind(name, asOf)}
  )`

/** SQL: when `d.id` last held something else than a directory under the name. */
const lastOtherKind = (name: string, asOf: string) => `
  (SELECT max(b.archived_at) FROM (SELECT bundle FROM file f WHERE f.directory = d.id AND f.name = ${name} AND f.type <> ${DIRECTORY} OFFSET 0) f
   CROSS JOIN LATERAL (
     SELECT archived_at FROM bundle b
     WHERE b.number = f.bundle AND b.state IN ('stored', 'missing', 'damaged') AND b.archived_at <= ${asOf} LIMIT 1
   ) b)`

/** `asOf`: nothing later counts. */
export function openCovers(database: Runs, { asOf }: { asOf?: Date } = {}): Covers {
  const kept = boundedMap<string, number>(KEPT)
  const sql = `
    SELECT p.ord, extract(epoch FROM ${lastNotThere(toBytes('p.name'), `coalesce($4::timestamptz, 'infinity')`)}) * 1000
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS p (directory, name, ord)
    CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('p.directory'))}`

  return {
    async of(host, directories) {
      const known = new Map<Raw, number>()
      const unknown = new Set<Raw>()
      for (const directory of directories) {
        for (let at = directory; at !== '/' && !known.has(at) && !unknown.has(at); at = parentOf(at)) {
          const cover = kept.get(`${host}:${at}`)
          if (cover === undefined) unknown.add(at)
          else {
            known.set(at, cover)
            break
          }
        }
      }
      // The upper ones first: what covers a directory covers those in it.
      const asked = [...unknown].sort((a, b) => a.length - b.length)
      const own = asked.map(() => 0)
      if (asked.length > 0) {
        const values = [host, asked.map(parentOf), asked.map(nameOf), asOf ?? null]
        for (const [ord, ms] of await database.texts(sql, values)) own[Number(ord) - 1] = Number(ms ?? 0)
      }
      asked.forEach((path, index) => {
        const cover = Math.max(own[index] as number, known.get(parentOf(path)) ?? 0)
        known.set(path, cover)
        kept.set(`${host}:${path}`, cover)
      })
      known.set('/' as Raw, 0)
      return known
    },
  }
}

/** Whether anything of a host was ever found gone, or to be something else. */
export async function hasGone(database: Runs, host: number): Promise<boolean> {
  const { rowCount } = await database.query(
    `SELECT FROM "set" s WHERE s.host = $1 AND (s.files_gone > 0 OR EXISTS (SELECT FROM gone g WHERE g."set" = s.id)) LIMIT 1`,
    [host],
  )
  return rowCount > 0
}

export interface GoneRows {
  /** Of each row: since when it was gone, if it was. */
  of(rows: readonly LocatedRow[]): Promise<(Date | undefined)[]>
}

/** `asOf`: at that time. Default: now. */
export function openGoneRows(database: Runs, asOf?: Date): GoneRows {
  const covers = openCovers(database, asOf && { asOf })
  const hosts = new Map<string, { number: number; hasGone: boolean } | undefined>()
  const hostOf = async (name: string) => {
    if (!hosts.has(name)) {
      const { rows } = await database.query<{ number: number }>('SELECT number FROM host WHERE name = $1', [cleanText(name)])
      hosts.set(name, rows[0] && { number: rows[0].number, hasGone: await hasGone(database, rows[0].number) })
    }
    return hosts.get(name)
  }

  return {
    async of(rows) {
      const gone: (Date | undefined)[] = rows.map(() => undefined)
      for (const name of new Set(rows.map(({ host }) => host))) {
        const host = await hostOf(name)
        if (host === undefined) continue
        const asked = rows.flatMap((row, index) => (row.host === name ? { row, index } : []))
        const own = host.hasGone ? await ownTimes(database, host.number, asked, asOf) : []
        const cover = await covers.of(host.number, new Set(asked.map(({ row }) => parentOf(row.path))))
        asked.forEach(({ row, index }, at) => {
          const archivedAt = row.archivedAt.getTime()
          const { goneAt = 0, removedAt = 0 } = own[at] ?? {}
          const since = Math.max(goneAt, cover.get(parentOf(row.path)) ?? 0)
          if (since >= archivedAt && removedAt < archivedAt) gone[index] = new Date(since)
        })
      }
      return gone
    },
  }
}

async function ownTimes(
  database: Runs,
  host: number,
  asked: readonly { row: LocatedRow }[],
  asOf: Date | undefined,
): Promise<{ goneAt: number; removedAt: number }[]> {
  const paths = asked.map(({ row }) => row.path)
  const times = asked.map(() => ({ goneAt: 0, removedAt: 0 }))
  const rows = await database.texts(
    `SELECT p.ord, extract(epoch FROM g.gone) * 1000, extract(epoch FROM g.removed) * 1000
     FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS p (directory, name, ord)
     CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('p.directory'))}
     CROSS JOIN LATERAL (
       SELECT max(at) FILTER (WHERE NOT removed AND at <= coalesce($4::timestamptz, 'infinity')) AS gone, max(at) FILTER (WHERE removed) AS removed
       FROM gone WHERE directory = d.id AND name = ${toBytes('p.name')}
     ) g WHERE g.gone IS NOT NULL OR g.removed IS NOT NULL`,
    [host, paths.map(parentOf), paths.map(nameOf), asOf ?? null],
  )
  for (const [ord, goneAt, removedAt] of rows)
    times[Number(ord) - 1] = { goneAt: Number(goneAt ?? 0), removedAt: Number(removedAt ?? 0) }
  return times
}
