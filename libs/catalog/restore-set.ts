/** A set as its record tells it: its state, counts and problems, bundles that were never stored, and what was gone. */
import { FirnError } from '#libs/errors/errors.js'
import { nameOf, parentOf, type Raw, rawToBytes } from '#libs/os/raw.js'
import type { RestoredSet, RestoredSetPart } from './catalog.js'
import { cleanJson, cleanText } from './clean-text.js'
import type { Connection, Database } from './database.js'
import { openDirectories, toBytes } from './directories.js'
import { hostNumber, vaultNumber } from './places.js'

const PAGE = 1_000
const OVER: ReadonlySet<string> = new Set(['archived', 'partial', 'failed', 'cancelled'])
const NOT_STORED: ReadonlySet<string> = new Set(['failed', 'cancelled'])

/** False where the catalog has the set of its own, and knows better. */
export async function restoreSet(
  database: Database,
  set: RestoredSet,
  vault: { url: string; id: string },
  parts: () => AsyncIterable<RestoredSetPart>,
): Promise<boolean> {
  const host = await hostNumber(database, set.host)
  const place = await vaultNumber(database, vault)
  const directories = openDirectories(database)
  const state = OVER.has(set.state) ? set.state : 'partial'
  const { counts } = set
  return database.transaction(async (connection) => {
    const values = {
      host,
      vault: place,
      vault_url: cleanText(vault.url),
      roots: set.roots.map(rawToBytes),
      description: cleanText(set.description),
      tags: set.tags.map(cleanText),
      options: cleanJson(set.options),
      state,
      reason: set.reason === undefined ? null : cleanText(set.reason),
      started_at: set.startedAt,
      finished_at: set.finishedAt ?? set.startedAt,
      marks: set.marks === undefined ? null : cleanJson(set.marks),
      files_found: counts.found,
      files_unchanged: counts.unchanged,
      files_waiting: counts.waiting,
      files_gone: counts.gone,
      files_skipped: counts.skipped,
      files_failed: counts.failed,
      files_changed: counts.changed,
      files_planned: counts.plannedFiles,
      bytes_planned: counts.plannedBytes,
      files_archived: counts.archived,
      bytes_archived: counts.bytes,
      bundles: counts.bundles,
      bundles_stored: counts.bundlesStored,
      bundles_failed: counts.bundlesFailed,
      records: set.records,
      recorded: set.state,
    }
    const columns = Object.keys(values)
    const { rowCount } = await connection.query(
      `INSERT INTO "set" AS s (id, rebuilt, ${columns}) VALUES ($1, TRUE, ${columns.map((_, index) => `$${index + 2}`)})
       ON CONFLICT (id) DO UPDATE SET ${columns.map((column) => `${column} = excluded.${column}`)} WHERE s.rebuilt`,
      [set.id, ...Object.values(values)],
    )
    if (rowCount === 0) return false
    await connection.query('DELETE FROM problem WHERE "set" = $1', [set.id])
    await connection.query('DELETE FROM gone WHERE "set" = $1', [set.id])
    for await (const page of pagesOf(parts())) {
      await addBundles(connection, set.id, place, page)
      await addProblemsOf(connection, set.id, page)
      const names = page.flatMap((part) =>
        part.kind === 'gone' || part.kind === 'removed' ? [{ ...part.gone, kind: part.kind }] : [],
      )
      if (names.length > 0) {
        const ids = await directories.idsOf(host, new Set(names.map(({ path }) => parentOf(path))))
        await addGone(connection, set.id, names, ids)
      }
    }
    if (!OVER.has(set.state)) await countAnew(connection, set.id)
    return true
  })
}

/** What was under way when its record was written: nobody goes on with it, and more of it may have been stored since then. */
const INTERRUPTED = 'it was not over when its last record was written'

