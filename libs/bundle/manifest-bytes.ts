/** A manifest's bytes as they come out of a tar or of gzip, where a few bytes may unpack to a thousand times as many. */
import { FirnError } from '#libs/errors/errors.js'

/** 10,000 entries with long names and xattrs stay far below. */
const MAX_BYTES = 1024 * 2 ** 20
/** An entry with all the xattrs that one may have, in base64. Zeros without an end are refused here. */
const MAX_LINE_BYTES = 24 * 2 ** 20

export interface ManifestBytes {
  /** Copied. Throws `damaged` once it cannot be a manifest any more. */
  add(chunk: Uint8Array): void
  all(): Buffer
}

export function collectManifest(maxBytes = MAX_BYTES): ManifestBytes {
  const chunks: Buffer[] = []
  let bytes = 0
  let lineBytes = 0
  return {
    add(chunk) {
      const copy = Buffer.from(chunk)
      bytes += copy.length
      if (bytes > maxBytes) throw new FirnError('damaged', 'its manifest is larger than any manifest')
      let at = 0
      for (let end = copy.indexOf(0x0a); end >= 0; end = copy.indexOf(0x0a, at)) {
        at = end + 1
        lineBytes = 0
      }
      lineBytes += copy.length - at
      if (lineBytes > MAX_LINE_BYTES) throw new FirnError('damaged', 'its manifest has a line that is longer than any entry')
      chunks.push(copy)
    },
    all: () => Buffer.concat(chunks),
  }
}
