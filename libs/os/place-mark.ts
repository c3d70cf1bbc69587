/**
 * What a place in the tree looks like from this machine: enough to tell later, or on another machine, whether the same path still
 * leads to the same place. A path alone does not say it: where nothing is mounted, the empty mount point answers to the same name.
 */
import { lstatSync, realpathSync } from 'node:fs'
import { type MountPoint, mountPoints } from './mount-points.js'
import { isWithin, parentOf, type Raw, rawFromBytes, rawToBytes } from './raw.js'

export interface PlaceMark {
  readonly path: Raw
  readonly ino: bigint
  /** Of the file system; another number on another machine, and after a new mount. */
  readonly dev: bigint
  /** When its inode was made, ns; undefined where the file system does not say. */
  readonly bornNs?: bigint
  /** `ext4`, `nfs4` ...; '' where the system does not say. */
  readonly fileSystem: string
  /** What is mounted there: a device, `server:/export`. */
  readonly source: string
}

/** Of an inode on this machine: the same whether Node takes the numbers for signed or not. */
export const identityOf = ({ dev, ino }: { dev: bigint; ino: bigint }): string =>
  `${BigInt.asUintN(64, dev)}:${BigInt.asUintN(64, ino)}`

/** Undefined where nothing can be seen under that path, now and from here. */
export function markOf(path: Raw, mounts: readonly MountPoint[] = mountPoints()): PlaceMark | undefined {
  const stat = lstat(path)
  if (stat === undefined) return undefined
  const mount = mountOf(path, mounts)
  return {
    path,
    ino: stat.ino,
    dev: stat.dev,
    // Where a file system keeps no such time, Node gives the ctime or none.
    ...(stat.birthtimeNs > 0n && stat.birthtimeNs < stat.ctimeNs && { bornNs: stat.birthtimeNs }),
    fileSystem: mount?.type ?? '',
    source: mount?.source ?? '',
  }
}

/** The file system that a path that is gone was on, if its nearest parent is still on it. */
export function nearestDev(path: Raw): bigint | undefined {
  for (let at = path; ; at = parentOf(at)) {
    const stat = lstat(at)
    if (stat !== undefined) return stat.dev
    if (at === '/') return undefined
  }
}

/** The deepest mount point on the way to a path, wherever symlinks lead; of two on one place the later one. */
function mountOf(path: Raw, mounts: readonly MountPoint[]): MountPoint | undefined {
  let found: MountPoint | undefined
  const real = realPath(path)
  for (const mount of mounts) {
    if (isWithin(real, mount.path) && mount.path.length >= (found?.path.length ?? 0)) found = mount
  }
  return found
}

function realPath(path: Raw): Raw {
  try {
    return rawFromBytes(realpathSync.native(rawToBytes(path), 'buffer'))
  } catch {
    return path
  }
}

function lstat(path: Raw) {
  try {
    return lstatSync(rawToBytes(path), { bigint: true })
  } catch {
    return undefined // not there, or not for this user: not seen either way
  }
}
