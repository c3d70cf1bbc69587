/**
 * Of all versions of each path: which are given, and which of them say that they are gone. Where it matters what is in the tree, its
 * directories count too, for a path may be one now.
 */
import type { LocatedRow, Selection } from './catalog.js'
import { openGoneRows } from './covers.js'
import type { Runs } from './database.js'
import type { Writable } from './row-reader.js'

export interface Judge<R> {
  /** What to read versions by. */
  readonly wanted: Selection
  /** `versions`: of each path, the newest first. */
  given(versions: readonly (readonly R[])[]): Promise<R[]>
}

export function judgeOf<R extends LocatedRow>(database: Runs, selection: Selection): Judge<R> {
  const { asOf, gone: withGone, allVersions, directories } = selection
  const isAsked = ({ type }: R) => directories === true || type !== 'directory'
  const choose = (runs: readonly (readonly R[])[]): R[] =>
    runs.flatMap((run) => (allVersions ? run.filter(isAsked) : (run.find(isAsked) ?? [])))
  if (asOf === undefined && !withGone) return { wanted: selection, given: async (versions) => choose(versions) }
  const goneRows = openGoneRows(database, asOf)
  const wanted = { ...selection, directories: true }

  if (withGone) {
    return {
      wanted,
      async given(versions) {
        const rows = choose(versions)
        const newest = new Map(versions.map((run) => [`${run[0]?.host}\0${run[0]?.path}`, run[0] as R]))
        const times = await goneRows.of(rows)
        rows.forEach((row: Writable<R>, index) => {
          const now = newest.get(`${row.host}\0${row.path}`)
          const becameDirectory = now?.type === 'directory' && row.type !== 'directory' ? now.archivedAt : undefined
          const goneAt = times[index] ?? becameDirectory
          if (goneAt !== undefined) row.goneAt = goneAt
        })
        return rows
      },
    }
  }
  return {
    wanted,
    // A path is in the tree if its newest version is, and as what that is.
    async given(versions) {
      const times = await goneRows.of(versions.map((run) => run[0] as R))
      const present = versions.filter((_, index) => times[index] === undefined)
      return choose(allVersions ? present : present.filter((run) => isAsked(run[0] as R)))
    },
  }
}
