/** The end of a retrieval: the directories that it created get what the catalog says of them. */
import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs'
import { joinRaw, nameOf, type Raw, rawToBytes } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'
import { directoryAt } from './at.js'
import { type Chain, isUnderConstruction, MARKED } from './chain.js'
import type { Dress, Dresser } from './dress.js'
import { failureOf, Obstacle } from './obstacle.js'

/** The mode of a parent that was not archived. */
const UNKNOWN_MODE = 0o700

/** Root gave it to its owner already, and a crash came before its mode. */
const isGivenAway = (stat: Stats, dress: Dress | undefined): boolean =>
  process.geteuid?.() === 0 && stat.uid === dress?.uid && (stat.mode & 0o7777) === MARKED

/** What could not be done, in words. `dress` undefined: it keeps our ownership, and its times are those of now. */
export function finishDirectory(
  { chain, dresser }: { chain: Chain; dresser: Dresser },
  at: Raw,
  dress: Dress | undefined,
): string | undefined {
  try {
    // Only the parents: their last look must not be taken for one after this directory has changed hands.
    const path = joinRaw(chain.enter(directoryAt(at), { make: false }), nameOf(`/${at}` as Raw))
    const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants
    const fd = openSync(rawToBytes(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    try {
      const stat = fstatSync(fd)
      // Gone, exchanged, finished already: it is no longer ours to touch.
      if (!isUnderConstruction(stat) && !isGivenAway(stat, dress)) return undefined
      if (dress === undefined) {
        const { uid, gid } = stat
        return dresser.dress(fd, path, { mode: UNKNOWN_MODE, uid, gid, mtimeNs: 0n, atimeNs: 0n }, stat)
      }
      // The mode is our mark: while that stands, whoever comes after a crash does all of this again. Nothing of it moves the times.
      const late = dresser.times(path, dress)
      step('place.directory-timed')
      const notice = dresser.dress(fd, path, dress, stat)
      step('place.directory-dressed')
      return late ?? notice
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (error instanceof Obstacle) return undefined
    const { reason, code } = failureOf(error)
    return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP' ? undefined : reason
  }
}
