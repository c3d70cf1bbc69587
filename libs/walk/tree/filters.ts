/** Which entries a walk keeps: globs and ages. */
import picomatch from 'picomatch'
import type { EntryStat } from '#libs/bundle/entry.js'
import { FirnError } from '#libs/errors/errors.js'
import { isWithin, nameOf, parentOf, type Raw, textOf } from '#libs/os/raw.js'
import type { WalkRequest } from '../source.js'

export interface Filters {
  /** Whether files may be left out, so that a directory is only worth keeping for what it holds. */
  readonly narrow: boolean
  excludes(path: Raw, root: Raw): boolean
  /** Of what is no directory. */
  includesPath(path: Raw, root: Raw): boolean
  includesTimes(stat: Pick<EntryStat, 'atimeNs' | 'mtimeNs' | 'ctimeNs'>): boolean
}

/** Whether a walk comes to a path, if it is there: below a root, on the way from which nothing is left out. Of what is mounted there. */
export function isWalkedBy(
  request: Pick<WalkRequest, 'roots' | 'recursive' | 'oneFileSystem' | 'exclude' | 'leaveOut'>,
): (path: Raw) => boolean {
  if (!request.recursive || request.oneFileSystem) return () => false
  const filters = compileFilters({ include: [], exclude: request.exclude })
  const comesFrom = (root: Raw, path: Raw): boolean => {
    for (let at = path; at !== root; at = parentOf(at)) {
      if (filters.excludes(at, root) || request.leaveOut.includes(at)) return false
    }
    return true
  }
  return (path) => request.roots.some((root) => isWithin(path, root) && comesFrom(root, path))
}

type Match = (path: Raw, root: Raw) => boolean

export function compileFilters(request: Pick<WalkRequest, 'include' | 'exclude' | 'age'>): Filters {
  const include = anyOf(request.include)
  const exclude = anyOf(request.exclude)
  const { age } = request
  const timeOf = age && (`${age.time}Ns` as const)
  return {
    narrow: include !== undefined || age !== undefined,
    excludes: (path, root) => exclude?.(path, root) ?? false,
    includesPath: (path, root) => include?.(path, root) ?? true,
    includesTimes(stat) {
      if (age === undefined || timeOf === undefined) return true
      const time = stat[timeOf]
      return (
        (age.olderThanNs === undefined || time < age.olderThanNs) && (age.newerThanNs === undefined || time > age.newerThanNs)
      )
    },
  }
}

function anyOf(globs: readonly string[]): Match | undefined {
  if (globs.length === 0) return undefined
  const matches = globs.map(matchOf)
  return (path, root) => matches.some((match) => match(path, root))
}

function matchOf(glob: string): Match {
  const pattern = glob.length > 1 ? glob.replace(/\/+$/, '') : glob
  let matches: (text: string) => boolean
  try {
    // `s`: a newline is a character of a name like any other.
    matches = picomatch(pattern, { dot: true, nonegate: true, flags: 's' })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new FirnError('usage', `The pattern ${JSON.stringify(glob)} cannot be read: ${reason}`, { cause: error })
  }
  if (pattern.startsWith('/')) return (path) => matches(pathText(path))
  if (!pattern.includes('/')) return (path) => matches(nameText(nameOf(path)))
  return (path, root) => matches(pathText(path.slice(root === '/' ? 1 : root.length + 1) as Raw))
}

/** What is not UTF-8 is matched byte by byte, as latin1. */
const nameText = (name: Raw): string => textOf(name) ?? name
const pathText = (path: Raw): string =>
  textOf(path) ??
  path
    .split('/')
    .map((name) => nameText(name as Raw))
    .join('/')
