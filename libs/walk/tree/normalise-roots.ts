/** Roots in byte order, each tree once. */
import { isWithin, type Raw } from '#libs/os/raw.js'

/** Drops duplicates and, when the walk descends, what lies below another root. */
export function normaliseRoots(paths: readonly Raw[], recursive: boolean): Raw[] {
  const sorted = [...new Set(paths)].sort()
  if (!recursive) return sorted
  return sorted.filter((path) => !sorted.some((other) => other !== path && isWithin(path, other)))
}
