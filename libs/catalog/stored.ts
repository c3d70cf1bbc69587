/** The moment a bundle counts: its state, its file rows, its problems and the counters of its set, in one transaction. */
import { randomBytes } from 'node:crypto'
import type { Problem } from '#libs/bundle/entry.js'
import { FirnError } from '#libs/errors/errors.js'
import { step } from '#libs/os/steps.js'
import { BUNDLE_COLUMNS, type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { BundleRow, EntryPages, StoredBundle } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Connection, Database } from './database.js'
import type { FileRows, PreparedRows, RowCounts } from './file-row.js'
import { addProblems } from './problems.js'

/** SQL: what a stored bundle is, from $2 on; the plan is not needed any more. */
export const STORED = `
  state = 'stored', attempt = $2, key = $3, archive_id = $4, tar_bytes = $5, tar_sha256 = decode($6, 'hex'), archived_at = $7, files = $8,
  entries = $9, bytes = $10, checksum = $11, adopted = $12, plan = NULL, secret = NULL, lease_owner = NULL, lease_until = NULL, reason = NULL,
  changed_at = now()`

export const storedValues = (attempt: number, stored: StoredBundle, rows: RowCounts): unknown[] => [
  attempt,
  cleanText(stored.key),
  cleanText(stored.archiveId),
  stored.tarBytes,
  stored.tarSha256,
  stored.archivedAt,
  rows.files,
  rows.rows,
  rows.bytes,
  stored.checksum ?? null,
  stored.adopted ?? false,
]

const SECRET_BYTES = 32

export const newSecret = (): Buffer => randomBytes(SECRET_BYTES)

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

  const { entries } = stored
  const prepared = typeof entries === 'function' ? undefined : await fileRows.prepare(bundle.host, entries)
  return database.transaction(async (connection) => {
    const rows = prepared ?? (await writePages(fileRows, connection, bundle, entries as EntryPages))
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

/** Writes the rows of a manifest that is read while they are written; what it throws rolls them back. */
export async function writePages(
  fileRows: FileRows,
  connection: Connection,
  bundle: { readonly host: number; readonly number: bigint },
  pages: EntryPages,
): Promise<PreparedRows> {
  const counts = { rows: 0, files: 0, bytes: 0 }
  let seq = 0
  for await (const page of pages()) {
    const prepared = await fileRows.prepare(bundle.host, page, seq)
    await prepared.write(connection, bundle.number)
    seq += page.length
    counts.rows += prepared.rows
    counts.files += prepared.files
    counts.bytes += prepared.bytes
  }
  return { ...counts, write: async () => {} }
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
