/** How a row of a set is read, whoever read it. */
import { type Raw, rawFromBytes } from '#libs/os/raw.js'
import type { SetRow, SetState } from './catalog.js'

/** The columns of `SET_COLUMNS`. */
export interface SetRecord {
  id: string
  host: string
  vaultId: string
  vaultUrl: string
  roots: Uint8Array[]
  description: string
  tags: string[]
  options: Record<string, unknown>
  state: string
  reason: string | null
  startedAt: Date
  finishedAt: Date | null
  filesFound: bigint
  filesUnchanged: bigint
  filesWaiting: bigint
  filesGone: bigint
  filesSkipped: bigint
  filesFailed: bigint
  filesChanged: bigint
  filesPlanned: bigint
  bytesPlanned: bigint
  filesArchived: bigint
  bytesArchived: bigint
  bundlesPlanned: number
  bundlesStored: number
  bundlesFailed: number
  marks: Record<string, unknown> | null
  records: number
  recorded: string | null
}

/** Of `"set" s`. */
export const SET_COLUMNS = `
  s.id, (SELECT name FROM host h WHERE h.number = s.host) AS host, (SELECT v.id FROM vault v WHERE v.number = s.vault) AS "vaultId",
  s.vault_url AS "vaultUrl", s.roots, s.description, s.tags, s.options, s.state, s.reason, s.started_at AS "startedAt",
  s.finished_at AS "finishedAt", s.files_found AS "filesFound", s.files_unchanged AS "filesUnchanged", s.files_waiting AS "filesWaiting",
  s.files_gone AS "filesGone",  s.files_skipped AS "filesSkipped", s.files_failed AS "filesFailed", s.files_changed AS "filesChanged",
  s.files_planned AS "filesPlanned", s.bytes_planned AS "bytesPlanned", s.files_archived AS "filesArchived",
  s.bytes_archived AS "bytesArchived", s.bundles AS "bundlesPlanned", s.bundles_stored AS "bundlesStored",
  s.bundles_failed AS "bundlesFailed", s.marks, s.records, s.recorded`

export const setRowOf = (record: SetRecord): SetRow => ({
  id: record.id,
  host: record.host,
  roots: record.roots.map((root): Raw => rawFromBytes(root)),
  description: record.description,
  tags: record.tags,
  options: record.options,
  vaultUrl: record.vaultUrl,
  vaultId: record.vaultId,
  state: record.state as SetState,
  startedAt: record.startedAt,
  ...(record.finishedAt && { finishedAt: record.finishedAt }),
  ...(record.reason !== null && { reason: record.reason }),
  ...(record.marks !== null && { marks: record.marks }),
  records: record.records,
  ...(record.recorded !== null && { recorded: record.recorded }),
  counts: {
    found: Number(record.filesFound),
    archived: Number(record.filesArchived),
    unchanged: Number(record.filesUnchanged),
    waiting: Number(record.filesWaiting),
    gone: Number(record.filesGone),
    skipped: Number(record.filesSkipped),
    failed: Number(record.filesFailed),
    changed: Number(record.filesChanged),
    bundles: record.bundlesPlanned,
    bundlesStored: record.bundlesStored,
    bundlesFailed: record.bundlesFailed,
    bytes: Number(record.bytesArchived),
    plannedBytes: Number(record.bytesPlanned),
    plannedFiles: Number(record.filesPlanned),
  },
})
