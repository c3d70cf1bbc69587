/**
 * Rows grouped by the bundle that holds their bytes: in a temporary table of a connection of its own, because a selection may be as
 * large as the catalog.
 */
import { isFile } from '#libs/bundle/entry.js'
import { binaryRows } from './binary-rows.js'
import { BUNDLE_COLUMNS, type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { LocatedRow, NeededBundle } from './catalog.js'
import type { Connection, Database } from './database.js'

const PAGE = 500

/** Makes the temporary table `needed`, one line a row; `holder` is the number of the bundle with its bytes. */
export async function gatherNeeded(connection: Connection, rows: AsyncIterable<readonly LocatedRow[]>): Promise<void> {
  await connection.query(
    `CREATE TEMPORARY TABLE gathered (bundle bigint, seq int, file boolean, size bigint, data_offset bigint, data_bundle uuid)`,
  )
  for await (const page of rows) {
    const out = binaryRows()
    for (const row of page) {
      out.row(6)
      out.int8(row.bundleNumber)
      out.int4(row.seq)
      out.flag(isFile(row.type))
      out.count(row.size)
      if (row.offset === undefined) out.none()
      else out.count(row.offset)
      if (row.dataBundle === undefined) out.none()
      else out.hex(row.dataBundle.replaceAll('-', ''))
    }
    await connection.copy('gathered (bundle, seq, file, size, data_offset, data_bundle)', out.finish())
  }
  await connection.query('ANALYZE gathered')
  // A bundle that holds bytes and is not catalogued: its rows stay with their own bundle, where fetching them fails and says so.
  await connection.query(
    `CREATE TEMPORARY TABLE needed AS
     SELECT coalesce(b.number, g.bundle) AS holder, g.bundle, g.seq, g.file, g.data_offset,
       CASE WHEN g.data_offset IS NULL THEN 0 ELSE g.size END AS size
     FROM gathered g LEFT JOIN bundle b ON b.id = g.data_bundle`,
  )
  await connection.query('ANALYZE needed')
}

/** Ids of the vaults that bytes are needed of; none where there is no other that could have them. */
export async function vaultsNeeded(connection: Connection): Promise<string[]> {
  const { rows } = await connection.query<{ id: string }>(
    `SELECT id FROM vault
     WHERE number IN (SELECT b.vault FROM needed n JOIN bundle b ON b.number = n.holder WHERE n.size > 0)
       AND (SELECT count(*) FROM vault) > 1 ORDER BY id`,
  )
  return rows.map(({ id }) => id)
}

/** What lies in one of these vaults, and just as it is in another one: from there. */
export async function takeFromOthers(connection: Connection, away: readonly string[]): Promise<void> {
  await connection.query(
    `UPDATE needed n SET bundle = c.bundle, seq = c.seq, holder = c.holder, data_offset = c.data_offset
     FROM (
       SELECT DISTINCT ON (n.bundle, n.seq) n.bundle AS was_bundle, n.seq AS was_seq, f.bundle, f.seq, f.data_offset, h.number AS holder
       FROM needed n
       JOIN bundle nb ON nb.number = n.holder
       JOIN vault nv ON nv.number = nb.vault AND nv.id = ANY($1::text[])
       JOIN file o ON o.bundle = n.bundle AND o.seq = n.seq AND o.sha256 IS NOT NULL
       JOIN file f ON f.directory = o.directory AND f.name = o.name
         AND (f.sha256, f.size, f.mtime_ns, f.mode, f.owner, f.type) = (o.sha256, o.size, o.mtime_ns, o.mode, o.owner, o.type)
       JOIN bundle b ON b.number = f.bundle AND b.state = 'stored'
       JOIN bundle h ON h.state = 'stored' AND h.number = coalesce((SELECT d.number FROM bundle d WHERE d.id = f.data_bundle), f.bundle)
       JOIN vault v ON v.number = h.vault AND NOT v.id = ANY($1::text[])
       WHERE n.size > 0
       ORDER BY n.bundle, n.seq, b.archived_at DESC
     ) c
     WHERE n.bundle = c.was_bundle AND n.seq = c.was_seq`,
    [away],
  )
}

/**
 * SQL: files and bytes of each holder. The names of one inode share an offset, and their bytes are needed once; without an offset
 * (directories, symlinks) nothing is needed. The span reaches from the first byte that is needed to the last.
 */
export const NEEDED_TOTALS = `
  SELECT holder, sum(files)::int AS files, sum(size)::bigint AS bytes,
    min(data_offset) FILTER (WHERE size > 0) AS span_offset,
    max(data_offset + size) FILTER (WHERE size > 0) - min(data_offset) FILTER (WHERE size > 0) AS span_length
  FROM (SELECT holder, data_offset, count(*) FILTER (WHERE file) AS files, max(size) AS size FROM needed GROUP BY holder, data_offset) n
  GROUP BY holder`

export async function* neededBundles(
  database: Database,
  rows: AsyncIterable<readonly LocatedRow[]>,
): AsyncGenerator<readonly NeededBundle[]> {
  const connection = await database.connect()
  try {
    await gatherNeeded(connection, rows)
    await connection.query(
      `CREATE TEMPORARY TABLE totals AS
       SELECT row_number() OVER (ORDER BY v.id COLLATE "C", b.number) AS n, t.*
       FROM (${NEEDED_TOTALS}) t JOIN bundle b ON b.number = t.holder JOIN vault v ON v.number = b.vault`,
    )
    await connection.query('CREATE INDEX ON totals (n)')
    for (let after = 0; ; after += PAGE) {
      const page = await connection.query<BundleRecord & { neededFiles: number; neededBytes: bigint }>(
        `SELECT ${BUNDLE_COLUMNS}, t.files AS "neededFiles", t.bytes AS "neededBytes"
         FROM totals t JOIN bundle b ON b.number = t.holder WHERE t.n > $1 ORDER BY t.n LIMIT ${PAGE}`,
        [after],
      )
      if (page.rows.length === 0) return
      yield page.rows.map((row) => ({ bundle: bundleRowOf(row), files: row.neededFiles, bytes: Number(row.neededBytes) }))
    }
  } finally {
    await connection.end()
  }
}
