/**
 * Where an entry may go. Archives get their bad name from members that choose their own path; here a place is a plain relative
 * path of ordinary names, checked before anything is done with it, whatever the catalog says.
 */
import type { Raw } from '#libs/os/raw.js'

/** Linux: PATH_MAX is 4096 with the closing NUL, NAME_MAX 255. A longer path cannot be reached by its name. */
const PATH_BYTES = 4095
const NAME_BYTES = 255

/** Bytes only, and no NUL. A character above 0xff would lose its upper half on the way to bytes: U+012F would become a slash. */
const BYTES = /^[\x01-\xff]*$/

/** Names at the top of a target that begin so are Firn's own staging directories, also where the file system ignores case. */
const OWN = '.firn-'

/** Why nothing can be placed at `at` below `target`; undefined where it can. */
export function whyNotAt(at: Raw, target: Raw): string | undefined {
  if (typeof at !== 'string' || !BYTES.test(at)) return 'its path holds characters that no path can have'
  if (at === '') return 'its path is empty'
  if (at.startsWith('/')) return 'its path is absolute'
  const names = at.split('/')
  for (const name of names) {
    if (name === '..') return 'its path leads upwards'
    if (name === '' || name === '.') return 'its path has an empty part'
    if (name.length > NAME_BYTES) return `a name in its path is longer than ${NAME_BYTES} bytes`
  }
  if (names[0]?.toLowerCase().startsWith(OWN)) return `its path begins with ${OWN}, which Firn keeps for its own work`
  const bytes = (target === '/' ? 0 : target.length) + 1 + at.length
  if (bytes > PATH_BYTES) return `its path below this target would be ${bytes} bytes long, and ${PATH_BYTES} are possible`
  return undefined
}

/** A symlink's target is data: anything of 1 to 4095 bytes. */
export const isLinkTarget = (link: unknown): link is Raw =>
  typeof link === 'string' && link !== '' && link.length <= PATH_BYTES && BYTES.test(link)

/** `a/b/c` lies in `a/b`, `a` in `` (the target itself). */
export function directoryAt(at: Raw): Raw {
  const slash = at.lastIndexOf('/')
  return (slash < 0 ? '' : at.slice(0, slash)) as Raw
}
