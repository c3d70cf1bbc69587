/**
 * The catalog again, from nothing but what lies in a vault: the manifests beside the tars, or, where one is lost, inside them, and the records
 * of the sets. Also into a catalog that holds some of it; doing it twice changes nothing. What is in a vault may have been put there by somebody who may
 * only add to it: manifests are read as streams within limits, and what cannot be is refused, named, and stops nothing else.
 */
import { createHash } from 'node:crypto'
import { findManifest } from '#libs/bundle/find-manifest.js'
import { bundleKey, type KeyNames, manifestKey, parseKey, parseRecordKey, type RecordNames } from '#libs/bundle/key.js'
import { readManifest } from '#libs/bundle/manifest-stream.js'
import type { RecordBundle } from '#libs/bundle/set-record.js'
import { isProved, mustLieInside, type SidecarPart } from '#libs/bundle/sidecar.js'
import type { Catalog, StoredBundle } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { Vault } from '#libs/vault/vault.js'
import { believedDate, type DateRules } from './believed-date.js'
import { restoreFromRecord } from './restore-from-record.js'
import {
  entriesOf,
  findStoredManifest,
  type ManifestSummary,
  mustBeOf,
  type StoredManifest,
  summarise,
} from './stored-manifest.js'

export interface RebuildParts {
  readonly catalog: Pick<Catalog, 'adoptBundle' | 'knownBundles' | 'attemptSecret' | 'restoreSet'>
}

export interface RebuildEvents extends DateRules {
  readonly signal?: AbortSignal
  readonly onAdopted?: (names: KeyNames, files: number) => void
  /** A bundle or a record that cannot be adopted, and why; the others go on. */
  readonly onTrouble?: (key: string, reason: string) => void
  /** A bundle that the record of its set lists, and that is not in the vault. */
  readonly onLost?: (bundle: RecordBundle) => void
  /** A manifest without a tar, of which no record says that there should be one: a stopped attempt leaves it. */
  readonly onStray?: (key: string) => void
}

/** `refused`: what is there is not a bundle of Firn's, or is not believed. `failed`: it could not be read. */
export interface Rebuilt {
  readonly adopted: number
  readonly known: number
  readonly refused: number
  readonly failed: number
  /** Bundles that records list and the vault does not hold. */
  readonly lost: number
  /** Sets that were restored from their records; those that this catalog has of its own are not. */
  readonly sets: number
  /** Records that cannot be read, of sets of which no later one can. */
  readonly unread: number
}

export async function rebuildCatalog(
  parts: RebuildParts,
  vault: Vault,
  vaultUrl: string,
  options: RebuildEvents = {},
): Promise<Rebuilt> {
  const rebuilt = { adopted: 0, known: 0, refused: 0, failed: 0, lost: 0, sets: 0, unread: 0 }
  for await (const found of foundIn(vault, options.signal)) {
    options.signal?.throwIfAborted()
    if (found.kind === 'bundle') {
      rebuilt[await adoptOne(parts, vault, vaultUrl, found.attempts, options)]++
      continue
    }
    const restored = await restoreFromRecord(parts, vault, vaultUrl, found, options)
    rebuilt.lost += restored.lost
    if (restored.is !== 'own') rebuilt[restored.is === 'restored' ? 'sets' : 'unread']++
  }
  return rebuilt
}

/** Whether there is anything to rebuild from. */
export async function holdsBundles(vault: Vault, { signal }: { signal?: AbortSignal } = {}): Promise<boolean> {
  for await (const { key } of vault.list('', signal ? { signal } : {}))
    if (parseKey(key) !== undefined || parseRecordKey(key) !== undefined) return true
  return false
}

type Found =
  /** The tars of a bundle, the last attempt first. */
  | { readonly kind: 'bundle'; readonly attempts: readonly KeyNames[] }
  /** What a set has beside its bundles: its records, the last first, and manifests of bundles without a tar. */
  | {
      readonly kind: 'set'
      readonly setId: string
      readonly records: readonly RecordNames[]
      readonly strays: ReadonlyMap<string, string>
    }

/** Of manifests without a tar so many are told apart; names are cheap for whoever may add to the vault. */
const MOST_STRAYS = 10_000

/**
 * What lies in a vault, set by set: the bundles of each, then what says more of it. All of a set is neighbours in the listing, and all of a
 * bundle: only the attempt differs.
 */
async function* foundIn(vault: Vault, signal: AbortSignal | undefined): AsyncGenerator<Found> {
  let attempts: KeyNames[] = []
  let bundle: { id: string; manifest?: string } | undefined
  let set: { id: string; records: RecordNames[]; strays: Map<string, string> } | undefined
  const endBundle = function* (): Generator<Found> {
    if (attempts.length > 0) yield { kind: 'bundle', attempts: newestFirst(attempts) }
    else if (bundle?.manifest !== undefined && set && set.strays.size < MOST_STRAYS) set.strays.set(bundle.id, bundle.manifest)
    attempts = []
    bundle = undefined
  }
  const endSet = function* (): Generator<Found> {
    yield* endBundle()
    if (set && set.records.length + set.strays.size > 0) {
      const records = set.records.sort((a, b) => b.n - a.n)
      yield { kind: 'set', setId: set.id, records, strays: set.strays }
    }
    set = undefined
  }
  for await (const { key } of vault.list('', signal ? { signal } : {})) {
    const names = parseKey(key)
    const record = parseRecordKey(key)
    const setId = names?.setId ?? record?.setId
    if (setId === undefined) continue
    if (set?.id !== setId) {
      yield* endSet()
      set = { id: setId, records: [], strays: new Map() }
    }
    if (record !== undefined) {
      set.records.push(record)
      // As with attempts: of thousands of records the last are looked at.
      if (set.records.length > 2 * MOST_ATTEMPTS) set.records = set.records.sort((a, b) => b.n - a.n).slice(0, MOST_ATTEMPTS)
      continue
    }
    if (names === undefined) continue
    if (bundle?.id !== names.bundleId) {
      yield* endBundle()
      bundle = { id: names.bundleId }
    }
    if (key !== bundleKey(names)) {
      bundle = { ...bundle, manifest: key }
      continue
    }
    attempts.push(names)
    // Names are cheap for whoever may add to the vault: of thousands of attempts at one bundle the newest are looked at.
    if (attempts.length > 2 * MOST_ATTEMPTS) attempts = newestFirst(attempts).slice(0, MOST_ATTEMPTS)
  }
  yield* endSet()
}

