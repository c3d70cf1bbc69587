/** Roots in byte order, each tree once. */
import { parentOf, type Raw } from '#libs/os/raw.js'

/** Drops duplicates and, when the walk descends, what lies below another root. */
export function normaliseRoots(paths: readonly Raw[], recursive: boolean): Raw[] {
  const roots = new Set(paths)
  const liesBelow = (path: Raw): boolean => {
    // A shell may give ten thousand roots: their parents are looked up, not each compared with each.
    for (let above = path; above !== '/'; ) {
      above = parentOf(above)
      if (roots.has(above)) return true
    }
    return false
  }
  return [...roots].filter((path) => !recursive || !liesBelow(path)).sort()
}
