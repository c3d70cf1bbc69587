/**
 * The last step of a file: from the staging directory into its place, whole or not at all.
 *
 * `link` fails where something stands already, so nothing is overwritten unasked; a rename would replace it, and is what
 * `overwrite` wants. Where the file system knows no hard links, an empty file is created exclusively to claim the place, and the
 * staged file renamed over that claim: nobody else may write in that directory, so nothing comes between. Where another file
 * system is mounted inside the target, the file is first copied beside its place.
 */
import { closeSync, constants, linkSync, openSync, renameSync, unlinkSync } from 'node:fs'
import { errnoOf } from '#libs/errors/errors.js'
import { type Raw, rawToBytes } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'

export interface Put {
  /** Puts `staged` at `place`; false when something stands there. Where `last` succeeds, `staged` is gone, else it stays. */
  put(staged: Raw, place: Raw, last: boolean): boolean
}

export interface PutParts {
  readonly overwrite: boolean
  /** A name in the staging directory. */
  readonly next: () => Raw
  /** A name beside `place`. */
  readonly nextBeside: (place: Raw) => Raw
  /** Makes `to` a file of its own with everything of `from`. */
  readonly copy: (from: Raw, to: Raw) => void
  /** A name became a file of its own, which matters where the inode has several. */
  readonly onNoLink: () => void
}

/** No hard links here (vfat, some FUSE and network file systems), not for us, or too many of this inode already. */
const NO_LINK = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

export function openPut({ overwrite, next, nextBeside, copy, onNoLink }: PutParts): Put {
  const into = overwrite ? replace : linkNew

  /** A second name of `staged` that may be moved away. */
  function spare(staged: Raw, name: Raw): Raw {
    try {
      linkSync(rawToBytes(staged), rawToBytes(name))
    } catch (error) {
      if (!NO_LINK.has(errnoOf(error) ?? '')) throw error
      copy(staged, name)
      onNoLink()
    }
    return name
  }

  function replace(staged: Raw, place: Raw, last: boolean): boolean {
    const moved = last ? staged : spare(staged, next())
    try {
      renameSync(rawToBytes(moved), rawToBytes(place))
    } finally {
      // Also after success: a rename between two names of one inode does nothing and leaves both.
      if (!last) removeIfThere(moved)
    }
    return true
  }

  function linkNew(staged: Raw, place: Raw, last: boolean): boolean {
    try {
      linkSync(rawToBytes(staged), rawToBytes(place))
    } catch (error) {
      const code = errnoOf(error) ?? ''
      if (code === 'EEXIST') return false
      if (!NO_LINK.has(code)) throw error
      return moveNew(staged, place, last)
    }
    step('place.linked')
    if (last) unlinkSync(rawToBytes(staged))
    return true
  }

  function moveNew(staged: Raw, place: Raw, last: boolean): boolean {
    if (!claim(place)) return false
    try {
      const moved = last ? staged : next()
      if (!last) copy(staged, moved)
      onNoLink()
      renameSync(rawToBytes(moved), rawToBytes(place))
      return true
    } catch (error) {
      removeIfThere(place)
      throw error
    }
  }

  return {
    put(staged, place, last) {
      step('place.staged')
      try {
        const isPlaced = into(staged, place, last)
        step('place.named')
        return isPlaced
      } catch (error) {
        if (errnoOf(error) !== 'EXDEV') throw error
      }
      const beside = nextBeside(place)
      try {
        copy(staged, beside)
        if (!into(beside, place, true)) return false
      } finally {
        removeIfThere(beside)
      }
      onNoLink()
      if (last) removeIfThere(staged)
      return true
    },
  }
}

/** Creates an empty file that nobody had; false when something stands there. */
function claim(place: Raw): boolean {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  try {
    closeSync(openSync(rawToBytes(place), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600))
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  }
}

export function removeIfThere(path: Raw): void {
  try {
    unlinkSync(rawToBytes(path))
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}
