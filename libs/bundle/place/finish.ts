/** The end of a retrieval: the directories that it created get what the catalog says of them. */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs'
import { joinRaw, nameOf, type Raw, rawToBytes } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'
import { isMine } from '#libs/os/trusted-path.js'
import { directoryAt } from './at.js'
import { type Chain, isUnderConstruction, MARKED } from './chain.js'
import { type Dress, type Dresser, hasAcls } from './dress.js'
import { failureOf, isOfDevice, Obstacle } from './obstacle.js'

/** The mode of a parent that was not archived. */
const UNKNOWN_MODE = 0o700

/** Root gave it to its owner already, and a crash came before its mode. */
const isGivenAway = (stat: Stats, dress: Dress | undefined): boolean =>
  process.geteuid?.() === 0 && stat.uid === dress?.uid && (stat.mode & 0o7777) === MARKED

/**
 * It has everything but perhaps its access lists, which come last: a crash came between the two. The journal names it, and its times are
 * those of the catalog to the nanosecond, which nobody's later work in it leaves so.
 */
const mayLackAcls = (stat: BigIntStats, dress: Dress, mode: number): boolean =>
  hasAcls(dress) &&
  (process.geteuid?.() === 0 ? Number(stat.uid) === dress.uid : isMine(stat)) &&
  Number(stat.mode & 0o7777n) === mode &&
  stat.mtimeNs === dress.mtimeNs

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
      if (!isUnderConstruction(stat) && !isGivenAway(stat, dress)) {
        if (dress && mayLackAcls(fstatSync(fd, { bigint: true }), dress, dresser.modeOf(dress))) return dresser.acls(path, dress)
        // Gone, exchanged, finished already: it is no longer ours to touch.
        return undefined
      }
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
    // Not this directory's fault, but the device's: it is tried again by whoever comes when that is mended.
    if (isOfDevice(code)) throw error
    return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP' ? undefined : reason
  }
}
