/** What check, rebuild and status ask of the catalog. */
import { FirnError } from '#libs/errors/errors.js'
import { rawToBytes } from '#libs/os/raw.js'
import { BUNDLE_COLUMNS, type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { EntryPages, KnownVault, ManifestFacts, StoredBundle, UpkeepVerbs } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Database } from './database.js'
import type { FileRows } from './file-row.js'
import { hostNumber, vaultNumber } from './places.js'
import type { PrismaDoor } from './prisma-door.js'
import { forgetProblemsOf } from './problems.js'
import { restoreSet } from './restore-set.js'
import { finishStored, STORED, storedValues, writePages } from './stored.js'
import { isUuid } from './uuid.js'

const BUNDLES_A_PAGE = 1000
/** SQL: all that is known of the set came from manifests. */
const FROM_MANIFESTS = `rebuilt AND records = 0`
const NO_RECORD = 'its record is not in the vault: it was interrupted while its tree was crawled, or the record was lost'

export function upkeepVerbs(database: Database, fileRows: FileRows, prisma: PrismaDoor): UpkeepVerbs {
  return {
    async *storedBundles(vaultId) {
      for (let after = ''; ; ) {
        const records = await prisma((client) =>
          client.bundle.findMany({
            where: { vault: { id: vaultId }, state: { in: ['stored', 'missing', 'damaged'] }, key: { gt: after } },
            orderBy: { key: 'asc' },
            take: BUNDLES_A_PAGE,
            omit: { plan: true, secret: true },
          }),
        )
        const last = records.at(-1)?.key
        if (last == null) return
        after = last
        yield records.map((record) => bundleRowOf({ ...record, vaultId }))
      }
    },

    async markChecked(id, state, reason) {
      await prisma((client) =>
        client.bundle.updateMany({
          where: { id, state: { in: ['stored', 'missing', 'damaged'] } },
          data: { state, reason: state === 'stored' || reason === undefined ? null : cleanText(reason), changedAt: new Date() },
        }),
      )
    },

    async knownBundles(ids) {
      const { rows } = await database.query<BundleRecord>(`SELECT ${BUNDLE_COLUMNS} FROM bundle b WHERE id = ANY($1::uuid[])`, [
        ids.filter(isUuid),
      ])
      return new Map(rows.map((record) => [record.id, bundleRowOf(record)]))
    },

    async attemptSecret(id) {
      if (!isUuid(id)) return undefined
      const { rows } = await database.query<{ secret: Buffer | null }>('SELECT secret FROM bundle WHERE id = $1', [id])
      return rows[0]?.secret ?? undefined
    },

    async markReadBack(id) {
      await database.query('UPDATE bundle SET adopted = FALSE WHERE id = $1 AND adopted', [id])
    },

    adoptBundle: (facts, vault, stored) => adoptBundle(database, fileRows, facts, vault, stored),
    restoreSet: (set, vault, parts) => restoreSet(database, set, vault, parts),

    async reclaimPlans() {
      // Whoever is at it already is not waited for.
      await database.query('VACUUM (SKIP_LOCKED) bundle')
    },

    async forgetIndexed() {
      await database.query('UPDATE bundle SET indexed = FALSE WHERE indexed')
    },

    async knownVault(vaultId) {
      const { rows } = await database.query<VaultRecord>('SELECT id, url, uuid FROM vault WHERE id = $1', [vaultId], {
        name: 'known-vault',
      })
      return rows[0] && knownVaultOf(rows[0])
    },

    async recogniseVault(vault, uuid, { anew = false } = {}) {
      const number = await vaultNumber(database, vault)
      const { rows } = await database.query<{ uuid: string }>(
        'UPDATE vault SET uuid = CASE WHEN $3 THEN $2 ELSE coalesce(uuid, $2) END WHERE number = $1 RETURNING uuid',
        [number, uuid, anew],
      )
      return rows[0]?.uuid ?? uuid
    },

    async vaults() {
      const [vaults, sums] = await prisma(async (client) => [
        await client.vault.findMany({ orderBy: { id: 'asc' } }),
        await client.bundle.groupBy({ by: ['vaultNumber'], where: { state: 'stored' }, _count: true, _sum: { tarBytes: true } }),
      ])
      return vaults.map(({ number, ...vault }) => {
        const sum = sums.find(({ vaultNumber }) => vaultNumber === number)
        return { ...knownVaultOf(vault), bundles: sum?._count ?? 0, bytes: Number(sum?._sum.tarBytes ?? 0) }
      })
    },

    async totals() {
      const { rows } = await database.query<Record<'sets' | 'bundles' | 'files' | 'bytes' | 'databaseBytes', bigint>>(
        `SELECT (SELECT count(*) FROM "set") AS sets, count(*) AS bundles, coalesce(sum(files), 0)::bigint AS files,
           coalesce(sum(bytes), 0)::bigint AS bytes, pg_database_size(current_database()) AS "databaseBytes"
         FROM bundle WHERE state = 'stored'`,
      )
      const [row] = rows
      return {
        sets: Number(row?.sets),
        bundles: Number(row?.bundles),
        files: Number(row?.files),
        bytes: Number(row?.bytes),
        databaseBytes: Number(row?.databaseBytes),
      }
    },
  }
}

