/** The walk itself: synchronous, on whatever thread it runs. One lstat for every entry, one listing for every directory. */
import { statSync } from 'node:fs'
import type { PlannedEntry, Problem } from '#libs/bundle/entry.js'
import { errnoOf } from '#libs/errors/errors.js'
import type { Names } from '#libs/os/list-names.js'
import { identityOf } from '#libs/os/place-mark.js'
import { joinRaw, parentOf, type Raw, rawToBytes } from '#libs/os/raw.js'
import type { Stat as SystemStat } from '#libs/os/stat.js'
import { step } from '#libs/os/steps.js'
import { TreeAccess } from '#libs/os/tree-access.js'
import type { ListedName, Listing, WalkPage, WalkRequest } from '../source.js'
import { compileFilters } from './filters.js'

/** Entries of a page: enough to make a look-up in the catalog worth its round trip. */
const PAGE_ENTRIES = 2_000

/** A directory being walked: the memory of a walk is one of these for every level, with the names that lie there. */
interface Open {
  readonly path: Raw
  readonly names: Names
  next: number
  readonly dev: bigint
  readonly ino: bigint
  readonly entry: PlannedEntry
  readonly listedAt: number
  /** The first name that no listing has yet, what became of those from there on, and whether one of them is no entry. */
  unlisted: number
  seen: Seen[]
  hasOthers: boolean
}

/** A page before its ranges are known. */
export type WalkedPage = Omit<WalkPage, 'ranges'>
type Page = { -readonly [K in keyof WalkedPage]: WalkedPage[K] }

/** `isStopped` is asked at every entry: then the walk ends without its last page. */
export function* walkTree(request: WalkRequest, isStopped = () => false): Generator<WalkedPage, void, undefined> {
  using tree = new TreeAccess(request.roots, request.realRoots)
  const filters = compileFilters(request)
  const leftOut = identities(request.leaveOut)
  const roots = new Set(request.roots)
  let page = emptyPage()
  const stack: Open[] = []
  /** How many directories of the stack were given out: with narrow filters only those that hold something. */
  let given = 0
  /** Names that are no entries; what a page holds at most counts them too. */
  let others = 0

  const fail = (path: Raw, kind: Problem['kind'], reason: string) => {
    page.found++
    page.problems.push({ path, kind, reason })
  }
  const give = (entry: PlannedEntry) => {
    while (given < stack.length) page.entries.push(stack[given++]!.entry)
    page.entries.push(entry)
  }
  /** `mayBeDirectory`: as the listing says, before lstat. */
  const visit = (path: Raw, root: Raw, mayBeDirectory: boolean): Seen => {
    const isRoot = stack.length === 0
    const passed = mayBeDirectory ? 'unseen' : 'other'
    if (!isRoot && (filters.excludes(path, root) || isNestedRoot(path))) return passed
    if (!mayBeDirectory && !filters.includesPath(path, root)) return passed
    let stat: Stat
    try {
      stat = statOf(path, tree.stat(path))
    } catch (error) {
      fail(path, 'failed', isRoot && errnoOf(error) === 'ENOENT' ? 'it does not exist' : reasonOf(error))
      return 'unseen'
    }
    const { type } = stat
    if (type === 'directory') return isRoot || request.recursive ? enter(path, stat as PlannedEntry) : 'directory'
    if (filters.includesPath(path, root) && filters.includesTimes(stat)) {
      if (type === 'file' || type === 'symlink') {
        page.found++
        give(stat as PlannedEntry)
        return 'entry'
      }
      fail(path, 'skipped', type)
    }
    return 'other'
  }
  const enter = (path: Raw, entry: PlannedEntry): Seen => {
    if (leftOut.has(identityOf(entry)) || request.leaveOut.includes(path)) {
      page.leftOut.push(path)
      return 'directory'
    }
    if (stack.some(({ dev, ino }) => dev === entry.dev && ino === entry.ino)) {
      fail(path, 'failed', 'a mount loop: it is one of the directories that it lies in')
      return 'directory'
    }
    if (!filters.narrow) give(entry)
    const seen = filters.narrow ? 'directory' : 'entry-directory'
    const elsewhere = request.oneFileSystem && stack[0] !== undefined && stack[0].dev !== entry.dev
    if (elsewhere) return seen
    try {
      // Before: whatever vanishes while it is listed was there until then.
      const listedAt = now()
      const { dev, ino } = entry
      stack.push({ path, names: tree.list(path), next: 0, dev, ino, entry, listedAt, unlisted: 0, seen: [], hasOthers: false })
      step('walk:listed')
      if (!filters.narrow) given = stack.length
    } catch (error) {
      fail(path, 'failed', `its names cannot be listed: ${reasonOf(error)}`)
    }
    return seen
  }
  /** Says of a directory what it holds up to where the walk is in it. */
  const list = (open: Open) => {
    const { path: directory, names, next, unlisted, listedAt } = open
    const isWhole = unlisted === 0 && next === names.count && !open.hasOthers
    page.listings.push({
      directory,
      ...(unlisted > 0 && { after: names.name(unlisted - 1) }),
      ...(next < names.count && { last: names.name(next - 1) }),
      ...(!isWhole && { names: open.seen.map((seen, index) => listedName(names.name(unlisted + index), seen)) }),
      listedAt,
      identity: identityOf(open),
      rootIdentity: identityOf(stack[0]!),
    } satisfies Listing)
    open.unlisted = next
    open.seen = []
    open.hasOthers = false
  }
  /** What is a root of its own, because the walk of another does not enter it, is met there. */
  const isNestedRoot = (path: Raw): boolean => roots.size > 1 && request.recursive && roots.has(path)
  /** Without descending, a file that is a root may also lie directly in one: it is met there. */
  const isMetElsewhere = (root: Raw): boolean => {
    const parent = parentOf(root)
    if (request.recursive || root === parent || !roots.has(parent) || filters.excludes(root, parent)) return false
    const type = typeOf(tree, root)
    return type !== undefined && type !== 'directory' && typeOf(tree, parent) === 'directory'
  }

  for (const root of request.roots) {
    if (isMetElsewhere(root)) continue
    visit(root, root, true)
    for (let open = stack.at(-1); open !== undefined; open = stack.at(-1)) {
      if (isStopped()) return
      const { names, next } = open
      if (next === names.count) {
        if (open.next > open.unlisted || names.count === 0) list(open)
        stack.pop()
        given = Math.min(given, stack.length)
      } else {
        open.next++
        const name = names.name(next)
        const seen = visit(joinRaw(open.path, name), root, names.mayBeDirectory(next))
        open.seen.push(seen)
        if (!isEntry(seen)) {
          open.hasOthers = true
          others++
        }
      }
      if (page.entries.length + page.problems.length + others >= PAGE_ENTRIES) {
        for (const one of stack) if (one.next > one.unlisted) list(one)
        yield page
        page = emptyPage()
        others = 0
      }
    }
  }
  const { entries, problems, leftOut: left, listings } = page
  if (entries.length + problems.length + left.length + listings.length > 0) yield page
}

