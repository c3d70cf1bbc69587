/**
 * From the entries of a call to the work of the thread: what is refused at once, and which bytes are read in which order. The
 * catalog is not trusted here: numbers that cannot be are refused one by one, and spoil nothing for the others.
 */
import type { Raw } from '#libs/os/raw.js'
import type { PlaceEntry } from '../place.js'
import { isLinkTarget, whyNotAt } from './at.js'
import type { Dress } from './dress.js'

/** A name to be placed; `index` is that of its entry in the call. */
export interface Name {
  readonly index: number
  readonly at: Raw
}

/** One inode to be made: its names are hard links of each other. */
export interface Inode {
  readonly dress: Dress
  readonly holes?: readonly (readonly [number, number])[]
  readonly names: Name[]
}

/** Bytes of the tar, and the inodes that shall have them. */
export interface Piece {
  readonly offset: number
  readonly size: number
  /** Hex. */
  readonly sha256: string
  readonly inodes: Inode[]
}

export interface Symlink extends Name {
  readonly link: Raw
  readonly dress: Dress
}

/** One read of the vault: pieces that follow each other and do not overlap. */
export interface Run {
  readonly offset: number
  readonly length: number
  readonly pieces: readonly Piece[]
}

export interface Plan {
  readonly refused: readonly { index: number; reason: string }[]
  readonly directories: readonly Name[]
  readonly pieces: readonly Piece[]
  readonly symlinks: readonly Symlink[]
}

/** Two ranges with less between them are one read: a request costs more than 64 KiB. */
const JOIN_BYTES = 64 * 1024

/** `tarBytes`: entries whose bytes would lie behind it are refused, so that a read never fails for one of them. */
export function planPlacing(entries: readonly PlaceEntry[], target: Raw, tarBytes = Number.MAX_SAFE_INTEGER): Plan {
  const refused: { index: number; reason: string }[] = []
  const directories: Name[] = []
  const symlinks: Symlink[] = []
  const pieces = new Map<string, Piece>()
  const inodes = new Map<string, Inode>()

  for (const [index, entry] of entries.entries()) {
    const { at, type } = entry
    const reason = type === 'directory' && at === '' ? undefined : (whyNotAt(at, target) ?? whyNotEntry(entry, tarBytes))
    if (reason !== undefined) refused.push({ index, reason })
    else if (type === 'directory') directories.push({ index, at })
    else if (type === 'symlink') symlinks.push({ index, at, link: entry.link as Raw, dress: dressOf(entry) })
    else addFile(pieces, inodes, entry, index)
  }

  return { refused, directories, pieces: [...pieces.values()], symlinks }
}

/** What is left of pieces when the entries `decided` need no bytes any more. An inode is left whole or not at all. */
export const withoutDecided = (pieces: readonly Piece[], decided: ReadonlySet<number>): Piece[] =>
  pieces
    .map((piece) => ({ ...piece, inodes: piece.inodes.filter(({ names }) => !names.every(({ index }) => decided.has(index))) }))
    .filter(({ inodes }) => inodes.length > 0)

function whyNotEntry(entry: PlaceEntry, tarBytes: number): string | undefined {
  if (entry.state === 'void') return 'it was not archived'
  switch (entry.type) {
    case 'directory':
      return undefined
    case 'symlink':
      return isLinkTarget(entry.link) ? undefined : 'the catalog has no target of this symlink'
    case 'file':
    case 'hardlink': {
      const { size, offset = size === 0 ? 0 : -1, sha256 } = entry
      if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) return 'the catalog has no SHA-256 of it'
      if (!Number.isSafeInteger(size) || size < 0) return 'the catalog has an impossible size of it'
      if (!Number.isSafeInteger(offset) || offset < 0 || size > tarBytes - offset)
        return 'the catalog says that its bytes lie where the bundle has none'
      return undefined
    }
    default:
      entry.type satisfies never
      return 'it is of a kind that Firn does not restore'
  }
}

/** Files with the same bytes share one piece; names of one inode, archived with the same metadata, share the inode. */
function addFile(pieces: Map<string, Piece>, inodes: Map<string, Inode>, entry: PlaceEntry, index: number): void {
  const name = { index, at: entry.at }
  const bytes = `${entry.size === 0 ? 0 : entry.offset}/${entry.size}/${entry.sha256}`
  let piece = pieces.get(bytes)
  if (piece === undefined) {
    piece = { offset: entry.offset ?? 0, size: entry.size, sha256: entry.sha256 as string, inodes: [] }
    pieces.set(bytes, piece)
  }
  if (!(entry.nlink > 1)) {
    piece.inodes.push(inodeOf(entry, [name]))
    return
  }
  // Versions of an inode from several sets may differ in metadata only: these are inodes of their own.
  const { dev, ino, mode, uid, gid, mtimeNs } = entry
  const key = `${bytes}/${dev}/${ino}/${mode}/${uid}/${gid}/${mtimeNs}/${entry.xattrs ? JSON.stringify(entry.xattrs) : ''}`
  const inode = inodes.get(key)
  if (inode !== undefined) inode.names.push(name)
  else {
    const made = inodeOf(entry, [name])
    inodes.set(key, made)
    piece.inodes.push(made)
  }
}

const inodeOf = (entry: PlaceEntry, names: Name[]): Inode => ({
  dress: dressOf(entry),
  ...(entry.holes && { holes: possibleHoles(entry.holes, entry.size) }),
  names,
})

export const dressOf = ({ mode, uid, gid, mtimeNs, atimeNs, xattrs }: Omit<Dress, never>): Dress => ({
  mode,
  uid,
  gid,
  mtimeNs,
  atimeNs,
  ...(xattrs && { xattrs }),
})

/** Holes only save space: where they make no sense, the file gets none. */
function possibleHoles(holes: readonly (readonly [number, number])[], size: number): readonly (readonly [number, number])[] {
  let end = 0
  for (const [offset, length] of holes) {
    const isPossible = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= end && length > 0
    if (!isPossible || length > size - offset) return []
    end = offset + length
  }
  return holes
}

/** The reads, ascending. Pieces that overlap (nothing that Firn archives does) are read again, each by itself. */
export function runsOf(pieces: readonly Piece[]): Run[] {
  const runs: { offset: number; length: number; pieces: Piece[] }[] = []
  for (const piece of pieces.filter(({ size }) => size > 0).sort((a, b) => a.offset - b.offset)) {
    const run = runs.at(-1)
    const gap = run === undefined ? -1 : piece.offset - (run.offset + run.length)
    if (run !== undefined && gap >= 0 && gap <= JOIN_BYTES) {
      run.pieces.push(piece)
      run.length += gap + piece.size
    } else runs.push({ offset: piece.offset, length: piece.size, pieces: [piece] })
  }
  return runs
}
