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
import { readStoredManifest } from './stored-manifest.js'

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
  const { catalog } = parts
  const rebuilt = { adopted: 0, known: 0, failed: 0 }
  const call = options.signal ? { signal: options.signal } : {}
  for await (const { key } of vault.list('', call)) {
    options.signal?.throwIfAborted()
    const names = parseKey(key)
    if (names === undefined || key !== bundleKey(names)) continue
    try {
      const known = (await catalog.knownBundles([names.bundleId])).get(names.bundleId)
      if (known?.key !== undefined) {
        rebuilt.known++
        continue
      }
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
      if (await catalog.adoptBundle(facts, { url: vaultUrl, id: vault.id }, stored)) {
        rebuilt.adopted++
        options.onAdopted?.(names, entries.length)
      } else rebuilt.known++
    } catch (error) {
      if (!(error instanceof FirnError) || error.code === 'database') throw error
      rebuilt.failed++
      options.onTrouble?.(key, error.message)
    }
  }
  return rebuilt
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
  return { header, entries, tarBytes, tarSha256: hash.digest('hex'), archiveId: key }
}
