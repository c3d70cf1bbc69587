/** Bundles from planned to stored and indexed; leases and their epochs. */
import { isFile } from '#libs/bundle/entry.js'
import { decodePlan } from '#libs/bundle/plan.js'
import { FirnError } from '#libs/errors/errors.js'
import { BUNDLE_COLUMNS, type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { BundleState, BundleVerbs, SetRow } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Database } from './database.js'
import { FILE_COLUMNS, type FileRows, openFileRows } from './file-row.js'
import { goneOwners, LEASE_END, leaseIsFree } from './leases.js'
import { addProblems } from './problems.js'
import { readSet } from './sets.js'
import { markStored, newSecret } from './stored.js'
import { isUuid } from './uuid.js'

/** Stranded bundles of one round: more than are packed until the next. */
const STRANDED_AT_ONCE = 5_000
/** A page of files that are hashed one after the other. */
const FILES_A_PAGE = 1_000
const LIVE = `state IN ('planned', 'packing')`

export function bundleVerbs(database: Database, fileRows: FileRows): BundleVerbs {
  return {
    async bundle(id) {
      if (!isUuid(id)) return undefined
      const { rows } = await database.query<BundleRecord>(`SELECT ${BUNDLE_COLUMNS} FROM bundle b WHERE id = $1`, [id])
      return rows[0] && bundleRowOf(rows[0])
    },

    async leaseBundle(id, owner, isGone) {
      for (const gone: string[] = []; ; ) {
        const taken = await database.query<BundleRecord & { plan: Buffer; leasedAt: Date; secret: Buffer }>(
          `UPDATE bundle b SET state = 'packing', attempt = attempt + 1, lease_owner = $2, lease_until = ${LEASE_END}, changed_at = now(),
             secret = coalesce(secret, $4)
           WHERE id = $1 AND (state = 'planned' OR state = 'packing' AND ${leaseIsFree('$3')})
           RETURNING ${BUNDLE_COLUMNS}, b.plan, b.secret, clock_timestamp() AS "leasedAt"`,
          [id, owner, gone, newSecret()],
          { name: 'lease-bundle' },
        )
        const record = taken.rows[0]
        if (record !== undefined) {
          const bundle = bundleRowOf(record)
          const set = (await readSet(database, bundle.setId)) as SetRow
          return {
            kind: 'leased',
            bundle,
            set,
            attempt: bundle.attempt,
            leasedAt: record.leasedAt,
            plan: record.plan,
            secret: record.secret,
          }
        }
        const { rows } = await database.query<{ state: BundleState; owner: string | null; leftMs: number | null }>(
          `SELECT state, lease_owner AS owner, extract(epoch FROM lease_until - clock_timestamp())::float8 * 1000 AS "leftMs"
           FROM bundle WHERE id = $1`,
          [id],
        )
        if (rows[0] === undefined) throw new FirnError('failed', `The catalog knows no bundle ${id}.`)
        const { state, owner: holder, leftMs } = rows[0]
        if (state !== 'planned' && state !== 'packing') return { kind: 'over', state }
        if (holder !== null && isGone(holder)) gone.push(holder)
        else if (leftMs !== null && leftMs > 0) return { kind: 'busy', afterMs: Math.ceil(leftMs) }
        // Otherwise it became free between the two statements.
      }
    },

    async renewBundle(id, attempt) {
      const { rowCount } = await database.query(
        `UPDATE bundle SET lease_until = ${LEASE_END} WHERE id = $1 AND attempt = $2 AND state = 'packing'`,
        [id, attempt],
      )
      if (rowCount === 0) throw new FirnError('lease-lost', `Attempt ${attempt} at bundle ${id} lost its lease to another.`)
    },

    markStored: (id, attempt, stored, problems) => markStored(database, fileRows, id, attempt, stored, problems),

    async releaseBundle(id, attempt, { unused = false } = {}) {
      await database.query(
        `UPDATE bundle SET state = 'planned', attempt = attempt - $3, lease_owner = NULL, lease_until = NULL, changed_at = now()
         WHERE id = $1 AND attempt = $2 AND state = 'packing'`,
        [id, attempt, unused ? 1 : 0],
      )
    },

    async failBundle(id, attempt, reason) {
      const said = cleanText(reason)
      await database.transaction(async (connection) => {
        const { rows } = await connection.query<{ number: bigint; set: string; plan: Buffer | null }>(
          `SELECT number, "set", plan FROM bundle WHERE id = $1 AND attempt = $2 AND ${LIVE} FOR UPDATE`,
          [id, attempt],
        )
        const bundle = rows[0]
        if (bundle === undefined) return
        await connection.query(
          `UPDATE bundle SET state = 'failed', reason = $2, plan = NULL, lease_owner = NULL, lease_until = NULL, changed_at = now()
           WHERE id = $1`,
          [id, said],
        )
        // Each file is named: it was found, and is not archived.
        const files = bundle.plan ? [...decodePlan(bundle.plan)].filter(({ type }) => isFile(type)) : []
        const problems = files.map(({ path }) => ({
          path,
          kind: 'failed' as const,
          reason: `its bundle was not stored: ${said}`,
        }))
        await addProblems(connection, bundle.set, bundle.number, problems, { failed: 1 })
      })
    },

    async strandedBundles(olderThanMs, isGone, setId) {
      const gone = await goneOwners(
        database,
        `SELECT DISTINCT lease_owner AS owner FROM bundle WHERE ${LIVE} AND lease_owner IS NOT NULL`,
        [],
        isGone,
      )
      const { rows } = await database.query<{ id: string }>(
        `SELECT id FROM bundle
         WHERE ${LIVE} AND changed_at <= clock_timestamp() - $1 * interval '1 millisecond' AND (state = 'planned' OR ${leaseIsFree('$2')})
           AND ($3::uuid IS NULL OR "set" = $3)
         ORDER BY changed_at, number LIMIT ${STRANDED_AT_ONCE}`,
        [olderThanMs, gone, setId ?? null],
      )
      return rows.map(({ id }) => id)
    },

    async unindexedBundles(limit) {
      const { rows } = await database.query<{ id: string }>(
        `SELECT id FROM bundle WHERE state = 'stored' AND NOT indexed ORDER BY "set", number LIMIT $1`,
        [limit],
      )
      return rows.map(({ id }) => id)
    },

    async markIndexed(numbers) {
      await database.query('UPDATE bundle SET indexed = TRUE WHERE number = ANY($1::bigint[]) AND NOT indexed', [numbers])
    },

    async pendingBundles(setId) {
      const { rows } = await database.query<{ live: number; unindexed: bigint; cancelled: boolean }>(
        `SELECT bundles - bundles_stored - bundles_failed AS live, state = 'cancelled' AS cancelled,
           (SELECT count(*) FROM bundle b WHERE b.set = s.id AND b.state = 'stored' AND NOT b.indexed) AS unindexed
         FROM "set" s WHERE id = $1`,
        [setId],
        { name: 'pending-bundles' },
      )
      return {
        live: rows[0]?.live ?? 0,
        unindexed: Number(rows[0]?.unindexed ?? 0),
        cancelled: rows[0]?.cancelled ?? false,
      }
    },

    async hasLiveLease(id, isGone) {
      if (!isUuid(id)) return false
      const { rows } = await database.query<{ owner: string }>(
        `SELECT lease_owner AS owner FROM bundle WHERE id = $1 AND state = 'packing' AND lease_until >= clock_timestamp()`,
        [id],
      )
      return rows[0] !== undefined && !isGone(rows[0].owner)
    },

    indexableFiles: (number) => fileRows.pathsOf(number),

    async *filesByOffset(number) {
      // Sorted once, on the side of the database: a bundle may have a million files.
      const connection = await database.connect()
      try {
        await connection.query(
          `CREATE TEMPORARY TABLE by_offset AS SELECT row_number() OVER (ORDER BY data_offset, seq) AS place, seq FROM file
           WHERE bundle = ${Number(number)} AND sha256 IS NOT NULL AND data_offset IS NOT NULL AND data_bundle IS NULL`,
        )
        await connection.query('CREATE INDEX ON by_offset (place)')
        const rows = openFileRows(connection)
        for (let after = 0; ; after += FILES_A_PAGE) {
          const page = await rows.read(
            `SELECT ${FILE_COLUMNS} FROM by_offset o JOIN file f ON f.bundle = $1 AND f.seq = o.seq
             WHERE o.place > $2 AND o.place <= $3 ORDER BY o.place`,
            [number, after, after + FILES_A_PAGE],
          )
          if (page.length === 0) return
          yield page
        }
      } finally {
        await connection.end()
      }
    },

    async entriesOf(number) {
      return fileRows.read(`SELECT ${FILE_COLUMNS} FROM file f WHERE f.bundle = $1 ORDER BY f.seq`, [number])
    },
  }
}
