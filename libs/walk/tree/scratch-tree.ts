/** For the tests of the walk: a scratch directory, a request with nothing special about it, and what a walk gave as plain lists. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PlannedEntry, Problem } from '#libs/bundle/entry.js'
import { type Raw, rawFromText } from '#libs/os/raw.js'
import type { WalkRequest } from '../source.js'
import { type WalkedPage, walkTree } from './walk-tree.js'

export interface ScratchTree extends Disposable {
  readonly path: string
  readonly root: Raw
  /** The absolute raw path of what lies in it. */
  at(relative: string): Raw
}

/** Where hundreds of thousands of files are made in a second or two: in memory, where the system has such a place. */
const FAST = '/dev/shm'

/** `many`: for more files than a disk likes to make. */
export function scratchTree(options: { many?: boolean } = {}): ScratchTree {
  const path = mkdtempSync(join(options.many && existsSync(FAST) ? FAST : tmpdir(), 'firn-walk-'))
  const root = rawFromText(path)
  return {
    path,
    root,
    at: (relative) => `${root}/${relative}` as Raw,
    // Goes where paths get too long for Node.
    [Symbol.dispose]: () => void spawnSync('rm', ['-rf', path]),
  }
}

export const requestOf = (roots: readonly Raw[], special: Partial<WalkRequest> = {}): WalkRequest => ({
  roots,
  recursive: true,
  oneFileSystem: false,
  leaveOut: [],
  include: [],
  exclude: [],
  ...special,
})

export interface Walked {
  readonly pages: number
  readonly entries: readonly PlannedEntry[]
  readonly problems: readonly Problem[]
  readonly leftOut: readonly Raw[]
  readonly found: number
}

export function gather(pages: Iterable<WalkedPage>): Walked {
  const all = [...pages]
  return {
    pages: all.length,
    entries: all.flatMap(({ entries }) => entries),
    problems: all.flatMap(({ problems }) => problems),
    leftOut: all.flatMap(({ leftOut }) => leftOut),
    found: all.reduce((sum, { found }) => sum + found, 0),
  }
}

/** On this thread, without the channel between. */
export const walkAll = (roots: readonly Raw[], special: Partial<WalkRequest> = {}): Walked =>
  gather(walkTree(requestOf(roots, special)))

/** Paths relative to a directory, `.` for itself. */
export const below = (root: Raw, entries: readonly { readonly path: Raw }[]): string[] =>
  entries.map(({ path }) => (path === root ? '.' : path.slice(root.length + 1)))