const emptyPage = (): Page => ({ entries: [], problems: [], leftOut: [], listings: [], found: 0 })

/** What became of a name: an entry of this page, or none; `unseen`: nobody looked what it is. */
type Seen = 'entry' | 'entry-directory' | 'directory' | 'other' | 'unseen'

const isEntry = (seen: Seen): boolean => seen === 'entry' || seen === 'entry-directory'

const listedName = (name: Raw, seen: Seen): ListedName => ({
  name,
  isEntry: isEntry(seen),
  ...(seen !== 'unseen' && { isDirectory: seen === 'directory' || seen === 'entry-directory' }),
})

const now = (): number => Number(process.hrtime.bigint() / 1_000_000n)

type Special = 'a FIFO' | 'a socket' | 'a block device' | 'a character device' | 'of an unknown type'
type Stat = Omit<PlannedEntry, 'type'> & { readonly type: PlannedEntry['type'] | Special }

/** By `S_IFMT` of <sys/stat.h>. */
const TYPES: ReadonlyMap<number, Stat['type']> = new Map([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'symlink'],
  [0o010000, 'a FIFO'],
  [0o140000, 'a socket'],
  [0o060000, 'a block device'],
  [0o020000, 'a character device'],
])

function statOf(path: Raw, stat: SystemStat): Stat {
  const { format, mode, size, mtimeNs, ctimeNs, atimeNs, dev, ino, nlink, uid, gid } = stat
  const type = TYPES.get(format) ?? 'of an unknown type'
  return { path, type, size: type === 'file' ? size : 0, mtimeNs, ctimeNs, atimeNs, dev, ino, nlink, mode, uid, gid }
}

/** Undefined where it cannot be looked at. */
function typeOf(tree: TreeAccess, path: Raw): Stat['type'] | undefined {
  try {
    return statOf(path, tree.stat(path)).type
  } catch {
    return undefined
  }
}

/** Of the directories that are there: another path to the same directory is left out too. */
function identities(paths: readonly Raw[]): Set<string> {
  const found = new Set<string>()
  for (const path of paths) {
    try {
      const stat = statSync(rawToBytes(path), { bigint: true })
      if (stat.isDirectory()) found.add(identityOf(stat))
    } catch {
      // Not there (yet), or not ours to look at: its path is enough.
    }
  }
  return found
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'vanished while the tree was walked',
  ENOTDIR: 'vanished while the tree was walked',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ENAMETOOLONG: 'its path is too long for the system',
  ELOOP: 'lies behind a symlink now, which is not followed',
  EIO: 'an input/output error',
}

function reasonOf(error: unknown): string {
  const code = errnoOf(error)
  if (code === undefined) throw error
  return REASONS[code] ?? `the system answered ${code}`
}
