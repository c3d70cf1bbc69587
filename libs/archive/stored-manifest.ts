/** The manifest of one attempt, from beside its tar; and whether the tar that it speaks of is there. */
import { bundleKey, type KeyNames, manifestKey } from '#libs/bundle/key.js'
import type { ManifestHeader } from '#libs/bundle/manifest.js'
import { decodeSidecar, type Sidecar } from '#libs/bundle/sidecar.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { Vault } from '#libs/vault/vault.js'

/** A manifest of 10,000 entries with long names and xattrs stays far below; more is no manifest of ours. */
const MAX_SIDECAR_BYTES = 256 * 2 ** 20

/** The manifest of an attempt whose tar has the size that the manifest says; a manifest without its tar counts for nothing. */
export async function readStoredManifest(
  vault: Vault,
  names: KeyNames,
  signal?: AbortSignal,
): Promise<(Sidecar & { archiveId: string }) | undefined> {
  const key = bundleKey(names)
  const options = signal ? { signal } : {}
  const tar = await vault.stat(key, options)
  if (tar === undefined) return undefined
  let sidecar: Sidecar
  try {
    sidecar = await decodeSidecar(await readObject(vault, manifestKey(names), options))
  } catch (error) {
    if (isFirnError(error, 'vault-missing', 'damaged')) return undefined
    throw error
  }
  return sidecar.tarBytes === tar.bytes && isOf(names, sidecar.header)
    ? { ...sidecar, archiveId: tar.archiveId ?? key }
    : undefined
}

/** Whether a manifest is of the attempt that an object's name says. */
export const isOf = (names: KeyNames, header: ManifestHeader): boolean =>
  header.bundle === names.bundleId && header.set === names.setId && header.attempt === names.attempt

export async function readObject(vault: Vault, key: string, options: { signal?: AbortSignal } = {}): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of vault.read(key, undefined, options)) {
    bytes += chunk.byteLength
    if (bytes > MAX_SIDECAR_BYTES) throw new FirnError('damaged', `${key} is larger than any manifest`)
    chunks.push(Buffer.from(chunk))
  }
  return Buffer.concat(chunks)
}
