/** Roots in byte order, each tree once, and none that was asked for left out. */
import { lstatSync } from 'node:fs'
import { FirnError } from '#libs/errors/errors.js'
import { parentOf, type Raw, rawToBytes, shown } from '#libs/os/raw.js'
import type { WalkRequest } from '../source.js'
import { compileFilters, type Filters } from './filters.js'

type Options = Pick<WalkRequest, 'recursive' | 'oneFileSystem' | 'exclude'>

/**
 * Drops duplicates and, when the walk descends, what the walk of another root comes to. What lies below a root and would not be met there (it
 * is excluded, or on another file system) stays a root of its own. Throws `usage` for one behind a symlink that another root archives:
 * both could not be restored.
 */
export function normaliseRoots(paths: readonly Raw[], options: Options): Raw[] {
  const filters = compileFilters({ include: [], exclude: options.exclude })
  const roots = new Set<Raw>()
  // An outer one is before what lies below it.
  for (const path of [...new Set(paths)].sort()) {
    if (!options.recursive || !rootsAbove(path, roots).some((root) => comesTo(path, root, options, filters))) roots.add(path)
  }
  return [...roots]
}

/** A shell may give ten thousand roots: the parents of each are looked up, not each compared with each. */
function rootsAbove(path: Raw, roots: ReadonlySet<Raw>): Raw[] {
  const found: Raw[] = []
  for (let above = path; above !== '/'; ) {
    above = parentOf(above)
    if (roots.has(above)) found.push(above)
  }
  return found
}

/** Whether the walk of a root enters, or gives, what lies below it. */
function comesTo(path: Raw, root: Raw, { oneFileSystem }: Options, filters: Filters): boolean {
  const way: Raw[] = []
  for (let at = path; at !== root; at = parentOf(at)) way.unshift(at)
  const device = lookAt(root)?.dev
  for (const at of way) {
    const stat = lookAt(at)
    if (stat === undefined) return true // its vanishing is told by whoever walks there
    if (filters.excludes(at, root)) return false
    if (at !== path && stat.isSymbolicLink()) {
      throw new FirnError(
        'usage',
        `${shown(path)} lies behind ${shown(at)}, a symlink that ${shown(root)} archives as such: give the path where it really lies instead; nothing was archived`,
      )
    }
    if (oneFileSystem && stat.isDirectory() && stat.dev !== device) return false
  }
  return true
}

const lookAt = (path: Raw) => lstatSync(rawToBytes(path), { bigint: true, throwIfNoEntry: false })
