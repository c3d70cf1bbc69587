/** Sets and the crawl that fills them. */
import { randomUUID } from 'node:crypto'
import { bitsOf } from '#libs/bundle/xattrs.js'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromBytes, rawToBytes } from '#libs/os/raw.js'
import { asideVerbs } from './asides.js'
import { BUNDLE_COLUMNS, type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { AwaitedBundle, CrawlVerbs, SetRow } from './catalog.js'
import { cleanJson, cleanText } from './clean-text.js'
import type { Database, Runs } from './database.js'
import { directoryByPath, toBytes } from './directories.js'
import { forgetRemoved, goneOf, noteGone, noteRemoved, wouldBeGone } from './gone.js'
import { goneOwners, LEASE_END, leaseIsFree } from './leases.js'
import { hostNumber, vaultNumber } from './places.js'
import { addProblems, forgetCrawlProblems, problemsOf } from './problems.js'
import { SET_COLUMNS, type SetRecord, setRowOf } from './set-row.js'
import { isUuid } from './uuid.js'

/** Those without sessions of their own. */
export type SetVerbs = Omit<CrawlVerbs, 'openHeld' | 'openLinkStore'>

const BUNDLES_A_PAGE = 1000
const OPEN = `state IN ('crawling', 'archiving')`
/** Nothing of it is under way any more. */
const IS_DONE = `state = 'archiving' AND bundles = bundles_stored + bundles_failed`
const FINISH = `
  UPDATE "set" SET finished_at = date_trunc('milliseconds', now()), state = CASE
    WHEN bundles > 0 AND bundles_stored = 0 THEN 'failed'
    WHEN bundles_failed > 0 OR files_skipped + files_failed + files_changed > 0 THEN 'partial'
    ELSE 'archived' END
  WHERE ${IS_DONE}`

export async function readSet(database: Runs, id: string): Promise<SetRow | undefined> {
  if (!isUuid(id)) return undefined
  const { rows } = await database.query<SetRecord>(`SELECT ${SET_COLUMNS} FROM "set" s WHERE id = $1`, [id], { name: 'set' })
  return rows[0] && setRowOf(rows[0])
}

async function mustRead(database: Runs, id: string): Promise<SetRow> {
  const set = await readSet(database, id)
  if (set === undefined) throw new FirnError('failed', `The catalog knows no set ${id}.`)
  return set
}

async function hostOf(database: Runs, setId: string): Promise<number> {
  const { rows } = await database.query<{ host: number }>('SELECT host FROM "set" WHERE id = $1', [setId], {
    name: 'host-of-set',
  })
  if (rows[0] === undefined) throw new FirnError('failed', `The catalog knows no set ${setId}.`)
  return rows[0].host
}

export function setVerbs(database: Database): SetVerbs {
  return {
    ...asideVerbs(database),

    async createSet(request, owner) {
      const id = randomUUID()
      const host = await hostNumber(database, request.host)
      const vault = await vaultNumber(database, { id: request.vaultId, url: request.vaultUrl })
      await database.query(
        `INSERT INTO "set" (id, host, vault, vault_url, roots, description, tags, options, state, started_at, lease_owner, lease_until, recorded)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'crawling', date_trunc('milliseconds', now()), $9, ${LEASE_END}, '')`,
        [
          id,
          host,
          vault,
          cleanText(request.vaultUrl),
          request.roots.map(rawToBytes),
          cleanText(request.description),
          request.tags.map(cleanText),
          cleanJson(request.options),
          owner,
        ],
      )
      return mustRead(database, id)
    },

    set: (id) => readSet(database, id),

    async sets({ limit } = {}) {
      const { rows } = await database.query<SetRecord>(
        `SELECT ${SET_COLUMNS} FROM "set" s ORDER BY s.started_at DESC, s.id LIMIT $1`,
        [limit ?? null],
      )
      return rows.map(setRowOf)
    },

    async interruptedSets(host, isGone) {
      const { rows } = await database.query<SetRecord & { holder: string | null }>(
        `SELECT ${SET_COLUMNS}, CASE WHEN lease_until >= clock_timestamp() THEN lease_owner END AS holder
         FROM "set" s WHERE ${OPEN} AND host = (SELECT number FROM host WHERE name = $1) ORDER BY started_at, id`,
        [cleanText(host)],
      )
      return rows.filter(({ holder }) => holder === null || isGone(holder)).map(setRowOf)
    },

    async leaseSet(id, owner, isGone) {
      const gone = await goneOwners(
        database,
        'SELECT lease_owner AS owner FROM "set" WHERE id = $1 AND lease_owner <> $2',
        [id, owner],
        isGone,
      )
      const { rowCount } = await database.query(
        `UPDATE "set" SET lease_owner = $2, lease_until = ${LEASE_END}
         WHERE id = $1 AND ${OPEN} AND (lease_owner = $2 OR ${leaseIsFree('$3')})`,
        [id, owner, gone],
      )
      return rowCount === 1
    },

    async releaseSet(id, owner) {
      await database.query('UPDATE "set" SET lease_owner = NULL, lease_until = NULL WHERE id = $1 AND lease_owner = $2', [
        id,
        owner,
      ])
    },

    async planBundle(setId, owner, { plan, files, entries, bytes }) {
      const { rows } = await database.query<{ id: string }>(
        `WITH planned AS (
           UPDATE "set" SET bundles = bundles + 1, files_planned = files_planned + $5, bytes_planned = bytes_planned + $7
           WHERE id = $2 AND lease_owner = $3 AND state = 'crawling' RETURNING id, vault
         )
         INSERT INTO bundle (id, "set", vault, state, plan, files, entries, bytes)
         SELECT $1, id, vault, 'planned', $4, $5, $6, $7 FROM planned RETURNING id`,
        [randomUUID(), setId, owner, asBuffer(plan), files, entries, bytes],
        { name: 'plan-bundle' },
      )
      if (rows[0] === undefined) throw new FirnError('lease-lost', `Set ${setId} is crawled by another process now.`)
      return rows[0].id
    },

    async recordProblems(setId, problems) {
      if (problems.length > 0) await addProblems(database, setId, null, problems)
    },

    problems: (setId) => problemsOf(database, setId),

    async *bundlesOf(setId) {
      for (let after = 0n; ; ) {
        const { rows } = await database.query<BundleRecord>(
          `SELECT ${BUNDLE_COLUMNS} FROM bundle b WHERE b.set = $1 AND b.number > $2 ORDER BY b.number LIMIT ${BUNDLES_A_PAGE}`,
          [setId, after],
        )
        const last = rows.at(-1)
        if (last === undefined) return
        after = last.number
        yield rows.map(bundleRowOf)
      }
    },

    async markRecorded(setId, n, state) {
      await database.query(
        `UPDATE "set" SET recorded = CASE WHEN records < $2 THEN $3 ELSE recorded END, records = greatest(records, $2) WHERE id = $1`,
        [setId, n, state],
      )
    },

    async unrecordedSets(isGone) {
      const { rows } = await database.query<SetRecord & { holder: string | null }>(
        `SELECT ${SET_COLUMNS}, CASE WHEN lease_until >= clock_timestamp() THEN lease_owner END AS holder
         FROM "set" s WHERE NOT ${OPEN} AND recorded <> state ORDER BY started_at, id LIMIT 100`,
      )
      return rows.filter(({ holder }) => holder === null || isGone(holder)).map(setRowOf)
    },

    async askToCrawl(setId, owner) {
      // One after the other: who commits later has the later time.
      await database.transaction(async (connection) => {
        await connection.query(`SELECT pg_advisory_xact_lock(hashtext('firn: whose turn it is to crawl'))`)
        await connection.query('UPDATE "set" SET crawl_asked_at = clock_timestamp() WHERE id = $1 AND lease_owner = $2', [
          setId,
          owner,
        ])
      })
    },

    async crawlsBefore(setId, isGone) {
      const { rows } = await database.query<{ id: string; roots: Uint8Array[]; owner: string }>(
        `SELECT o.id, o.roots, o.lease_owner AS owner FROM "set" s JOIN "set" o ON o.host = s.host AND o.id <> s.id
         WHERE s.id = $1 AND o.state = 'crawling' AND o.lease_until >= clock_timestamp() AND o.crawl_asked_at < s.crawl_asked_at`,
        [setId],
      )
      return rows
        .filter((row) => !isGone(row.owner))
        .map(({ id, roots }) => ({ id, roots: roots.map((root) => rawFromBytes(root)) }))
    },

    async awaitBundles(setId, bundles) {
      await database.query(
        'INSERT INTO awaited ("set", bundle) SELECT $1, number FROM bundle WHERE id = ANY($2::uuid[]) ON CONFLICT DO NOTHING',
        [setId, bundles],
      )
    },

    async awaitedBundles(setId) {
      const { rows } = await database.query<Omit<AwaitedBundle, 'holders'> & { holders: (string | null)[] }>(
        `SELECT b.id, b.state, b.set AS "setId", EXISTS (SELECT FROM problem p WHERE p.bundle = b.number) AS troubled,
           ARRAY[CASE WHEN s.lease_until >= clock_timestamp() THEN s.lease_owner END,
             CASE WHEN b.lease_until >= clock_timestamp() THEN b.lease_owner END] AS holders
         FROM awaited a JOIN bundle b ON b.number = a.bundle JOIN "set" s ON s.id = b.set WHERE a.set = $1`,
        [setId],
      )
      return rows.map((row) => ({ ...row, holders: row.holders.filter((holder) => holder !== null) }))
    },

    async endAwaiting(setId) {
      await database.query(
        `WITH over AS (DELETE FROM awaited WHERE "set" = $1)
         UPDATE "set" SET files_unchanged = files_unchanged + files_waiting, files_waiting = 0 WHERE id = $1`,
        [setId],
      )
    },

    async reopenCrawl(setId, owner) {
      const { rowCount } = await database.query(
        `UPDATE "set" SET state = 'crawling' WHERE id = $1 AND lease_owner = $2 AND ${OPEN}`,
        [setId, owner],
      )
      if (rowCount === 0) throw new FirnError('lease-lost', `Set ${setId} is crawled by another process now.`)
    },

    async countCrawled(setId, { found, unchanged, waiting }) {
      await database.query(
        `UPDATE "set" SET files_found = files_found + $2, files_unchanged = files_unchanged + $3, files_waiting = files_waiting + $4
         WHERE id = $1`,
        [setId, found, unchanged, waiting],
        { name: 'count-crawled' },
      )
    },

    async noteLooked(setId, directories, keep) {
      if (directories.length === 0) return
      await database.query(
        `INSERT INTO looked (directory, vault, kept, at)
         SELECT d.id, s.vault, $3, clock_timestamp() FROM "set" s, unnest($2::text[]) AS p (path)
         CROSS JOIN LATERAL ${directoryByPath('(SELECT host FROM "set" WHERE id = $1)', toBytes('p.path'))}
         WHERE s.id = $1 ORDER BY d.id
         ON CONFLICT (directory, vault, kept) DO UPDATE SET at = excluded.at`,
        [setId, directories, bitsOf(keep)],
      )
    },

    noteGone: async (setId, listings) => noteGone(database, await hostOf(database, setId), setId, listings),
    wouldBeGone: async (setId, listings) => wouldBeGone(database, await hostOf(database, setId), listings),
    noteRemoved: async (setId, paths) => noteRemoved(database, await hostOf(database, setId), setId, paths),
    forgetRemoved: async (setId, paths) => forgetRemoved(database, await hostOf(database, setId), setId, paths),
    goneNames: (setId) => goneOf(database, setId),

    async *earlierMarks(setId, limit) {
      // Each may have ten thousand roots, and the first mostly says it all.
      for (let at = 0; at < limit; at++) {
        const { rows } = await database.query<{ roots: Uint8Array[]; marks: Record<string, unknown> }>(
          `SELECT o.roots, o.marks FROM "set" s JOIN "set" o ON o.host = s.host AND o.id <> s.id AND o.started_at <= s.started_at
           WHERE s.id = $1 AND o.marks IS NOT NULL ORDER BY o.started_at DESC, o.id LIMIT 1 OFFSET $2`,
          [setId, at],
        )
        if (rows[0] === undefined) return
        yield { roots: rows[0].roots.map((root) => rawFromBytes(root)), marks: rows[0].marks }
      }
    },

    restartCrawl: (setId) => forgetCrawlProblems(database, setId),

    async markRoots(setId, owner, marks) {
      const { rowCount } = await database.query(`UPDATE "set" SET marks = $3 WHERE id = $1 AND lease_owner = $2 AND ${OPEN}`, [
        setId,
        owner,
        cleanJson(marks),
      ])
      if (rowCount === 0) throw new FirnError('lease-lost', `Set ${setId} is crawled by another process now.`)
    },

    async markCrawled(setId, owner) {
      const { rowCount } = await database.query(
        `UPDATE "set" SET state = 'archiving' WHERE id = $1 AND lease_owner = $2 AND ${OPEN}`,
        [setId, owner],
      )
      if (rowCount === 0) throw new FirnError('lease-lost', `Set ${setId} is crawled by another process now.`)
    },

    async finishSet(setId) {
      await database.query(`${FINISH} AND id = $1`, [setId])
      return mustRead(database, setId)
    },

    async finishSets(isGone) {
      const gone = await goneOwners(
        database,
        `SELECT DISTINCT lease_owner AS owner FROM "set" WHERE ${IS_DONE} AND lease_owner IS NOT NULL`,
        [],
        isGone,
      )
      await database.query(`${FINISH} AND ${leaseIsFree('$1')}`, [gone])
    },

    async failSet(setId, reason) {
      await database.query(
        `UPDATE "set" SET state = 'failed', reason = $2, finished_at = date_trunc('milliseconds', now()), lease_owner = NULL, lease_until = NULL WHERE id = $1 AND ${OPEN}`,
        [setId, cleanText(reason)],
      )
    },

    async cancelSet(setId, reason) {
      return database.transaction(async (connection) => {
        // First: from then on nothing is planned for it.
        await connection.query(
          `UPDATE "set" SET state = 'cancelled', reason = $2, finished_at = date_trunc('milliseconds', now()), lease_owner = NULL, lease_until = NULL
           WHERE id = $1 AND ${OPEN}`,
          [setId, cleanText(reason)],
        )
        const { rowCount } = await connection.query(
          `UPDATE bundle b SET state = 'cancelled', plan = NULL, lease_owner = NULL, lease_until = NULL, changed_at = now()
           FROM "set" s WHERE s.id = $1 AND s.state = 'cancelled' AND b.set = s.id AND b.state IN ('planned', 'packing')`,
          [setId],
        )
        return rowCount
      })
    },
  }
}

/** pg takes a plain Uint8Array for a list of numbers. */
export const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
