/** What an entry is at this moment, as packing needs it. */
import { type BigIntStats, fstatSync, lstatSync } from 'node:fs'
import { type Raw, rawToBytes } from '#libs/os/raw.js'
import type { EntryStat } from './entry.js'

export interface StatNow extends Omit<EntryStat, 'type'> {
  /** `special`: a FIFO, a socket, a device. */
  readonly type: 'file' | 'symlink' | 'directory' | 'special'
}

const S_IFMT = 0o170000n
const TYPES: ReadonlyMap<bigint, StatNow['type']> = new Map([
  [0o100000n, 'file'],
  [0o040000n, 'directory'],
  [0o120000n, 'symlink'],
])

/** For people: what an entry is. */
export const KINDS: Readonly<Record<StatNow['type'] | 'hardlink', string>> = {
  file: 'a file',
  hardlink: 'a file',
  symlink: 'a symlink',
  directory: 'a directory',
  special: 'a special file',
}

/** Undefined where there is nothing (any more). */
export function lstatNow(path: Raw): StatNow | undefined {
  const stat = lstatSync(rawToBytes(path), { bigint: true, throwIfNoEntry: false })
  return stat && from(stat)
}

export function fstatNow(fd: number): StatNow & { readonly sparse: boolean } {
  const stat = fstatSync(fd, { bigint: true })
  // Small files may lie in their inode: that is no hole.
  return { ...from(stat), sparse: stat.size >= 65_536n && stat.blocks * 512n < stat.size }
}

/** Whether a file is still as it was when reading it began. */
export const unmoved = (before: StatNow, after: StatNow): boolean =>
  before.size === after.size && before.mtimeNs === after.mtimeNs && before.ctimeNs === after.ctimeNs

function from(stat: BigIntStats): StatNow {
  const type = TYPES.get(stat.mode & S_IFMT) ?? 'special'
  return {
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
