/** What an entry is at this moment, as packing needs it. */
import { type BigIntStats, fstatSync, lstatSync } from 'node:fs'
import { type Raw, rawToBytes } from '#libs/os/raw.js'
import type { EntryStat } from './entry.js'

export interface StatNow extends Omit<EntryStat, 'type'> {
  /** `special`: a FIFO, a socket, a device. */
  readonly type: 'file' | 'symlink' | 'directory' | 'special'
  /** Whether it takes less room on its disk than it has bytes. */
  readonly sparse: boolean
}

const S_IFMT = 0o170000
const S_IFREG = 0o100000
const S_IFDIR = 0o040000
const S_IFLNK = 0o120000

/** For people: what an entry is. */
export const KINDS: Readonly<Record<StatNow['type'] | 'hardlink', string>> = {
  file: 'a file',
  hardlink: 'a file',
  symlink: 'a symlink',
  directory: 'a directory',
  special: 'a special file',
}

const EXACTLY = { bigint: true } as const
const EXACTLY_IF_THERE = { bigint: true, throwIfNoEntry: false } as const

/** Undefined where there is nothing (any more). */
export function lstatNow(path: Raw): StatNow | undefined {
  const stat = lstatSync(rawToBytes(path), EXACTLY_IF_THERE)
  return stat && from(stat)
}

export const fstatNow = (fd: number): StatNow => from(fstatSync(fd, EXACTLY))

/** Whether an open file is still as it was when reading it began. */
export function isUnmoved(fd: number, before: StatNow): boolean {
  const { size, mtimeNs, ctimeNs } = fstatSync(fd, EXACTLY)
  return mtimeNs === before.mtimeNs && ctimeNs === before.ctimeNs && Number(size) === before.size
}

/** Smaller files may lie in their inode: that is no hole. */
const SPARSE_FROM_BYTES = 65_536
/** The unit of `st_blocks`, whatever the file system's own blocks are. */
const BLOCK_BYTES = 512

function from(stat: BigIntStats): StatNow {
  const mode = Number(stat.mode)
  const kind = mode & S_IFMT
  const type = kind === S_IFREG ? 'file' : kind === S_IFDIR ? 'directory' : kind === S_IFLNK ? 'symlink' : 'special'
  const size = type === 'file' ? Number(stat.size) : 0
  return {
    type,
    size,
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    atimeNs: stat.atimeNs,
    dev: stat.dev,
    ino: stat.ino,
    nlink: Number(stat.nlink),
    mode: mode & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    sparse: size >= SPARSE_FROM_BYTES && Number(stat.blocks) * BLOCK_BYTES < size,
  }
}
