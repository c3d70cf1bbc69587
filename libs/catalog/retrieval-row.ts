/** How a row of a retrieval is read, with the sums of its items, whoever read it. */
import { rawFromBytes } from '#libs/os/raw.js'
import type { Layout, RetrievalRow, RetrievalState } from './catalog.js'

/** What `RETRIEVALS` selects. */
export interface RetrievalRecord {
  id: string
  request: Record<string, unknown>
  target: Uint8Array
  detached: boolean
  layout: string
  host: string | null
  state: string
  agreedAt: Date | null
  consent: Record<string, unknown> | null
  thawLimitUsd: number
  thawSpentUsd: number
  createdAt: Date
  finishedAt: Date | null
  files: bigint
  bytes: bigint
  /** Of the states that occur. */
  items: Partial<Record<RetrievalState, number>>
  filesRestored: bigint
  filesFailed: bigint
  expectedAt: Date | null
}

/** SQL, up to its WHERE, which is about `retrieval r`. */
export const RETRIEVALS = `
  SELECT r.id, r.request, r.target, r.detached, r.layout, r.host, r.state, r.agreed_at AS "agreedAt", r.consent,
    r.thaw_limit_usd AS "thawLimitUsd", r.thaw_spent_usd AS "thawSpentUsd", r.created_at AS "createdAt", r.finished_at AS "finishedAt",
    r.files, r.bytes, i.*
  FROM retrieval r
  CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_object_agg(state, items), '{}') AS items, coalesce(sum(restored), 0)::bigint AS "filesRestored",
      coalesce(sum(failed), 0)::bigint AS "filesFailed", max(ready_at) FILTER (WHERE state = 'thawing') AS "expectedAt"
    FROM (
      SELECT state, count(*) AS items, sum(files_restored) AS restored, sum(files_failed) AS failed, max(ready_at) AS ready_at
      FROM item WHERE retrieval = r.id GROUP BY state
    ) s
  ) i`

const NO_ITEMS: Record<RetrievalState, number> = {
  requested: 0,
  thawing: 0,
  ready: 0,
  fetching: 0,
  done: 0,
  failed: 0,
  expired: 0,
}

export const retrievalRowOf = (record: RetrievalRecord): RetrievalRow => ({
  id: record.id,
  request: record.request,
  target: rawFromBytes(record.target),
  detached: record.detached,
  layout: record.layout as Layout,
  ...(record.host !== null && { host: record.host }),
  state: record.state as RetrievalState,
  ...(record.agreedAt !== null && { agreedAt: record.agreedAt }),
  ...(record.consent !== null && { consent: record.consent }),
  thawLimitUsd: record.thawLimitUsd,
  thawSpentUsd: record.thawSpentUsd,
  createdAt: record.createdAt,
  ...(record.finishedAt !== null && { finishedAt: record.finishedAt }),
  items: { ...NO_ITEMS, ...record.items },
  files: Number(record.files),
  bytes: Number(record.bytes),
  filesRestored: Number(record.filesRestored),
  filesFailed: Number(record.filesFailed),
  ...(record.expectedAt !== null && { expectedAt: record.expectedAt }),
})
