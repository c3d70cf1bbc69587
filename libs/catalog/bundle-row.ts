/** How a row of a bundle is read, whoever read it. */
import type { BundleRow, BundleState } from './catalog.js'

/** The columns of `BUNDLE_COLUMNS`: all but the plan and the lease. */
export interface BundleRecord {
  number: bigint
  id: string
  setId: string
  vaultId: string
  state: string
  indexed: boolean
  attempt: number
  files: number
  entries: number
  bytes: bigint
  key: string | null
  archiveId: string | null
  tarBytes: bigint | null
  tarSha256: Uint8Array | null
  checksum: string | null
  adopted: boolean
  archivedAt: Date | null
  reason: string | null
}

/** Of `bundle b`. */
export const BUNDLE_COLUMNS = `
  b.number, b.id, b.set AS "setId", (SELECT v.id FROM vault v WHERE v.number = b.vault) AS "vaultId", b.state, b.indexed, b.attempt,
  b.files, b.entries, b.bytes, b.key, b.archive_id AS "archiveId", b.tar_bytes AS "tarBytes", b.tar_sha256 AS "tarSha256",
  b.checksum, b.adopted, b.archived_at AS "archivedAt", b.reason`

export const bundleRowOf = (record: BundleRecord): BundleRow => ({
  id: record.id,
  number: record.number,
  setId: record.setId,
  vaultId: record.vaultId,
  state: record.state as BundleState,
  indexed: record.indexed,
  files: record.files,
  entries: record.entries,
  bytes: Number(record.bytes),
  attempt: record.attempt,
  adopted: record.adopted,
  ...(record.key !== null && { key: record.key }),
  ...(record.archiveId !== null && { archiveId: record.archiveId }),
  ...(record.tarBytes !== null && { tarBytes: Number(record.tarBytes) }),
  ...(record.tarSha256 !== null && { tarSha256: Buffer.from(record.tarSha256).toString('hex') }),
  ...(record.checksum !== null && { checksum: record.checksum }),
  ...(record.archivedAt !== null && { archivedAt: record.archivedAt }),
  ...(record.reason !== null && { reason: record.reason }),
})
