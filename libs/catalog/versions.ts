/** Of several versions of one path: which is the newest? */
import type { LocatedRow } from './catalog.js'

/** Newest first: by the time of archiving, then by the number of the bundle. */
export const newestFirst = (a: LocatedRow, b: LocatedRow): number =>
  b.archivedAt.getTime() - a.archivedAt.getTime() || Number(b.bundleNumber - a.bundleNumber) || b.seq - a.seq

/** Those of each path, whatever the order they come in. (Node 20 has no Map.groupBy.) */
export function byPath<R extends LocatedRow>(rows: readonly R[]): R[][] {
  const paths = new Map<string, R[]>()
  for (const row of rows) {
    const key = `${row.host}\0${row.path}`
    const versions = paths.get(key)
    if (versions === undefined) paths.set(key, [row])
    else versions.push(row)
  }
  return [...paths.values()]
}

/** Runs of neighbours that `same` holds together. */
export function runsOf<T>(items: readonly T[], same: (a: T, b: T) => boolean): T[][] {
  const runs: T[][] = []
  for (const item of items) {
    const run = runs.at(-1)
    if (run !== undefined && same(run[0] as T, item)) run.push(item)
    else runs.push([item])
  }
  return runs
}
