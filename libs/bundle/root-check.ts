/**
 * Whether an entry whose inode is not the one that the crawler saw still lies below its root. Opening refuses a symlink at the end of a
 * path, not one in its middle: who may write in a tree could put a symlink in the place of a directory and have files archived that
 * only the archiving user may read.
 */
import { readlinkSync, realpathSync } from 'node:fs'
import { errnoOf } from '#libs/errors/errors.js'
import { isWithin, joinRaw, nameOf, parentOf, type Raw, rawFromBytes, rawToBytes } from '#libs/os/raw.js'

export interface RootCheck {
  /** Whether no symlink was followed below the root on the way to `path`; of an open file, to what was opened. */
  isStraight(path: Raw, fd?: number): boolean
}

export function openRootCheck(roots: readonly Raw[]): RootCheck {
  /** A root may have been given by a way through symlinks: where it really lies. */
  const real = new Map<Raw, Raw>()
  const realOf = (root: Raw): Raw => {
    const known = real.get(root)
    if (known !== undefined) return known
    // The root itself, where it is a symlink, is an entry and no way.
    const found = root === '/' ? root : joinRaw(realPath(parentOf(root)), nameOf(root))
    real.set(root, found)
    return found
  }
  return {
    isStraight(path, fd) {
      const root = roots.find((one) => isWithin(path, one))
      if (root === undefined) return false
      const below = path.slice(root.length).replace(/^\//, '') as Raw
      const expected = below === '' ? realOf(root) : joinRaw(realOf(root), below)
      const opened = fd === undefined ? undefined : pathOfOpen(fd)
      return (opened ?? joinRaw(realPath(parentOf(path)), nameOf(path))) === expected
    },
  }
}

const realPath = (path: Raw): Raw => rawFromBytes(realpathSync.native(rawToBytes(path), 'buffer'))

/** What Linux opened, also when directories are swapped meanwhile; undefined where the system does not tell. */
function pathOfOpen(fd: number): Raw | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`, 'latin1') as Raw
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return undefined
  }
}
