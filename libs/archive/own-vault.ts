/**
 * `firn-vault.json` says which catalog writes a vault. Two catalogs that write one vault would each call the other's bundles unknown;
 * so the second may read, and its writing is refused with a sentence until `rebuild-catalog --take-over`. A vault that the catalog knows is
 * there only if its note is.
 */
import type { Catalog } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { Vault } from '#libs/vault/vault.js'
import { readNote } from './stored-manifest.js'

export const OWNER_KEY = 'firn-vault.json'

interface VaultOwner {
  readonly format: 'firn-vault/1'
  readonly catalog: string
}

/** The id of the catalog that writes this vault, or undefined for a new one. */
export async function ownerOf(vault: Vault, options: { signal?: AbortSignal } = {}): Promise<string | undefined> {
  let text: string
  try {
    text = (await readNote(vault, OWNER_KEY, options)).toString()
  } catch (error) {
    if (isFirnError(error, 'vault-missing')) return undefined
    throw error
  }
  try {
    const owner = JSON.parse(text) as VaultOwner
    if (owner.format === 'firn-vault/1' && typeof owner.catalog === 'string') return owner.catalog
  } catch {
    // said below
  }
  throw new FirnError('vault-refused', `${OWNER_KEY} in ${vault.id} is not readable as firn-vault/1: is this a vault of Firn's?`)
}

/**
 * Of a vault that the catalog knows, and that was claimed then: without its note, what is at its place is not the vault but, for example,
 * the mount point of its disk. Throws `vault-away`, before anything is made, marked or removed.
 */
export async function mustBeThere(vault: Vault, signal?: AbortSignal): Promise<string> {
  const owner = await ownerOf(vault, signal ? { signal } : {})
  if (owner !== undefined) return owner
  throw new FirnError(
    'vault-away',
    `${vault.id} holds no ${OWNER_KEY}, which a vault has that this catalog knows: is its disk mounted? (If that file alone was lost, firn rebuild-catalog --from ${vault.id} --take-over writes it again.)`,
  )
}

/** Who writes a vault that the catalog knows, which must be there; undefined for one that it does not know. */
export async function knownOwner(
  catalog: Pick<Catalog, 'vaultUrl'>,
  vault: Vault,
  signal?: AbortSignal,
): Promise<string | undefined> {
  return (await catalog.vaultUrl(vault.id)) === undefined ? undefined : mustBeThere(vault, signal)
}

/** Before the first write: claims a vault without an owner; refuses one that another catalog owns, unless it is to be taken over. */
export async function claimVault(
  vault: Vault,
  catalogId: string,
  options: { takeOver?: boolean; signal?: AbortSignal } = {},
): Promise<void> {
  const owner = await ownerOf(vault, options)
  if (owner === catalogId) return
  if (owner !== undefined && !options.takeOver) {
    throw new FirnError(
      'vault-refused',
      `${vault.id} is written by another catalog (${owner}); to write it from here too, give it to this one with: firn rebuild-catalog --from ${vault.id} --take-over`,
    )
  }
  const bytes = Buffer.from(`${JSON.stringify({ format: 'firn-vault/1', catalog: catalogId } satisfies VaultOwner)}\n`)
  try {
    await vault.put(OWNER_KEY, bytes, { ...options, replace: owner !== undefined })
  } catch (error) {
    if (!isFirnError(error, 'vault-exists')) throw error
    await claimVault(vault, catalogId, options) // another command claimed it at the same moment
  }
}
