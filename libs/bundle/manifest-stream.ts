/**
 * A manifest as a stream, from a place where others may have put something: page after page, with limits on a line and on the whole, so
 * that no manifest fills the memory, however many entries it has or claims to have.
 */
import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { FirnError } from '#libs/errors/errors.js'
import type { Entry } from './entry.js'
import { type ManifestHeader, parseEntry, parseHeader } from './manifest.js'

export type ManifestPart =
  | { readonly kind: 'header'; readonly header: ManifestHeader }
  | { readonly kind: 'entries'; readonly entries: readonly Entry[] }
  /** `sha256`: of the manifest without `last`, hex. `last`: the line behind the manifest, if there is to be one. */
  | { readonly kind: 'end'; readonly sha256: string; readonly last?: string }

export interface ManifestLimits {
  /** Bytes of the manifest itself. More is `damaged`. */
  readonly maxBytes: number
  /** One more line follows that is not an entry, as beside a tar. */
  readonly hasLast?: boolean
}

/** An entry with all the xattrs or holes that one may have. Zeros without an end are refused here. */
const MAX_LINE_BYTES = 24 * 2 ** 20
/** What stands behind a manifest beside a tar. */
const MAX_LAST_BYTES = 4096

const PAGE_ENTRIES = 1_000
/** Of lines with many xattrs fewer make a page. */
const PAGE_BYTES = 4 * 2 ** 20

/** The header first, then its entries in pages, then the end. Throws `damaged`, and what reading throws. */
export async function* readManifest(
  chunks: AsyncIterable<Uint8Array>,
  { maxBytes, hasLast = false }: ManifestLimits,
): AsyncGenerator<ManifestPart> {
  const hash = createHash('sha256')
  let number = 0
  let bytes = 0
  let page: Entry[] = []
  let pageBytes = 0
  let held: Buffer | undefined

  function* take(line: Buffer): Generator<ManifestPart> {
    bytes += line.length
    if (bytes > maxBytes) throw tooLarge()
    hash.update(line)
    const text = textOf(line, ++number)
    if (number === 1) {
      yield { kind: 'header', header: parseHeader(text) }
      return
    }
    page.push(parseEntry(text, number))
    pageBytes += line.length
    if (page.length < PAGE_ENTRIES && pageBytes < PAGE_BYTES) return
    yield { kind: 'entries', entries: page }
    page = []
    pageBytes = 0
  }

  for await (const line of linesOf(chunks, maxBytes + (hasLast ? MAX_LAST_BYTES : 0))) {
    // The last line is known by what does not follow.
    if (!hasLast) yield* take(line)
    else {
      if (held !== undefined) yield* take(held)
      held = line
    }
  }
  if (held !== undefined && held.length > MAX_LAST_BYTES)
    throw new FirnError('damaged', 'the last line of a manifest is too long')
  if (number === 0) throw new FirnError('damaged', 'a manifest is empty')
  if (page.length > 0) yield { kind: 'entries', entries: page }
  const sha256 = hash.digest('hex')
  yield held === undefined ? { kind: 'end', sha256 } : { kind: 'end', sha256, last: textOf(held, number + 1) }
}

/** With their line breaks. Of all of them together `maxBytes` at most. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Buffer> {
  let begun: Buffer[] = []
  let begunBytes = 0
  let bytes = 0
  for await (const chunk of chunks) {
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    bytes += buffer.length
    if (bytes > maxBytes) throw tooLarge()
    let at = 0
    for (let end = buffer.indexOf(0x0a); end >= 0; end = buffer.indexOf(0x0a, at)) {
      const line = buffer.subarray(at, end + 1)
      at = end + 1
      yield begun.length === 0 ? line : Buffer.concat([...begun, line])
      begun = []
      begunBytes = 0
    }
    if (at === buffer.length) continue
    begunBytes += buffer.length - at
    if (begunBytes > MAX_LINE_BYTES) throw new FirnError('damaged', 'its manifest has a line that is longer than any entry')
    begun.push(Buffer.from(buffer.subarray(at))) // the memory of a chunk is another's when the next one comes
  }
  if (begunBytes > 0) throw new FirnError('damaged', 'the last line of a manifest does not end with a line break')
}

export function textOf(line: Buffer, number: number): string {
  // Decoding would make one and the same name of two.
  if (!isUtf8(line)) throw new FirnError('damaged', `line ${number} of a manifest cannot be read: it is not UTF-8`)
  return line.toString('utf8', 0, line.length - 1)
}

const tooLarge = () => new FirnError('damaged', 'its manifest is larger than the tar that should hold the same')
