/**
 * Where an archive is: the small object `<key>.archive.json` in the companion vault. A Glacier vault knows archives by ids alone, so
 * that is how any process finds the archive of a key. Written once, right after the archive is complete.
 */
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { checkKey } from '../object-key.js'
import type { CallOptions, Vault } from '../vault.js'

const SUFFIX = '.archive.json'
const MAX_BYTES = 16 * 1024

export interface Pointer {
  readonly key: string
  /** Empty for an object without a byte: a Glacier vault holds none, so it has no archive. */
  readonly archiveId: string
  readonly bytes: number
  /** The SHA-256 tree hash, as the service verified it. */
  readonly treeHash: string
  /** The plain SHA-256; undefined in a pointer that was made again from the inventory, which does not know it. */
  readonly sha256?: string
  /** The vault's name. */
  readonly vault: string
  readonly createdAt: Date
}

export const pointerKey = (key: string): string => `${key}${SUFFIX}`

/** The key of an archive, from that of its pointer; undefined for any other object. */
export const keyOfPointer = (companionKey: string): string | undefined =>
  companionKey.endsWith(SUFFIX) && companionKey.length > SUFFIX.length ? companionKey.slice(0, -SUFFIX.length) : undefined

/** Keys that end as pointers do are the vault's own; and a key must leave room for that ending. */
export function checkArchiveKey(key: string): void {
  checkKey(key)
  checkKey(pointerKey(key))
  if (key.endsWith(SUFFIX))
    throw new FirnError('usage', `"${key}" is no key for a Glacier vault: names that end in ${SUFFIX} are its own.`)
}

export async function readPointer(companion: Vault, key: string, options: CallOptions = {}): Promise<Pointer | undefined> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of companion.read(pointerKey(key), undefined, options)) {
      chunks.push(Buffer.from(chunk))
      length += chunk.length
      if (length > MAX_BYTES) break
    }
  } catch (error) {
    if (isFirnError(error, 'vault-missing')) return undefined
    throw error
  }
  return parsePointer(Buffer.concat(chunks).toString(), key, companion.id)
}

/** Throws `vault-exists` where another archive has the key already. Writing the same pointer twice is fine. */
export async function writePointer(companion: Vault, pointer: Pointer): Promise<void> {
  const { key, archiveId, bytes, treeHash, sha256, vault, createdAt } = pointer
  const text = `${JSON.stringify({
    format: 'firn-archive/1',
    key,
    archive_id: archiveId,
    bytes,
    tree_sha256: treeHash,
    ...(sha256 !== undefined && { sha256 }),
    vault,
    created_at: createdAt.toISOString(),
  })}\n`
  try {
    await companion.put(pointerKey(key), Buffer.from(text))
  } catch (error) {
    // A put whose answer was lost is there already.
    const there = isFirnError(error, 'vault-exists', 'vault-failed') ? await readPointer(companion, key) : undefined
    if (there?.archiveId !== archiveId || archiveId === '') throw error
  }
}

function parsePointer(text: string, key: string, companionId: string): Pointer {
  try {
    const found = JSON.parse(text) as Record<string, unknown>
    const { archive_id, bytes, tree_sha256, sha256, vault, created_at } = found
    if (
      found['format'] === 'firn-archive/1' &&
      found['key'] === key &&
      typeof archive_id === 'string' &&
      typeof bytes === 'number' &&
      typeof tree_sha256 === 'string' &&
      typeof vault === 'string' &&
      typeof created_at === 'string'
    ) {
      return {
        key,
        archiveId: archive_id,
        bytes,
        treeHash: tree_sha256,
        ...(typeof sha256 === 'string' && { sha256 }),
        vault,
        createdAt: new Date(created_at),
      }
    }
  } catch {
    // said below
  }
  throw new FirnError(
    'damaged',
    `${pointerKey(key)} in ${companionId} cannot be read: it says which archive of the Glacier vault is ${key}.`,
  )
}
