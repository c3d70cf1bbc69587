/** What an entry is at this moment, as packing needs it. */
import { openStat, type Stat } from '#libs/os/stat.js'
import type { EntryStat } from './entry.js'

export interface StatNow extends Omit<EntryStat, 'type'> {
  /** `special`: a FIFO, a socket, a device. */
  readonly type: 'file' | 'symlink' | 'directory' | 'special'
  /** Whether it takes less room on its disk than it has bytes. */
  readonly sparse: boolean
}

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

/** Whether an open file is still as it was when reading it began. */
export function isUnmoved(fd: number, before: StatNow): boolean {
  const { size, mtimeNs, ctimeNs } = openStat(fd)
  return mtimeNs === before.mtimeNs && ctimeNs === before.ctimeNs && size === before.size
}

/** Where a time has a fraction, its file system moves with the kernel's tick, which is at most 10 ms; others say every second or every other. */
const TICK_NS = 20_000_000n
const COARSE_NS = 2_000_000_000n
const SECOND_NS = 1_000_000_000n
/** The clocks of servers may be so far ahead. A time that is farther ahead was set by somebody: the next change gives another one. */
const AHEAD_NS = 60n * SECOND_NS

function isYoung(ns: bigint, nowNs: bigint): boolean {
  const age = nowNs - ns
  return age <= (ns % SECOND_NS === 0n ? COARSE_NS : TICK_NS) && age >= -AHEAD_NS
}

/** Whether a change from now on might leave both times as they are. */
export const isFresh = ({ mtimeNs, ctimeNs }: Pick<StatNow, 'mtimeNs' | 'ctimeNs'>, nowMs = Date.now()): boolean => {
  const nowNs = BigInt(nowMs) * 1_000_000n
  return isYoung(ctimeNs, nowNs) || isYoung(mtimeNs, nowNs)
}

/** Smaller files may lie in their inode: that is no hole. */
const SPARSE_FROM_BYTES = 65_536
/** The unit of `blocks`, whatever the file system's own are. */
const BLOCK_BYTES = 512

/** Field by field: this is done for every entry. */
export function statNow(stat: Stat): StatNow {
  const { format, blocks, mtimeNs, ctimeNs, atimeNs, dev, ino, nlink, mode, uid, gid } = stat
  const type = format === S_IFREG ? 'file' : format === S_IFDIR ? 'directory' : format === S_IFLNK ? 'symlink' : 'special'
  const size = type === 'file' ? stat.size : 0
  const sparse = size >= SPARSE_FROM_BYTES && blocks * BLOCK_BYTES < size
  return { type, size, mtimeNs, ctimeNs, atimeNs, dev, ino, nlink, mode, uid, gid, sparse }
}
