/** Cuts the stream of a walk into bundles, in its order: as full as the limits allow, files never split, names of an inode together. */
import { isFile, type PlannedEntry } from './entry.js'

export interface CutLimits {
  readonly maxFiles: number
  /** Of file bytes. A file, or a group of hard links, that is larger has a bundle of its own. */
  readonly maxBytes: number
}

export interface Cut {
  readonly entries: readonly PlannedEntry[]
  readonly files: number
  readonly bytes: number
}

export interface Cutter {
  /** The bundles that this entry completes: none, one, or two. */
  add(entry: PlannedEntry): Cut[]
  /** All names of one inode: they travel together, and their bytes once. */
  addGroup(entries: readonly PlannedEntry[]): Cut[]
  finish(): Cut[]
}

/** Directories travel free, but a tree of nothing else must end a bundle too. */
const ENTRIES_PER_FILE = 10

export function createCutter({ maxFiles, maxBytes }: CutLimits): Cutter {
  const maxEntries = maxFiles * ENTRIES_PER_FILE
  let open: { entries: PlannedEntry[]; files: number; bytes: number } = { entries: [], files: 0, bytes: 0 }

  const close = (): Cut[] => {
    if (open.entries.length === 0) return []
    const cut = open
    open = { entries: [], files: 0, bytes: 0 }
    return [cut]
  }
  const put = (entries: readonly PlannedEntry[], files: number, bytes: number): Cut[] => {
    if (files > maxFiles || bytes > maxBytes || entries.length > maxEntries) {
      // Directories that wait for their first file go with it, while there is room.
      const waits = open.files === 0 && open.entries.length + entries.length <= maxEntries
      const cuts = waits ? [] : close()
      open = { entries: [...open.entries, ...entries], files, bytes }
      return [...cuts, ...close()]
    }
    const full =
      open.files + files > maxFiles || open.bytes + bytes > maxBytes || open.entries.length + entries.length > maxEntries
    const cuts = full ? close() : []
    open.entries.push(...entries)
    open.files += files
    open.bytes += bytes
    return cuts
  }
  return {
    add: (entry) => put([entry], isFile(entry.type) ? 1 : 0, entry.size),
    addGroup: (entries) => put(entries, entries.length, entries[0]?.size ?? 0),
    finish: close,
  }
}