const MOST_ATTEMPTS = 1_000

const newestFirst = (attempts: KeyNames[]): KeyNames[] => attempts.sort((a, b) => b.attempt - a.attempt)

/** The last whole attempt is the one that was catalogued, and whose offsets other bundles point to. */
async function adoptOne(
  { catalog }: RebuildParts,
  vault: Vault,
  vaultUrl: string,
  attempts: readonly KeyNames[],
  options: RebuildEvents,
): Promise<'adopted' | 'known' | 'refused' | 'failed'> {
  let outcome: 'refused' | 'failed' = 'refused'
  for (const names of attempts) {
    const key = bundleKey(names)
    try {
      if ((await catalog.knownBundles([names.bundleId])).get(names.bundleId)?.key !== undefined) return 'known'
      const { found, summary } = await findManifestOf(vault, names, options)
      const { header, end, entries } = summary
      const believed = (date: Date) => believedDate(date, 'its manifest', options, () => found.modifiedAt)
      const createdAt = await believed(header.createdAt)
      const setStartedAt = await believed(header.setStartedAt)
      // A bundle that this catalog planned keeps a secret: what has its name and does not prove itself is somebody else's.
      const secret = await catalog.attemptSecret(names.bundleId)
      if (secret && !isProved(end, { secret, bundle: names.bundleId, attempt: names.attempt })) {
        throw new FirnError('damaged', 'this catalog planned the bundle, and the manifest does not prove that a worker wrote it')
      }
      const facts = {
        bundleId: header.bundle,
        attempt: header.attempt,
        setId: header.set,
        host: header.host,
        roots: header.roots,
        description: header.description,
        tags: header.tags,
        setStartedAt,
        hasRecord: header.setRecord === true,
      }
      const stored: StoredBundle = {
        key,
        archiveId: found.archiveId,
        tarBytes: end.tarBytes,
        tarSha256: end.tarSha256,
        checksum: end.checksum,
        archivedAt: createdAt,
        adopted: true,
        // Read once more for its rows: it must be the same then.
        entries: entriesOf(found, (part) => {
          if (part.kind === 'end' && part.manifestSha256 !== end.manifestSha256)
            throw new FirnError('damaged', 'the manifest changed while it was read')
        }),
      }
      if (!(await catalog.adoptBundle(facts, { url: vaultUrl, id: vault.id }, stored))) return 'known'
      options.onAdopted?.(names, entries)
      return 'adopted'
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!(error instanceof FirnError) || error.code === 'database' || error.code === 'try-again') throw error
      if (error.code !== 'damaged') outcome = 'failed'
      options.onTrouble?.(key, error.message)
    }
  }
  return outcome
}

async function findManifestOf(
  vault: Vault,
  names: KeyNames,
  options: RebuildEvents,
): Promise<{ found: StoredManifest; summary: ManifestSummary }> {
  const found = await findStoredManifest(vault, names, options.signal)
  if (found !== undefined) {
    try {
      return { found, summary: await summarise(found.parts()) }
    } catch (error) {
      if (!isFirnError(error, 'vault-missing', 'damaged')) throw error
      options.onTrouble?.(found.key, error.message)
    }
  }
  const inside = await manifestInside(vault, names, options)
  return { found: inside, summary: await summarise(inside.parts()) }
}

/** The whole tar must be read: its manifest is its last member. Then that part of it once more. */
async function manifestInside(vault: Vault, names: KeyNames, options: RebuildEvents): Promise<StoredManifest> {
  const key = bundleKey(names)
  const call = options.signal ? { signal: options.signal } : {}
  options.onTrouble?.(key, `${manifestKey(names)} is missing or does not fit; reading the manifest inside the tar`)
  const hash = createHash('sha256')
  let tarBytes = 0
  async function* hashing() {
    for await (const chunk of vault.read(key, undefined, call)) {
      hash.update(chunk)
      tarBytes += chunk.byteLength
      yield chunk
    }
  }
  const range = await findManifest(hashing())
  if (range === undefined) throw new FirnError('damaged', `${key} holds no manifest: it is not a whole bundle`)
  const tarSha256 = hash.digest('hex')
  const tar = await vault.stat(key, call)
  return {
    key,
    archiveId: tar?.archiveId ?? key,
    tarBytes,
    modifiedAt: tar?.modifiedAt ?? new Date(0),
    async *parts(): AsyncGenerator<SidecarPart> {
      const bytes = vault.read(key, { offset: range.offset, length: range.size }, call)
      for await (const part of readManifest(bytes, { maxBytes: range.size })) {
        if (part.kind === 'header') mustBeOf(names, part.header)
        if (part.kind === 'entries') mustLieInside(part.entries, tarBytes)
        yield part.kind === 'end' ? { kind: 'end', manifestSha256: part.sha256, tarBytes, tarSha256 } : part
      }
    },
  }
}