interface VaultRecord {
  id: string
  url: string
  uuid: string | null
}

const knownVaultOf = ({ id, url, uuid }: VaultRecord): KnownVault => ({ id, url, ...(uuid !== null && { uuid }) })

/** A bundle as its manifest tells it. Files are counted as found by the sets that are made here: nothing else is known of them. */
async function adoptBundle(
  database: Database,
  fileRows: FileRows,
  facts: ManifestFacts,
  vault: { url: string; id: string },
  stored: StoredBundle,
): Promise<boolean> {
  if (!isUuid(facts.bundleId) || !isUuid(facts.setId)) {
    throw new FirnError(
      'damaged',
      `The manifest of ${stored.key} names no bundle and set of ours (${facts.bundleId}, ${facts.setId}).`,
    )
  }
  const known = await database.query<{ state: string }>('SELECT state FROM bundle WHERE id = $1', [facts.bundleId])
  if (['stored', 'missing', 'damaged'].includes(known.rows[0]?.state ?? '')) return false

  const host = await hostNumber(database, facts.host)
  const place = await vaultNumber(database, vault)
  const { entries } = stored
  const prepared = typeof entries === 'function' ? undefined : await fileRows.prepare(host, entries)
  return database.transaction(async (connection) => {
    await connection.query(
      `INSERT INTO "set" (id, host, vault, vault_url, roots, description, tags, options, state, reason, started_at, finished_at, rebuilt)
       VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', $10, $11, $8, $9, TRUE) ON CONFLICT DO NOTHING`,
      [
        facts.setId,
        host,
        place,
        cleanText(vault.url),
        facts.roots.map(rawToBytes),
        cleanText(facts.description),
        facts.tags.map(cleanText),
        facts.setStartedAt,
        stored.archivedAt,
        facts.hasRecord ? 'partial' : 'archived',
        facts.hasRecord ? NO_RECORD : null,
      ],
    )
    const made = await connection.query(
      `INSERT INTO bundle (id, "set", vault, state, files, entries, bytes) VALUES ($1, $2, $3, 'planned', 0, 0, 0) ON CONFLICT DO NOTHING`,
      [facts.bundleId, facts.setId, place],
    )
    // What a worker has in its hands it finishes itself.
    const before = await connection.query<{ state: string; number: bigint }>(
      `SELECT state, number FROM bundle WHERE id = $1 AND (state IN ('planned', 'failed', 'cancelled') OR state = 'packing' AND lease_until < clock_timestamp())
       FOR UPDATE`,
      [facts.bundleId],
    )
    const [bundle] = before.rows
    if (bundle === undefined) return false
    const was = bundle.state
    const rows = prepared ?? (await writePages(fileRows, connection, { host, number: bundle.number }, entries as EntryPages))
    const { rows: after } = await connection.query<BundleRecord>(
      `UPDATE bundle b SET ${STORED} WHERE id = $1 RETURNING ${BUNDLE_COLUMNS}`,
      [facts.bundleId, ...storedValues(facts.attempt, { adopted: true, ...stored }, rows)],
    )
    const isNew = made.rowCount === 1
    if (was === 'failed') await forgetProblemsOf(connection, facts.setId, (after[0] as BundleRecord).number)
    await finishStored(connection, after[0] as BundleRecord, rows, [], {
      stored: 1,
      ...(isNew && { bundles: 1 }),
      ...(was === 'failed' && { failed: -1 }),
    })
    if (isNew) {
      await connection.query(
        `UPDATE "set" SET files_planned = files_planned + $2, bytes_planned = bytes_planned + $3,
           files_found = files_found + CASE WHEN ${FROM_MANIFESTS} THEN $2 ELSE 0 END,
           finished_at = CASE WHEN ${FROM_MANIFESTS} THEN greatest(finished_at, $4) ELSE finished_at END
         WHERE id = $1`,
        [facts.setId, rows.files, rows.bytes, stored.archivedAt],
      )
    }
    return true
  })
}
