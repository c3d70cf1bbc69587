/** The values that travel from the walk to the tar, the manifest and the catalog: entries and problems. */
import type { Raw } from '#libs/os/raw.js'
import type { Stat } from '#libs/os/stat.js'
import type { Xattrs } from './xattrs.js'

/** A name of an inode with several names is a `hardlink` from the second name on (in the order of the bundle). */
export type EntryType = 'file' | 'hardlink' | 'symlink' | 'directory'

/** A type as a number is its place here: in plans, and in the column `type` of the catalog's files. */
export const ENTRY_TYPES: readonly EntryType[] = ['file', 'hardlink', 'symlink', 'directory']

/** Whether an entry counts as a file (limits, `files_*`): everything but a directory. */
export const isFile = (type: EntryType): boolean => type !== 'directory'

/** What lstat says of an entry. */
export interface EntryStat extends Omit<Stat, 'format' | 'blocks'> {
  readonly type: EntryType
  /** Bytes of content. A hard link has the size of its inode, a symlink and a directory 0. */
  readonly size: number
}

/** Where the bytes of an entry already lie: in an earlier bundle. */
export interface HeldBytes {
  /** Id of the bundle whose tar holds them. */
  readonly bundle: string
  /** Of the first byte in that tar. */
  readonly offset: number
  readonly sha256: string
}

/** One entry of a bundle's plan: what the crawler saw. */
export interface PlannedEntry extends EntryStat {
  /** Absolute. */
  readonly path: Raw
  /** Of a hard link: the path of the first name of its inode in this plan. Targets of symlinks are read when packing. */
  readonly link?: Raw
  /** Set where only ctime or inode differ from a stored version: if the bytes still hash to `sha256`, nothing is sent. */
  readonly held?: HeldBytes
  /** Of a name of a linked inode, while its group is put together: this name alone would not have to travel. */
  readonly unchanged?: boolean
}

/** Of a file with more of them none are kept: it is whole all the same, and takes all its room when it is restored. */
export const MOST_HOLES = 1_000_000

/** `changed`: kept as read, but it changed twice while it was read. `void`: a padded or superseded member; it has no row. */
export type EntryState = 'ok' | 'changed' | 'void'

/** One line of a manifest: an entry as it was read, and where its bytes are. */
export interface Entry extends EntryStat {
  readonly path: Raw
  readonly uname: string
  readonly gname: string
  /** Hex. Of files and hard links. */
  readonly sha256?: string
  /** Of the first byte of its data in the tar of `dataBundle`, else of this bundle. Of files and hard links. */
  readonly offset?: number
  /** The id of the bundle that holds the bytes, where that is another one. */
  readonly dataBundle?: string
  /** Of a sparse file: the runs that are zeros and were holes, [offset, length], ascending. Their zeros are in the tar. */
  readonly holes?: readonly (readonly [number, number])[]
  /**
   * Its mtime or ctime was as young, when it was read, as the clock of its file system is coarse: a change right afterwards may show in
   * neither. Such a file is hashed before it is called unchanged.
   */
  readonly fresh?: boolean
  /** Target of a symlink as read; of a hard link the absolute path of the first name. */
  readonly link?: Raw
  /** Values by full name (`user.x`, `system.posix_acl_access`). */
  readonly xattrs?: Xattrs
  readonly state: EntryState
}

/** skipped: a special file. failed: unreadable or vanished. changed: archived, but it changed while it was read. */
export type ProblemKind = 'skipped' | 'failed' | 'changed'

/** An entry that was not archived as it stood, and why. */
export interface Problem {
  readonly path: Raw
  readonly kind: ProblemKind
  /** For people: `a FIFO`, `permission denied`, `vanished before it was read` ... */
  readonly reason: string
}
