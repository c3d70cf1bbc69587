/** What a retrieval needs of one thawed bundle: only those bytes are read, every file is verified, then placed. */
import { isFile } from '#libs/bundle/entry.js'
import type { PlaceEntry, PlaceResult, Placer } from '#libs/bundle/place.js'
import type { Catalog, ItemRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import { shown } from '#libs/os/raw.js'
import type { Vault } from '#libs/vault/vault.js'
import { keepLease } from './keep-lease.js'
import { placeOf } from './layout.js'
import { openKnown } from './own-vault.js'
import { sentence } from './thaw-items.js'
import type { Vaults } from './vaults.js'

export interface RestoreParts {
  readonly catalog: Pick<Catalog, 'leaseItem' | 'itemRows' | 'markItem' | 'knownVault' | 'catalogId'>
  readonly vaults: Vaults
  readonly owner: string
  readonly isGone: (owner: string) => boolean
}

/** An item whose reading fails so often, each time in a way that may pass, is given up. */
const TRIES = 10

/**
 * Restores one item; false when another process is at it, its copy froze again meanwhile, or the vault failed for now: look again
 * later. Throws where the target takes nothing more, which no other item would change.
 */
export async function restoreItem(
  parts: RestoreParts,
  retrieval: RetrievalRow,
  item: ItemRow,
  placer: Placer,
  options: {
    signal?: AbortSignal
    onResults?: (results: readonly PlaceResult[]) => void
    onItemFailed?: (item: ItemRow, reason: string) => void
    onFilesFailed?: (item: ItemRow) => void
    onTrouble?: (vaultId: string, reason: string) => void
    tries?: Map<string, number>
  } = {},
): Promise<boolean> {
  const { catalog } = parts
  const renew = () => catalog.leaseItem(item.id, parts.owner, parts.isGone)
  if (!(await renew())) return false
  await using lease = keepLease(renew, options.signal)
  const { signal } = lease
  let filesRestored = 0
  let filesFailed = 0
  let firstFailed: PlaceResult | undefined
  try {
    const { vaultId, key, tarBytes } = item.bundle
    // Directories, links and empty files need nothing of it.
    let opened: Promise<Vault> | undefined
    const open = () => {
      opened ??= openKnown(parts, vaultId, lease)
      return opened
    }
    async function* read(range: { offset: number; length: number } | undefined) {
      yield* (await open()).read(key as string, range, { signal })
    }
    /** Places what is not decided yet. */
    const place = async (entries: Set<PlaceEntry>, readableBytes: number | undefined) => {
      const placing = placer.place([...entries], read, {
        signal,
        ...(readableBytes !== undefined && { tarBytes: readableBytes }),
      })
      for await (const results of placing) {
        for (const result of results) {
          const { entry, outcome } = result
          entries.delete(entry)
          if (!isFile(entry.type)) continue
          if (outcome !== 'failed') filesRestored++
          else {
            filesFailed++
            firstFailed ??= result
          }
        }
        options.onResults?.(results)
      }
    }
    let readableBytes = tarBytes
    for await (const rows of catalog.itemRows(item.id)) {
      const entries = new Set(rows.map((row) => Object.assign(row, { at: placeOf(row, retrieval.layout) })))
      try {
        await place(entries, readableBytes)
      } catch (error) {
        // A tar that lost its end still holds what lies before: that is placed, and the rest is named file by file.
        const left = isFirnError(error, 'damaged') ? await (await open()).stat(key as string, { signal }) : undefined
        if (left === undefined || readableBytes === undefined || left.bytes >= readableBytes) throw error
        readableBytes = left.bytes
        await place(entries, readableBytes)
      }
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason
    if (isFirnError(error, 'vault-frozen')) {
      await catalog.markItem(item.id, 'requested', { filesRestored })
      return false
    }
    // Room may be made: the retrieval stays open, and the next run of it goes on here.
    if (isFirnError(error, 'target-failed', 'target-refused')) {
      await catalog.markItem(item.id, 'ready', { filesRestored })
      throw error
    }
    const reason = sentence(error)
    const tries = (options.tries?.get(item.id) ?? 0) + 1
    if (options.tries && tries < TRIES && isFirnError(error, 'vault-failed', 'try-again')) {
      options.tries.set(item.id, tries)
      await catalog.markItem(item.id, 'ready')
      options.onTrouble?.(item.bundle.vaultId, reason)
      return false
    }
    await catalog.markItem(item.id, 'failed', { reason, filesRestored, filesFailed: item.files - filesRestored })
    options.onItemFailed?.(item, reason)
    return true
  }
  const reason = firstFailed && reasonOf(firstFailed, filesFailed)
  if (reason) options.onFilesFailed?.(item)
  await catalog.markItem(item.id, reason ? 'failed' : 'done', { filesRestored, filesFailed, ...(reason && { reason }) })
  return true
}

/** For whoever asks later; each file was named to whoever was there (`onResults`). */
function reasonOf({ entry, reason = 'it could not be restored' }: PlaceResult, failed: number): string {
  const first = `${shown(entry.path)}: ${reason}`
  return failed === 1 ? first : `${failed} of its files could not be restored, the first of them ${first}`
}
