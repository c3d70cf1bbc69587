/** How a row of an item is read, with its bundle, whoever read it. Not the keys of its files: those may be a million. */
import { BUNDLE_COLUMNS, type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { ItemRow, RetrievalState } from './catalog.js'

/** What `ITEMS` selects. What a bundle has too has another name. */
export interface ItemRecord extends BundleRecord {
  itemNumber: bigint
  itemId: string
  retrievalId: string
  itemState: string
  itemFiles: number
  itemBytes: bigint
  filesRestored: number
  filesFailed: number
  readyAt: Date | null
  expiresAt: Date | null
  itemReason: string | null
  spanOffset: bigint | null
  spanLength: bigint | null
}

/** SQL, up to its WHERE, which is about `item i`. */
export const ITEMS = `
  SELECT ${BUNDLE_COLUMNS}, i.number AS "itemNumber", i.id AS "itemId", i.retrieval AS "retrievalId", i.state AS "itemState",
    i.files AS "itemFiles", i.bytes AS "itemBytes", i.files_restored AS "filesRestored", i.files_failed AS "filesFailed",
    i.ready_at AS "readyAt", i.expires_at AS "expiresAt", i.reason AS "itemReason", i.span_offset AS "spanOffset",
    i.span_length AS "spanLength"
  FROM item i JOIN bundle b ON b.number = i.bundle`

export const itemRowOf = (record: ItemRecord): ItemRow => ({
  id: record.itemId,
  retrievalId: record.retrievalId,
  bundle: bundleRowOf(record),
  state: record.itemState as RetrievalState,
  files: record.itemFiles,
  bytes: Number(record.itemBytes),
  filesRestored: record.filesRestored,
  filesFailed: record.filesFailed,
  ...(record.readyAt !== null && { readyAt: record.readyAt }),
  ...(record.expiresAt !== null && { expiresAt: record.expiresAt }),
  ...(record.itemReason !== null && { reason: record.itemReason }),
  ...(record.spanOffset !== null &&
    record.spanLength !== null && { span: { offset: Number(record.spanOffset), length: Number(record.spanLength) } }),
})
