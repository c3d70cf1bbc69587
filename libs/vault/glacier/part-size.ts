/** How large the parts of an upload are: a MiB times a power of two, at most 10,000 of them, all equal but the last. */
import { FirnError } from '#libs/errors/errors.js'
import { MIB } from './tree-hash.js'

export const MOST_PARTS = 10_000
const LARGEST_PART = 4096 * MIB
/** What the service takes as one archive: 10,000 parts of 4 GiB. */
export const LARGEST_ARCHIVE = MOST_PARTS * LARGEST_PART

/** Holds 640 GiB: for uploads whose size nobody said. */
const UNKNOWN_PART = 64 * MIB
/** Small enough for several workers' memory, large enough that the requests of a bundle cost next to nothing. Holds 160 GiB. */
const USUAL_PART = 16 * MIB

/** For an upload of about `expectedBytes`: a tenth more still fits, as a tar is more than its files. */
export function partBytesFor(expectedBytes?: number): number {
  if (expectedBytes === undefined) return UNKNOWN_PART
  let part = USUAL_PART
  while (part < LARGEST_PART && part * MOST_PARTS < expectedBytes * 1.1 + MIB) part *= 2
  if (expectedBytes > LARGEST_ARCHIVE) {
    throw new FirnError(
      'vault-refused',
      `${expectedBytes} bytes do not fit into one archive: a Glacier vault takes ${LARGEST_ARCHIVE} at most.`,
    )
  }
  return part
}
