/** What a selection asks of a row, and which bundles can hold such rows at all. */
import { nearestOf, type Raw } from '#libs/os/raw.js'
import type { LocatedRow, Selection } from './catalog.js'
import type { Runs } from './database.js'
import { isUuid } from './uuid.js'

/** Whether a version passes the selection; which of the versions that pass is meant, is asked afterwards. */
export function passes(selection: Selection): (row: LocatedRow) => boolean {
  const { archiveIds, paths, setIds, host, asOf, directories } = selection
  const archives = archiveIds && new Set(archiveIds.flatMap((id) => (isUuid(id) ? [id, id.toLowerCase()] : [id])))
  const sets = setIds && new Set(setIds.map((id) => id.toLowerCase()))
  const tops = paths && new Set(outermost(paths))
  return (row) =>
    (directories === true || row.type !== 'directory') &&
    (host === undefined || row.host === host) &&
    (asOf === undefined || row.archivedAt <= asOf) &&
    (sets === undefined || sets.has(row.setId)) &&
    (archives === undefined || archives.has(row.bundleId) || archives.has(row.archiveId)) &&
    (tops === undefined || nearestOf(row.path, tops) !== undefined)
}

/** Ascending, without those that lie within another. */
export function outermost(paths: readonly Raw[]): Raw[] {
  const sorted = [...new Set(paths)].sort()
  const kept = new Set<Raw>()
  for (const path of sorted) if (nearestOf(path, kept) === undefined) kept.add(path)
  return [...kept]
}

export interface BundleChoice {
  readonly numbers: readonly bigint[]
}

/** The bundles that a selection by archive or set is limited to; undefined where it is not. */
export async function chosenBundles(database: Runs, { archiveIds, setIds }: Selection): Promise<BundleChoice | undefined> {
  if (archiveIds === undefined && setIds === undefined) return undefined
  const { rows } = await database.query<{ number: bigint }>(
    `SELECT number FROM bundle
     WHERE state IN ('stored', 'missing', 'damaged')
       AND ($1::text[] IS NULL OR archive_id = ANY($1) OR id = ANY($2::uuid[]))
       AND ($3::uuid[] IS NULL OR "set" = ANY($3))
     ORDER BY number`,
    [archiveIds ?? null, archiveIds?.filter(isUuid) ?? null, setIds?.filter(isUuid) ?? null],
  )
  return { numbers: rows.map(({ number }) => number) }
}
