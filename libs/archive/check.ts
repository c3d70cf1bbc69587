/**
 * Does the vault hold what the catalog says? Without reading: is each object there, with its size, and its manifest. With reading:
 * every byte against the hash of its bundle and of each of its files. And what does the vault hold that the catalog does not know?
 * Firn deletes none of it: after an old catalog was restored, an unknown bundle is the only copy.
 */
import { createHash, type Hash } from 'node:crypto'
import { type KeyNames, manifestKey, parseKey, parseRecordKey } from '#libs/bundle/key.js'
import type { BundleRow, Catalog, FileRow } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import { type Raw, shown } from '#libs/os/raw.js'
import type { Vault } from '#libs/vault/vault.js'
import { OWNER_KEY } from './own-vault.js'
import { readStoredSummary } from './stored-manifest.js'

export interface CheckParts {
  readonly catalog: Pick<Catalog, 'storedBundles' | 'markChecked' | 'markReadBack' | 'filesByOffset' | 'knownBundles'>
}

export interface CheckOptions {
  readonly readData: boolean
  /** The n-th of m parts, by bundle number: a large vault is read over several nights. */
  readonly subset?: { readonly n: number; readonly m: number }
  readonly signal?: AbortSignal
  readonly onBundle?: (bundle: BundleRow) => void
}

export type Finding =
  | { readonly kind: 'missing' | 'damaged'; readonly bundle: BundleRow; readonly reason: string; readonly files?: readonly Raw[] }
  /** Nothing is known of it: its bytes are cold, and must be thawed before they can be read. */
  | { readonly kind: 'unread'; readonly bundle: BundleRow; readonly reason: string }
  /** No harm to any file: the manifest beside the tar is not there, or not this tar's; the one inside is. */
  | { readonly kind: 'no-manifest'; readonly bundle: BundleRow; readonly reason: string }
  | { readonly kind: 'unknown'; readonly key: string; readonly reason: string }

/** What is wrong in one vault, as it is found. Marks bundles missing or damaged, and heals those that are well again. */
export async function* checkVault(parts: CheckParts, vault: Vault, options: CheckOptions): AsyncGenerator<Finding> {
  // First: a vault that reads an inventory when all of it is listed answers by it below.
  yield* unknownObjects(parts, vault, options)
  for await (const page of parts.catalog.storedBundles(vault.id)) {
    for (const bundle of page) {
      options.signal?.throwIfAborted()
      if (options.subset && Number(bundle.number % BigInt(options.subset.m)) !== options.subset.n - 1) continue
      yield* checkBundle(parts, vault, bundle, options)
      options.onBundle?.(bundle)
    }
  }
}

async function* checkBundle(parts: CheckParts, vault: Vault, bundle: BundleRow, options: CheckOptions): AsyncGenerator<Finding> {
  const { key, tarBytes } = bundle
  if (key === undefined || tarBytes === undefined) return
  const call = options.signal ? { signal: options.signal } : {}
  const stored = await vault.stat(key, call)
  let finding: Finding | undefined
  if (stored === undefined) finding = { kind: 'missing', bundle, reason: `${key} is not in ${vault.id}` }
  else if (stored.bytes !== tarBytes) {
    finding = { kind: 'damaged', bundle, reason: `${key} has ${stored.bytes} bytes instead of ${tarBytes}` }
  } else if (options.readData) finding = await readBundle(parts, vault, bundle, key, call)
  if (options.readData && bundle.adopted && finding === undefined) await parts.catalog.markReadBack(bundle.id)

  if (finding?.kind === 'missing' || finding?.kind === 'damaged') {
    await parts.catalog.markChecked(bundle.id, finding.kind, finding.reason)
    yield finding
  } else if (finding !== undefined) yield finding
  else if (bundle.state !== 'stored' && (options.readData || bundle.state === 'missing')) {
    await parts.catalog.markChecked(bundle.id, 'stored')
  }
  const names = parseKey(key)
  if (names === undefined || stored === undefined) return
  const sidecar = manifestKey(names)
  const only = 'the manifest inside the tar is the only one'
  if ((await vault.stat(sidecar, call)) === undefined) {
    yield { kind: 'no-manifest', bundle, reason: `${sidecar} is not in ${vault.id}; ${only}` }
  } else if (options.readData && (await sidecarHash(vault, names, options.signal)) !== bundle.tarSha256) {
    yield { kind: 'no-manifest', bundle, reason: `${sidecar} cannot be read as the manifest of ${key}; ${only}` }
  }
}

/** The hash of the tar that a readable manifest speaks of. */
const sidecarHash = async (vault: Vault, names: KeyNames, signal: AbortSignal | undefined): Promise<string | undefined> =>
  (await readStoredSummary(vault, names, signal))?.end.tarSha256

