/** The moment a bundle counts: its state, its file rows, its problems and the counters of its set, in one transaction. */
import type { Problem } from '#libs/bundle/entry.js'
import { FirnError } from '#libs/errors/errors.js'
import { step } from '#libs/os/steps.js'
import { BUNDLE_COLUMNS, type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { BundleRow, StoredBundle } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Connection, Database } from './database.js'
import type { FileRows, PreparedRows } from './file-row.js'
import { addProblems } from './problems.js'

/** SQL: what a stored bundle is, from $2 on; the plan is not needed any more. */
export const STORED = `
  state = 'stored', attempt = $2, key = $3, archive_id = $4, tar_bytes = $5, tar_sha256 = decode($6, 'hex'), archived_at = $7, files = $8,
  entries = $9, bytes = $10, plan = NULL, lease_owner = NULL, lease_until = NULL, reason = NULL, changed_at = now()`

export const storedValues = (attempt: number, stored: StoredBundle, rows: PreparedRows): unknown[] => [
  attempt,
  cleanText(stored.key),
  cleanText(stored.archiveId),
  stored.tarBytes,
  stored.tarSha256,
  stored.archivedAt,
  rows.files,
  rows.rows,
  rows.bytes,
]

export async function markStored(
  database: Database,
  fileRows: FileRows,
  id: string,
  attempt: number,
  stored: StoredBundle,
  problems: readonly Problem[],
): Promise<BundleRow> {
  const lost = () => new FirnError('lease-lost', `Attempt ${attempt} at bundle ${id} lost its lease to another.`)
  const before = await database.query<BundleRecord & { host: number }>(
    `SELECT ${BUNDLE_COLUMNS}, (SELECT host FROM "set" s WHERE s.id = b.set) AS host FROM bundle b WHERE id = $1`,
    [id],
    { name: 'before-stored' },
  )
  const bundle = before.rows[0]
  if (bundle === undefined || bundle.attempt !== attempt) throw lost()
  if (bundle.state === 'stored') return bundleRowOf(bundle) // the answer to the same call was lost
  if (bundle.state !== 'packing') throw lost()

  const rows = await fileRows.prepare(bundle.host, stored.entries)
  return database.transaction(async (connection) => {
    const { rows: after } = await connection.query<BundleRecord>(
      `UPDATE bundle b SET ${STORED} WHERE id = $1 AND attempt = $2 AND state = 'packing' RETURNING ${BUNDLE_COLUMNS}`,
      [id, ...storedValues(attempt, stored, rows)],
      { name: 'mark-stored' },
    )
    if (after[0] === undefined) throw lost()
    await finishStored(connection, after[0], rows, problems, { stored: 1 })
    return bundleRowOf(after[0])
  })
}

/** The rows and counters that go with a bundle that just became stored. */
export async function finishStored(
  connection: Connection,
  bundle: Pick<BundleRecord, 'number' | 'setId'>,
  rows: PreparedRows,
  problems: readonly Problem[],
  counted: { bundles?: number; stored: number; failed?: number },
): Promise<void> {
  step('catalog.bundle-marked')
  await rows.write(connection, bundle.number)
  step('catalog.rows-written')
  // What the counters and problems of the set are is said last: its row is shared by all workers.
  await addProblems(connection, bundle.setId, bundle.number, problems, { files: rows.files, bytes: rows.bytes, ...counted })
  step('catalog.not-committed-yet')
}