const countAnew = (connection: Connection, setId: string) =>
  connection.query(
    `UPDATE "set" s SET bundles = b.all, bundles_stored = b.stored, bundles_failed = b.all - b.stored, files_archived = b.files,
       bytes_archived = b.bytes, state = CASE WHEN b.all > 0 AND b.stored = 0 THEN 'failed' ELSE 'partial' END, reason = coalesce(reason, $2)
     FROM (
       SELECT count(*) AS all, count(*) FILTER (WHERE stored) AS stored, coalesce(sum(files) FILTER (WHERE stored), 0) AS files,
         coalesce(sum(bytes) FILTER (WHERE stored), 0) AS bytes
       FROM (SELECT files, bytes, state IN ('stored', 'missing', 'damaged') AS stored FROM bundle WHERE "set" = $1) b
     ) b WHERE s.id = $1`,
    [setId, INTERRUPTED],
  )

async function* pagesOf(parts: AsyncIterable<RestoredSetPart>): AsyncGenerator<RestoredSetPart[]> {
  let page: RestoredSetPart[] = []
  for await (const part of parts) {
    page.push(part)
    if (page.length < PAGE) continue
    yield page
    page = []
  }
  if (page.length > 0) yield page
}

/** Those that were never stored: of the others their manifests tell more. */
async function addBundles(connection: Connection, setId: string, vault: number, page: readonly RestoredSetPart[]): Promise<void> {
  const bundles = page.flatMap((part) => (part.kind === 'bundle' && part.bundle.key === undefined ? [part.bundle] : []))
  if (bundles.length === 0) return
  await connection.query(
    `INSERT INTO bundle AS b (id, "set", vault, state, attempt, files, entries, bytes, reason)
     SELECT id::uuid, $1, $2, state, attempt, files, entries, bytes, reason
     FROM unnest($3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::bigint[], $9::text[])
       AS u (id, state, attempt, files, entries, bytes, reason)
     ON CONFLICT (id) DO NOTHING`,
    [
      setId,
      vault,
      bundles.map(({ bundle }) => bundle),
      bundles.map(({ state }) => (NOT_STORED.has(state) ? state : 'failed')),
      bundles.map(({ attempt }) => attempt),
      bundles.map(({ files }) => files),
      bundles.map(({ entries }) => entries),
      bundles.map(({ fileBytes }) => fileBytes),
      bundles.map(({ state, reason }) => {
        if (reason !== undefined) return cleanText(reason)
        return NOT_STORED.has(state) ? null : 'it was not stored when the record of its set was written'
      }),
    ],
  )
}

async function addProblemsOf(connection: Connection, setId: string, page: readonly RestoredSetPart[]): Promise<void> {
  const problems = page.flatMap((part) => (part.kind === 'problem' ? [part.problem] : []))
  if (problems.length === 0) return
  await connection.query(
    `INSERT INTO problem ("set", bundle, kind, path, reason)
     SELECT $1, (SELECT number FROM bundle b WHERE b.id = bundle::uuid), kind, ${toBytes('path')}, reason
     FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS p (bundle, kind, path, reason, ord) ORDER BY ord
     ON CONFLICT DO NOTHING`,
    [
      setId,
      problems.map(({ bundle }) => bundle ?? null),
      problems.map(({ kind }) => kind),
      problems.map(({ path }) => path),
      problems.map(({ reason }) => cleanText(reason)),
    ],
  )
}

async function addGone(
  connection: Connection,
  setId: string,
  names: readonly { path: Raw; at: Date; kind: 'gone' | 'removed' }[],
  directories: ReadonlyMap<Raw, bigint>,
): Promise<void> {
  await connection.query(
    `INSERT INTO gone (directory, name, "set", removed, at)
     SELECT directory, ${toBytes('name')}, $1, removed, at
     FROM unnest($2::int[], $3::text[], $4::bool[], $5::timestamptz[]) AS g (directory, name, removed, at) ON CONFLICT DO NOTHING`,
    [
      setId,
      names.map(({ path }) => {
        const id = directories.get(parentOf(path))
        if (id === undefined) throw new FirnError('database', 'A directory that was just made is not there.')
        return id
      }),
      names.map(({ path }) => nameOf(path)),
      names.map(({ kind }) => kind === 'removed'),
      names.map(({ at }) => at),
    ],
  )
}
