/** The walk itself: synchronous, on whatever thread it runs. One lstat for every entry, one listing for every directory. */
import { lstatSync, statSync } from 'node:fs'
import type { PlannedEntry, Problem } from '#libs/bundle/entry.js'
import { errnoOf } from '#libs/errors/errors.js'
import { listNames } from '#libs/os/list-names.js'
import { joinRaw, type Raw, rawToBytes } from '#libs/os/raw.js'
import type { WalkPage, WalkRequest } from '../source.js'
import { compileFilters } from './filters.js'

/** Entries of a page: enough to make a look-up in the catalog worth its round trip. */
const PAGE_ENTRIES = 2_000

/** A directory being walked. `entry` until it was given out: with narrow filters only for what it holds. */
interface Open {
  readonly path: Raw
  readonly names: readonly Raw[]
  next: number
  readonly dev: bigint
  readonly ino: bigint
  entry: PlannedEntry | undefined
}

type Page = { -readonly [K in keyof WalkPage]: WalkPage[K] }

export function* walkTree(request: WalkRequest): Generator<WalkPage, void, undefined> {
  const filters = compileFilters(request)
  const leftOut = identities(request.leaveOut)
  let page = emptyPage()
  const stack: Open[] = []

  const fail = (path: Raw, kind: Problem['kind'], reason: string) => page.problems.push({ path, kind, reason })
  const give = (entry: PlannedEntry) => {
    for (const open of stack) {
      if (open.entry !== undefined) page.entries.push(open.entry)
      open.entry = undefined
    }
    page.entries.push(entry)
  }
  const visit = (path: Raw, root: Raw, depth: number) => {
    if (depth > 0 && filters.excludes(path, root)) return
    let stat: Stat
    try {
      stat = lstat(path)
    } catch (error) {
      page.found++
      fail(path, 'failed', reasonOf(error))
      return
    }
    const { type } = stat
    if (type === 'directory') enter(path, stat as PlannedEntry, depth)
    else if (filters.includesFile(path, root, stat)) {
      page.found++
      if (type === 'file' || type === 'symlink') give(stat as PlannedEntry)
      else fail(path, 'skipped', type)
    }
  }
  const enter = (path: Raw, entry: PlannedEntry, depth: number) => {
    if (leftOut.has(identity(entry)) || request.leaveOut.includes(path)) {
      page.leftOut.push(path)
      return
    }
    if (depth > 0 && !request.recursive) return
    if (stack.some(({ dev, ino }) => dev === entry.dev && ino === entry.ino)) {
      page.found++
      fail(path, 'failed', 'a mount loop: it is one of the directories that it lies in')
      return
    }
    let names: Raw[] = []
    const elsewhere = request.oneFileSystem && stack[0] !== undefined && stack[0].dev !== entry.dev
    if (!elsewhere) {
      try {
        names = listNames(path)
      } catch (error) {
        page.found++
        fail(path, 'failed', `its names cannot be listed: ${reasonOf(error)}`)
      }
    }
    if (!filters.narrow) give(entry)
    stack.push({ path, names, next: 0, dev: entry.dev, ino: entry.ino, entry: filters.narrow ? entry : undefined })
  }

  for (const root of request.roots) {
    visit(root, root, 0)
    for (let open = stack.at(-1); open !== undefined; open = stack.at(-1)) {
      const name = open.names[open.next++]
      if (name === undefined) stack.pop()
      else visit(joinRaw(open.path, name), root, stack.length)
      if (page.entries.length + page.problems.length >= PAGE_ENTRIES) {
        yield page
        page = emptyPage()
      }
    }
  }
  if (page.entries.length + page.problems.length + page.leftOut.length > 0) yield page
}

const emptyPage = (): Page => ({ entries: [], problems: [], leftOut: [], found: 0 })

type Special = 'a FIFO' | 'a socket' | 'a block device' | 'a character device' | 'of an unknown type'
type Stat = Omit<PlannedEntry, 'type'> & { readonly type: PlannedEntry['type'] | Special }

const S_IFMT = 0o170000n
const TYPES: ReadonlyMap<bigint, Stat['type']> = new Map([
  [0o100000n, 'file'],
  [0o040000n, 'directory'],
  [0o120000n, 'symlink'],
  [0o010000n, 'a FIFO'],
  [0o140000n, 'a socket'],
  [0o060000n, 'a block device'],
  [0o020000n, 'a character device'],
])

const ASCII = /^[\x00-\x7f]*$/

function lstat(path: Raw): Stat {
  // ASCII is the same in UTF-8: no need for a buffer.
  const stat = lstatSync(ASCII.test(path) ? path : rawToBytes(path), { bigint: true })
  const type = TYPES.get(stat.mode & S_IFMT) ?? 'of an unknown type'
  return {
    path,
    type,
    size: type === 'file' ? Number(stat.size) : 0,
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    atimeNs: stat.atimeNs,
    dev: stat.dev,
    ino: stat.ino,
    nlink: Number(stat.nlink),
    mode: Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
  }
}

const identity = ({ dev, ino }: { dev: bigint; ino: bigint }): string => `${dev}:${ino}`

/** Of the directories that are there: another path to the same directory is left out too. */
function identities(paths: readonly Raw[]): Set<string> {
  const found = new Set<string>()
  for (const path of paths) {
    const stat = statSync(rawToBytes(path), { bigint: true, throwIfNoEntry: false })
    if (stat?.isDirectory()) found.add(identity(stat))
  }
  return found
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'vanished while the tree was walked',
  ENOTDIR: 'vanished while the tree was walked',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ENAMETOOLONG: 'its path is too long for the system',
  ELOOP: 'too many symbolic links',
  EIO: 'an input/output error',
}

function reasonOf(error: unknown): string {
  const code = errnoOf(error)
  return (code && REASONS[code]) ?? code ?? String(error)
}