/** Reads a bundle once, hashing the whole and each file where it lies. */
export async function readBundle(
  parts: { readonly catalog: Pick<Catalog, 'filesByOffset'> },
  vault: Vault,
  bundle: BundleRow,
  key: string,
  call: { signal?: AbortSignal },
): Promise<Finding | undefined> {
  const whole = createHash('sha256')
  const files = fileHashes(parts.catalog.filesByOffset(bundle.number))
  let position = 0
  try {
    for await (const chunk of vault.read(key, undefined, call)) {
      whole.update(chunk)
      await files.update(chunk, position)
      position += chunk.byteLength
    }
  } catch (error) {
    await files.close()
    if (isFirnError(error, 'vault-frozen')) return { kind: 'unread', bundle, reason: `${key} is cold: thaw it before reading` }
    if (isFirnError(error, 'vault-missing', 'damaged')) return { kind: 'damaged', bundle, reason: error.message }
    throw error
  }
  const wrong = await files.finish()
  if (whole.digest('hex') === bundle.tarSha256 && wrong.count === 0) return undefined
  const named = wrong.count > 0 ? `, among them ${shown(wrong.paths[0] as Raw)}` : ''
  const reason = `the bytes of ${key} do not match their SHA-256 (${wrong.count} files${named})`
  return { kind: 'damaged', bundle, reason, files: wrong.paths }
}

/** Hashes files that lie one after the other (or, hard links, at the same place) in a stream. Of many wrong ones the first are named. */
function fileHashes(pages: AsyncIterable<readonly FileRow[]>) {
  const wrong: Raw[] = []
  let wrongCount = 0
  const reading = pages[Symbol.asyncIterator]()
  let page: readonly FileRow[] = []
  let at = 0
  let current: { offset: number; end: number; hash: Hash; rows: FileRow[] } | undefined

  /** The next row, which stays the next. */
  const peek = async (): Promise<FileRow | undefined> => {
    if (at === page.length) {
      const next = await reading.next()
      page = next.done ? [] : next.value
      at = 0
    }
    return page[at]
  }
  const begin = async () => {
    const row = await peek()
    if (row === undefined) return undefined
    const same: FileRow[] = []
    for (let next = row as FileRow | undefined; next?.offset === row.offset && next?.size === row.size; next = await peek()) {
      same.push(next as FileRow)
      at++
    }
    const offset = row.offset as number
    return { offset, end: offset + row.size, hash: createHash('sha256'), rows: same }
  }
  const close = () => {
    if (current === undefined) return
    const sha256 = current.hash.digest('hex')
    for (const row of current.rows) {
      if (row.sha256 === sha256) continue
      wrongCount++
      if (wrong.length < MOST_NAMED) wrong.push(row.path)
    }
    current = undefined
  }
  return {
    async update(chunk: Uint8Array, position: number) {
      const end = position + chunk.byteLength
      for (;;) {
        current ??= await begin()
        if (current === undefined || current.offset > end) return
        const from = Math.max(current.offset, position)
        const to = Math.min(current.end, end)
        if (to > from) current.hash.update(chunk.subarray(from - position, to - position))
        if (current.end > end) return
        close()
      }
    },
    /** What is wrong; what the stream did not come to is, too. */
    async finish(): Promise<{ count: number; paths: readonly Raw[] }> {
      for (current ??= await begin(); current !== undefined; current = await begin()) close()
      return { count: wrongCount, paths: wrong }
    },
    /** Lets go of the rows that were not read. */
    close: async () => void (await reading.return?.()),
  }
}

/** Damaged files of one bundle. */
const MOST_NAMED = 10_000

/** Objects that no bundle of this catalog accounts for: pages of the listing against the catalog. */
async function* unknownObjects(parts: CheckParts, vault: Vault, options: CheckOptions): AsyncGenerator<Finding> {
  let page: string[] = []
  const judge = async function* (): AsyncGenerator<Finding> {
    const names = page.map((key) => ({ key, names: parseKey(key) }))
    const known = await parts.catalog.knownBundles(names.flatMap(({ names }) => (names ? [names.bundleId] : [])))
    for (const { key, names: parsed } of names) {
      const bundle = parsed && known.get(parsed.bundleId)
      if (parsed === undefined) yield { kind: 'unknown', key, reason: 'no name that Firn gives' }
      else if (bundle === undefined)
        yield { kind: 'unknown', key, reason: 'its bundle is not in this catalog; rebuild-catalog adopts it' }
      else if (bundle.vaultId !== vault.id)
        yield { kind: 'unknown', key, reason: `its bundle ${bundle.id} is of another vault, ${bundle.vaultId}` }
      else if (bundle.key !== undefined && parseKey(bundle.key)?.attempt !== parsed.attempt) {
        yield { kind: 'unknown', key, reason: `another attempt at bundle ${bundle.id}, which is stored as ${bundle.key}` }
      } else if (bundle.state === 'failed')
        yield { kind: 'unknown', key, reason: `an attempt at bundle ${bundle.id}, which failed` }
      else if (bundle.state === 'cancelled')
        yield {
          kind: 'unknown',
          key,
          reason: `an attempt at bundle ${bundle.id}, which was cancelled; rebuild-catalog adopts it`,
        }
    }
    page = []
  }
  for await (const { key } of vault.list('', options.signal ? { signal: options.signal } : {})) {
    if (key === OWNER_KEY || parseRecordKey(key) !== undefined) continue
    page.push(key)
    if (page.length === 1_000) yield* judge()
  }
  if (page.length > 0) yield* judge()
}
