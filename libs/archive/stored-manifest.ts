/** The manifest of one attempt, from beside its tar; and whether the tar that it speaks of is there. */
import { bundleKey, type KeyNames, manifestKey } from '#libs/bundle/key.js'
import type { ManifestHeader } from '#libs/bundle/manifest.js'
import { readSidecar, type SidecarEnd, type SidecarPart } from '#libs/bundle/sidecar.js'
import type { EntryPages } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { Vault } from '#libs/vault/vault.js'

/** An attempt whose tar and manifest are in the vault. Nothing of the manifest is kept: it is read again each time. */
export interface StoredManifest {
  readonly key: string
  readonly archiveId: string
  readonly tarBytes: number
  /** Of the tar, by the vault's clock. */
  readonly modifiedAt: Date
  /** Header first, end last. Throws `damaged`. */
  parts(): AsyncGenerator<SidecarPart>
}

/** What a manifest says beside its entries. */
export interface ManifestSummary {
  readonly header: ManifestHeader
  readonly end: SidecarEnd
  /** Those that are `void` too. */
  readonly entries: number
}

/** Undefined if there is no tar of that attempt, or no manifest beside it: neither counts without the other. */
export async function findStoredManifest(
  vault: Vault,
  names: KeyNames,
  signal?: AbortSignal,
): Promise<StoredManifest | undefined> {
  const key = bundleKey(names)
  const call = signal ? { signal } : {}
  const tar = await vault.stat(key, call)
  if (tar === undefined || (await vault.stat(manifestKey(names), call)) === undefined) return undefined
  const { bytes: tarBytes, modifiedAt, archiveId = key } = tar
  return {
    key,
    archiveId,
    tarBytes,
    modifiedAt,
    async *parts() {
      for await (const part of readSidecar(vault.read(manifestKey(names), undefined, call), tarBytes)) {
        if (part.kind === 'header') mustBeOf(names, part.header)
        yield part
      }
    },
  }
}

/** Reads a manifest to its end, and looks at all of it. Throws `damaged`. */
export async function summarise(parts: AsyncIterable<SidecarPart>): Promise<ManifestSummary> {
  let header: ManifestHeader | undefined
  let entries = 0
  for await (const part of parts) {
    if (part.kind === 'header') header = part.header
    else if (part.kind === 'entries') entries += part.entries.length
    else return { header: header as ManifestHeader, end: part, entries }
  }
  throw new FirnError('damaged', 'a manifest has no end')
}

/** The same of an attempt that may lack one, or have one that cannot be read as its own: then undefined. */
export async function readStoredSummary(
  vault: Vault,
  names: KeyNames,
  signal?: AbortSignal,
): Promise<ManifestSummary | undefined> {
  try {
    const stored = await findStoredManifest(vault, names, signal)
    return stored && (await summarise(stored.parts()))
  } catch (error) {
    if (isFirnError(error, 'vault-missing', 'damaged')) return undefined
    throw error
  }
}

/** The entries alone, for the catalog. `looked`: sees each page, and the end, before it counts; what it throws undoes everything. */
export const entriesOf = (stored: StoredManifest, looked: (part: SidecarPart) => void): EntryPages =>
  async function* () {
    for await (const part of stored.parts()) {
      looked(part)
      if (part.kind === 'entries') yield part.entries
    }
  }

/** An object's name says what it is of; a manifest that says otherwise was put there by somebody else, or by mistake. */
export function mustBeOf(names: KeyNames, header: ManifestHeader): void {
  if (header.bundle === names.bundleId && header.set === names.setId && header.attempt === names.attempt) return
  throw new FirnError(
    'damaged',
    `${bundleKey(names)} has the manifest of bundle ${header.bundle} of attempt ${header.attempt}: it is not what its name says`,
  )
}

/** A note of the vault's own. */
const MOST_NOTE_BYTES = 2 ** 20

/** A small object as a whole. Throws `damaged` for one that is not small. */
export async function readNote(vault: Vault, key: string, options: { signal?: AbortSignal } = {}): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of vault.read(key, undefined, options)) {
    bytes += chunk.byteLength
    if (bytes > MOST_NOTE_BYTES) throw new FirnError('damaged', `${key} is larger than any note of a vault`)
    chunks.push(Buffer.from(chunk))
  }
  return Buffer.concat(chunks)
}
