/** Entries that were not archived as they stood: one row for each, however often it was met. */
import type { Problem, ProblemKind } from '#libs/bundle/entry.js'
import type { Raw } from '#libs/os/raw.js'
import type { RecordedProblem } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Runs } from './database.js'
import { toBytes, toRaw } from './directories.js'

/** What else to add to the counters of the set, in the same statement. */
export interface MoreCounted {
  readonly files?: number
  readonly bytes?: number
  readonly bundles?: number
  readonly stored?: number
  readonly failed?: number
}

const COUNTED = `
  files_archived = files_archived + $2, bytes_archived = bytes_archived + $3, bundles = bundles + $4,
  bundles_stored = bundles_stored + $5, bundles_failed = bundles_failed + $6`

/**
 * Records problems and counts those that are new. Inserted in one order everywhere, so that no two transactions wait for each other;
 * the row of the set, which every worker wants, is locked last and for a moment.
 */
export async function addProblems(
  database: Runs,
  setId: string,
  bundle: bigint | null,
  problems: readonly Problem[],
  more: MoreCounted = {},
): Promise<void> {
  const { files = 0, bytes = 0, bundles = 0, stored = 0, failed = 0 } = more
  const counted = [files, bytes, bundles, stored, failed]
  if (problems.length === 0) {
    await database.query(`UPDATE "set" SET ${COUNTED} WHERE id = $1`, [setId, ...counted], { name: 'count' })
    return
  }
  const kinds = problems.map(({ kind }) => kind)
  const paths = problems.map(({ path }) => path)
  const reasons = problems.map(({ reason }) => cleanText(reason))
  await database.query(
    `WITH made AS (
       INSERT INTO problem ("set", bundle, kind, path, reason)
       SELECT $1, $7, kind, path, reason
       FROM (SELECT kind, ${toBytes('path')} AS path, reason FROM unnest($8::text[], $9::text[], $10::text[]) AS p (kind, path, reason)) p
       ORDER BY path, kind
       ON CONFLICT DO NOTHING RETURNING kind
     ), counted AS MATERIALIZED (
       SELECT count(*) FILTER (WHERE kind = 'skipped') AS skipped, count(*) FILTER (WHERE kind = 'failed') AS failed,
         count(*) FILTER (WHERE kind = 'changed') AS changed
       FROM made
     )
     UPDATE "set" SET
       files_skipped = files_skipped + (SELECT skipped FROM counted),
       files_failed = files_failed + (SELECT failed FROM counted),
       files_changed = files_changed + (SELECT changed FROM counted), ${COUNTED}
     WHERE id = $1`,
    [setId, ...counted, bundle, kinds, paths, reasons],
    { name: 'problems' },
  )
}

/** Those of the crawl, which begins again, and files that a bundle could not get: they are found again, and planned again. */
export async function forgetCrawlProblems(database: Runs, setId: string): Promise<void> {
  await forget(database, setId, `bundle IS NULL OR kind = 'failed'`)
  await database.query('UPDATE "set" SET files_found = 0, files_unchanged = 0, files_waiting = 0 WHERE id = $1', [setId])
  await database.query('DELETE FROM awaited WHERE "set" = $1', [setId])
}

/** Of a bundle that failed and is stored after all. */
export const forgetProblemsOf = (database: Runs, setId: string, bundle: bigint): Promise<void> =>
  forget(database, setId, `bundle = ${bundle}`)

async function forget(database: Runs, setId: string, which: string): Promise<void> {
  await database.query(
    `WITH gone AS (DELETE FROM problem WHERE "set" = $1 AND (${which}) RETURNING kind),
     counted AS MATERIALIZED (
       SELECT count(*) FILTER (WHERE kind = 'skipped') AS skipped, count(*) FILTER (WHERE kind = 'failed') AS failed,
         count(*) FILTER (WHERE kind = 'changed') AS changed
       FROM gone
     )
     UPDATE "set" SET
       files_skipped = files_skipped - (SELECT skipped FROM counted),
       files_failed = files_failed - (SELECT failed FROM counted),
       files_changed = files_changed - (SELECT changed FROM counted)
     WHERE id = $1`,
    [setId],
  )
}

const PAGE = 1000

export async function* problemsOf(database: Runs, setId: string): AsyncGenerator<readonly RecordedProblem[]> {
  for (let after = 0n; ; ) {
    const { rows } = await database.query<{
      number: bigint
      kind: ProblemKind
      path: Raw
      reason: string
      bundle: string | null
    }>(
      `SELECT number, kind, ${toRaw('path')} AS path, reason, (SELECT id FROM bundle b WHERE b.number = p.bundle) AS bundle
       FROM problem p WHERE "set" = $1 AND number > $2 ORDER BY number LIMIT ${PAGE}`,
      [setId, after],
    )
    const last = rows.at(-1)
    if (last === undefined) return
    after = last.number
    yield rows.map(({ path, kind, reason, bundle }) => ({ path, kind, reason, ...(bundle !== null && { bundle }) }))
  }
}
