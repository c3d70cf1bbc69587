/** Opening a file for reading without leaving a trace in its atime. */
import { constants, openSync } from 'node:fs'
import { type Raw, rawToBytes } from './raw.js'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOATIME = 0 } = constants
/** A symlink is refused, a FIFO does not block. */
const SAFELY = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
const HELD = O_RDONLY | O_NONBLOCK

/**
 * O_NOATIME is for the file's owner and root only: others read without it. `held`: the path is that of an open descriptor in /proc,
 * which is a link.
 */
export function openQuietly(path: Raw, { held = false } = {}): number {
  const bytes = rawToBytes(path)
  const flags = held ? HELD : SAFELY
  try {
    return openSync(bytes, flags | O_NOATIME)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
    return openSync(bytes, flags)
  }
}
