/** Opening a file that somebody else may play with, and without leaving a trace in its atime. */
import { constants, openSync } from 'node:fs'
import { type Raw, rawToBytes } from './raw.js'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOATIME = 0 } = constants
/** A symlink is refused, a FIFO does not block. */
const SAFELY = O_RDONLY | O_NOFOLLOW | O_NONBLOCK

/** Opens for reading. O_NOATIME is for the file's owner and root only: others read without it. */
export function openQuietly(path: Raw): number {
  const bytes = rawToBytes(path)
  try {
    return openSync(bytes, SAFELY | O_NOATIME)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
    return openSync(bytes, SAFELY)
  }
}
