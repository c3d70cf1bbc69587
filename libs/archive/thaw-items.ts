/** Thaws: asked for once, then watched. One item's trouble never stops the others. */
import type { Catalog, ItemRow, RetrievalRow, RetrievalState } from '#libs/catalog/catalog.js'
import type { Thaw, ThawTier, Vault } from '#libs/vault/vault.js'
import type { Vaults } from './vaults.js'

/** Whether an item or a retrieval still has something to come. */
export const isOpen = (state: RetrievalState): boolean => state !== 'done' && state !== 'failed' && state !== 'expired'

export interface ThawParts {
  readonly catalog: Pick<Catalog, 'markItem' | 'vaultUrl'>
  readonly vaults: Vaults
}

export interface ThawedItem {
  readonly item: ItemRow
  readonly ready: boolean
  readonly readyAt?: Date
}

/** Asks for what nobody asked for yet, looks at what thaws, and returns the items that are still open. */
export async function thawItems(
  parts: ThawParts,
  retrieval: Pick<RetrievalRow, 'request'>,
  items: readonly ItemRow[],
  options: { signal?: AbortSignal; onItemFailed?: (item: ItemRow, reason: string) => void } = {},
): Promise<ThawedItem[]> {
  const open: ThawedItem[] = []
  const end = async (item: ItemRow, state: 'failed' | 'expired', reason: string) => {
    await parts.catalog.markItem(item.id, state, { reason, filesFailed: item.files - item.filesRestored })
    options.onItemFailed?.(item, reason)
  }
  const byVault = new Map<string, ItemRow[]>()
  for (const item of items) byVault.set(item.bundle.vaultId, [...(byVault.get(item.bundle.vaultId) ?? []), item])
  for (const [vaultId, inVault] of byVault) {
    let vault: Vault
    let thaws: Map<string, Thaw>
    try {
      vault = await parts.vaults.open((await parts.catalog.vaultUrl(vaultId)) ?? vaultId)
      const keys = inVault.flatMap((item) => (item.bytes > 0 && item.bundle.key ? [item.bundle.key] : []))
      thaws = keys.length > 0 ? await vault.thawStates(keys, options) : new Map()
    } catch (error) {
      options.signal?.throwIfAborted()
      for (const item of inVault) await end(item, 'failed', sentence(error))
      continue
    }
    for (const item of inVault) {
      const { key } = item.bundle
      if (item.bytes === 0 || key === undefined) {
        open.push({ item, ready: true }) // directories, links and empty files need no bytes
        continue
      }
      try {
        const thaw = thaws.get(key)
        if (thaw === undefined) await end(item, 'failed', `bundle ${item.bundle.id} is missing from ${vaultId}`)
        else if (thaw.state === 'failed') await end(item, 'failed', thaw.reason)
        else if (thaw.state === 'cold' && item.state !== 'requested') {
          await end(item, 'expired', 'its thawed copy expired before it was fetched; ask again to thaw it again')
        } else open.push(await watch(parts, vault, retrieval, item, key, thaw, options))
      } catch (error) {
        options.signal?.throwIfAborted()
        await end(item, 'failed', sentence(error))
      }
    }
  }
  return open
}

async function watch(
  parts: ThawParts,
  vault: Vault,
  retrieval: Pick<RetrievalRow, 'request'>,
  item: ItemRow,
  key: string,
  seen: Thaw,
  options: { signal?: AbortSignal },
): Promise<ThawedItem> {
  const { tier, days } = retrieval.request as { tier: ThawTier; days: number }
  const thaw = seen.state === 'cold' ? await vault.thaw(key, { tier, days }, options) : seen
  if (thaw.state === 'ready') return { item, ready: true }
  const readyAt = thaw.state === 'thawing' ? thaw.readyAt : undefined
  if (item.state !== 'thawing') await parts.catalog.markItem(item.id, 'thawing', readyAt ? { readyAt } : {})
  return { item, ready: false, ...(readyAt && { readyAt }) }
}

/** What an error says, to be part of a longer sentence. */
export const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error)).replace(/\.$/, '')
