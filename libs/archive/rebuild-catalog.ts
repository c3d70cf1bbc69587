/**
 * The catalog again, from nothing but what lies in a vault: the manifests beside the tars, or, where one is lost, inside them. Also
 * into a catalog that holds some of it; doing it twice changes nothing.
 */
import { createHash } from 'node:crypto'
import { findManifest } from '#libs/bundle/find-manifest.js'
import { bundleKey, type KeyNames, manifestKey, parseKey } from '#libs/bundle/key.js'
import { parseManifest } from '#libs/bundle/manifest.js'
import type { Catalog, StoredBundle } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import type { Vault } from '#libs/vault/vault.js'
import { isOf, readStoredManifest } from './stored-manifest.js'

export interface RebuildParts {
  readonly catalog: Pick<Catalog, 'adoptBundle' | 'knownBundles'>
}

export interface RebuildEvents {
  readonly signal?: AbortSignal
  readonly onAdopted?: (names: KeyNames, files: number) => void
  /** A bundle that cannot be adopted, and why; the others go on. */
  readonly onTrouble?: (key: string, reason: string) => void
}

export interface Rebuilt {
  readonly adopted: number
  readonly known: number
  readonly failed: number
}

export async function rebuildCatalog(
  parts: RebuildParts,
  vault: Vault,
  vaultUrl: string,
  options: RebuildEvents = {},
): Promise<Rebuilt> {
  const rebuilt = { adopted: 0, known: 0, failed: 0 }
  for await (const attempts of attemptsIn(vault, options.signal)) {
    options.signal?.throwIfAborted()
    rebuilt[await adoptOne(parts, vault, vaultUrl, attempts, options)]++
  }
  return rebuilt
}

/** The tars of each bundle, the last attempt first. They are neighbours in the listing: only the attempt differs. */
async function* attemptsIn(vault: Vault, signal: AbortSignal | undefined): AsyncGenerator<KeyNames[]> {
  let attempts: KeyNames[] = []
  for await (const { key } of vault.list('', signal ? { signal } : {})) {
    const names = parseKey(key)
    if (names === undefined || key !== bundleKey(names)) continue
    if (attempts[0] !== undefined && attempts[0].bundleId !== names.bundleId) {
      yield attempts.sort((a, b) => b.attempt - a.attempt)
      attempts = []
    }
    attempts.push(names)
  }
  if (attempts.length > 0) yield attempts.sort((a, b) => b.attempt - a.attempt)
}

/** The last whole attempt is the one that was catalogued, and whose offsets other bundles point to. */
async function adoptOne(
  { catalog }: RebuildParts,
  vault: Vault,
  vaultUrl: string,
  attempts: readonly KeyNames[],
  options: RebuildEvents,
): Promise<keyof Rebuilt> {
  for (const names of attempts) {
    const key = bundleKey(names)
    try {
      if ((await catalog.knownBundles([names.bundleId])).get(names.bundleId)?.key !== undefined) return 'known'
      const found = (await readStoredManifest(vault, names, options.signal)) ?? (await manifestInside(vault, names, options))
      const { header, entries, tarBytes, tarSha256, archiveId } = found
      const facts = {
        bundleId: header.bundle,
        attempt: header.attempt,
        setId: header.set,
        host: header.host,
        roots: header.roots,
        description: header.description,
        tags: header.tags,
        setStartedAt: header.setStartedAt,
      }
      const stored: StoredBundle = { key, archiveId, tarBytes, tarSha256, archivedAt: header.createdAt, entries }
      if (!(await catalog.adoptBundle(facts, { url: vaultUrl, id: vault.id }, stored))) return 'known'
      options.onAdopted?.(names, entries.length)
      return 'adopted'
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!(error instanceof FirnError) || error.code === 'database' || error.code === 'try-again') throw error
      options.onTrouble?.(key, error.message)
    }
  }
  return 'failed'
}

/** The whole tar must be read: its manifest is its last member. */
async function manifestInside(vault: Vault, names: KeyNames, options: RebuildEvents) {
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
  const bytes = await findManifest(hashing())
  if (bytes === undefined) throw new FirnError('damaged', `${key} holds no manifest: it is no whole bundle`)
  const { header, entries } = parseManifest(bytes)
  if (!isOf(names, header)) {
    throw new FirnError(
      'damaged',
      `${key} holds the bundle ${header.bundle} of attempt ${header.attempt}: it is not what its name says`,
    )
  }
  const archiveId = (await vault.stat(key, call))?.archiveId ?? key
  return { header, entries, tarBytes, tarSha256: hash.digest('hex'), archiveId }
}
