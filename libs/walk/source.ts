/**
 * The port to where entries come from. A source tells what is there, page by page, in one order that never varies; it opens no file and
 * decides nothing about bundles.
 *
 * What an implementation must be:
 * - Deterministic: depth first, a directory before what it holds, names in byte order, roots in the order given.
 * - Complete: every entry below the roots that passes the filters is an entry or a problem, once.
 * - Confined: nothing outside the roots is looked at or listed, whatever the owner of a tree exchanges meanwhile.
 * - Bounded: pages, with back-pressure; a consumer that stops early ends the walk.
 */
import type { PlannedEntry, Problem } from '#libs/bundle/entry.js'
import type { NameRange } from '#libs/bundle/name-ranges.js'
import type { Raw } from '#libs/os/raw.js'

export interface Source {
  walk(request: WalkRequest, options?: { signal?: AbortSignal }): AsyncIterable<WalkPage>
}

export interface WalkRequest {
  /** Absolute, each tree once (see `normaliseRoots`). */
  readonly roots: readonly Raw[]
  /** Where each of them really is, if that was found out before; undefined: where its path leads now. */
  readonly realRoots?: readonly (Raw | undefined)[]
  /** Without it: a root directory and the files directly in it. */
  readonly recursive: boolean
  /** A directory on another file system is an entry, and not entered. */
  readonly oneFileSystem: boolean
  /** Directories that are neither entered nor archived, wherever they are met. */
  readonly leaveOut: readonly Raw[]
  /**
   * Globs. Without a slash they match a name at any depth, with a leading slash an absolute path, else a path relative to its root.
   * `include` limits files; a directory that matches `exclude` is not entered.
   */
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  /** Only files whose time is less than `olderThanNs` and more than `newerThanNs`, nanoseconds since 1970. */
  readonly age?: {
    readonly time: 'atime' | 'mtime' | 'ctime'
    readonly olderThanNs?: bigint
    readonly newerThanNs?: bigint
  }
}

export interface WalkPage {
  /** Names of an inode that has several are all of type `file` here. May be put together when it is asked for first. */
  readonly entries: PlannedEntry[]
  /** What `nameRanges` makes of the entries. */
  readonly ranges: readonly NameRange[]
  readonly problems: Problem[]
  /** Met and left out. */
  readonly leftOut: Raw[]
  /** What the directories hold that could be listed: each name of each of them once, over all pages. */
  readonly listings: Listing[]
  /** Files of this page that passed the filters, special and unreadable ones too. */
  readonly found: number
}

/** Neighbouring names of one directory, as it was listed: all there are between two bounds, whatever the filters say of them. */
export interface Listing {
  readonly directory: Raw
  /** The name before the first; undefined from the directory's beginning. */
  readonly after?: Raw
  /** Inclusive; undefined to its end. */
  readonly last?: Raw
  /** Undefined where they are those of the entries of this page that lie in the directory. */
  readonly names?: readonly ListedName[]
  /** By `process.hrtime`, ms. */
  readonly listedAt: number
  /** Which directory was listed (`identityOf`), and which one its root is: another may have come to the same path. */
  readonly identity: string
  readonly rootIdentity: string
}

export interface ListedName {
  readonly name: Raw
  /** It is an entry; else a filter passes over it, it is a special file, or cannot be looked at. */
  readonly isEntry: boolean
  /** Undefined where nobody looked. */
  readonly isDirectory?: boolean
}
