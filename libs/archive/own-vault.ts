/**
 * `firn-vault.json` says which vault this is (a UUID), and which catalog writes it. A vault that the catalog knows is there only if its note
 * says so: what is at its place otherwise is not the vault but, for example, the mount point of its disk. And two catalogs that write one
 * vault would each call the other's bundles unknown; so the second may read, and its writing is refused with a sentence until
 * `rebuild-catalog --take-over`.
 */
import { randomUUID } from 'node:crypto'
import type { Catalog, KnownVault } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { Vault } from '#libs/vault/vault.js'
import { readNote } from './stored-manifest.js'
import type { Vaults } from './vaults.js'

export const OWNER_KEY = 'firn-vault.json'

export interface VaultNote {
  readonly format: 'firn-vault/1'
  /** The id of the catalog that writes it. */
  readonly catalog: string
  /** Of the vault itself, for ever. Notes that an older version wrote have none. */
  readonly vault?: string
}

interface Call {
  readonly signal?: AbortSignal | undefined
}

/** What is said of a vault in it; undefined for a new one. */
export async function noteOf(vault: Vault, { signal }: Call = {}): Promise<VaultNote | undefined> {
  let text: string
  try {
    text = (await readNote(vault, OWNER_KEY, signal ? { signal } : {})).toString()
  } catch (error) {
    if (isFirnError(error, 'vault-missing')) return undefined
    throw error
  }
  try {
    const { format, catalog, vault: uuid } = JSON.parse(text) as Record<string, unknown>
    if (format === 'firn-vault/1' && typeof catalog === 'string' && isUuidOrNone(uuid)) {
      return { format, catalog, ...(uuid !== undefined && { vault: uuid }) }
    }
  } catch {
    // said below
  }
  throw new FirnError('vault-refused', `${OWNER_KEY} in ${vault.id} is not readable as firn-vault/1: is this a vault of Firn's?`)
}

const isUuidOrNone = (value: unknown): value is string | undefined =>
  value === undefined || (typeof value === 'string' && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value))

/** A vault that the catalog knows. Throws `vault-away` unless its note is there and names it, before anything is made, marked or removed. */
export async function mustBeThere(
  { catalogId }: Pick<Catalog, 'catalogId'>,
  vault: Vault,
  known: Pick<KnownVault, 'uuid'>,
  call: Call = {},
): Promise<VaultNote> {
  const note = await noteOf(vault, call)
  if (note === undefined) {
    throw new FirnError(
      'vault-away',
      `${vault.id} holds no ${OWNER_KEY}, which a vault has that this catalog knows: is its disk mounted? (If that file alone was lost, firn rebuild-catalog --from ${vault.id} --take-over writes it again.)`,
    )
  }
  // A note of ours that an older version wrote, and nobody could write anew since, names no vault.
  const isOld = note.vault === undefined && note.catalog === catalogId
  if (known.uuid !== undefined && note.vault !== known.uuid && !isOld) {
    throw new FirnError(
      'vault-away',
      `At ${vault.id} is another vault (${note.vault ?? `of catalog ${note.catalog}`}) than the one that this catalog knows there (${known.uuid}): is its disk mounted?`,
    )
  }
  return note
}

export interface KnownVaults {
  readonly catalog: Pick<Catalog, 'catalogId' | 'knownVault'>
  readonly vaults: Vaults
}

/** A retrieval opens a vault for each bundle, and a look at thaws every second: so long what was seen is believed. */
const BELIEVED_MS = 10_000
const seenAt = new WeakMap<Vault, number>()

/** The vault of something that the catalog holds, to read from it. Throws `vault-away`. */
export const openKnown = (parts: KnownVaults, vaultId: string, call: Call = {}): Promise<Vault> =>
  openSeen(parts, vaultId, BELIEVED_MS, call)

/** The same to write to it, which is looked at each time: what is written below an empty mount point would be believed to be safe. */
export const openToWrite = (parts: KnownVaults, vaultId: string, call: Call = {}): Promise<Vault> =>
  openSeen(parts, vaultId, 0, call)

async function openSeen({ catalog, vaults }: KnownVaults, vaultId: string, believedMs: number, call: Call): Promise<Vault> {
  const known = await catalog.knownVault(vaultId)
  const vault = await vaults.open(known?.url ?? vaultId)
  const seen = seenAt.get(vault)
  if (known === undefined || (seen !== undefined && performance.now() - seen < believedMs)) return vault
  await mustBeThere(catalog, vault, known, call)
  seenAt.set(vault, performance.now())
  return vault
}

/** The note of a vault that the catalog knows, which must be there; undefined for one that it does not know. */
export async function knownNote(
  catalog: Pick<Catalog, 'catalogId' | 'knownVault'>,
  vault: Vault,
  call: Call = {},
): Promise<VaultNote | undefined> {
  const known = await catalog.knownVault(vault.id)
  return known && (await mustBeThere(catalog, vault, known, call))
}

/**
 * Before the first write: claims a vault without an owner; refuses one that another catalog owns, unless it is to be taken over. The catalog
 * knows the vault from now on.
 */
export async function claimVault(
  vault: Vault,
  { catalog, url = vault.id }: { catalog: Pick<Catalog, 'catalogId' | 'knownVault' | 'recogniseVault'>; url?: string },
  { takeOver = false, signal }: Call & { takeOver?: boolean } = {},
): Promise<void> {
  const { catalogId } = catalog
  const note = await noteOf(vault, { signal })
  if (note !== undefined && note.catalog !== catalogId && !takeOver) {
    throw new FirnError(
      'vault-refused',
      `${vault.id} is written by another catalog (${note.catalog}); to write it from here too, give it to this one with: firn rebuild-catalog --from ${vault.id} --take-over`,
    )
  }
  const place = { id: vault.id, url }
  if (note?.vault !== undefined) await catalog.recogniseVault(place, note.vault, { anew: takeOver })
  if (note?.vault !== undefined && note.catalog === catalogId) return
  // Of one that is written anew or for the first time, the catalog decides which UUID counts, so that two commands write the same.
  const known =
    note === undefined
      ? await catalog.knownVault(vault.id)
      : { uuid: note.vault ?? (await catalog.recogniseVault(place, randomUUID())) }
  const uuid = known?.uuid ?? randomUUID()
  const bytes = Buffer.from(
    `${JSON.stringify({ format: 'firn-vault/1', catalog: catalogId, vault: uuid } satisfies VaultNote)}\n`,
  )
  try {
    await vault.put(OWNER_KEY, bytes, { ...(signal && { signal }), replace: note !== undefined })
    await catalog.recogniseVault(place, uuid)
  } catch (error) {
    // Who may add and not replace writes on in a vault whose note an older version wrote.
    if (note?.catalog === catalogId && isFirnError(error, 'vault-refused', 'vault-exists')) return
    if (!isFirnError(error, 'vault-exists')) throw error
    await claimVault(vault, { catalog, url }, { takeOver, signal }) // another command claimed it at the same moment
  }
}
