/**
 * Thaws: asked for once, then watched, whoever wants them. Items of any number of retrievals are looked at together, a vault at a
 * time; those that wait for the same bundle share its thaw. One item's trouble never stops the others.
 *
 * Nothing is paid twice: a thaw is looked for and asked for under a claim that only one process can have, and a claim that is lost
 * with its process is followed by another look. Nothing is paid that was not agreed to: each thaw is first charged to its retrieval.
 */
import type { Catalog, ItemChange, ItemRow, RetrievalRow, RetrievalState } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { ByteRange, Thaw, Vault } from '#libs/vault/vault.js'
import { askForThaws } from './ask-for-thaws.js'
import { keepLease } from './keep-lease.js'
import { openKnown } from './own-vault.js'
import type { Vaults } from './vaults.js'

/** Whether an item or a retrieval still has something to come. */
export const isOpen = (state: RetrievalState): boolean => state !== 'done' && state !== 'failed' && state !== 'expired'

export interface ThawParts {
  readonly catalog: Pick<
    Catalog,
    'catalogId' | 'changeItems' | 'knownVault' | 'claimThaws' | 'renewThaws' | 'releaseThaws' | 'charge' | 'uncharge'
  >
  readonly vaults: Vaults
  readonly owner: string
  readonly isGone: (owner: string) => boolean
}

export type ThawedRetrieval = Pick<RetrievalRow, 'id' | 'request'>

export interface ThawOptions {
  readonly signal?: AbortSignal
  /** Whether a copy that expired before it was fetched is asked for again, within what was agreed to; else its item is `expired`. */
  readonly asksAgain: (retrieval: ThawedRetrieval) => boolean
  /** A vault that refuses may be mended tomorrow: its items wait for that. Without it they fail. */
  readonly patient?: boolean
  readonly onItemFailed?: (item: ItemRow, reason: string) => void
  /** A vault or a thaw that does not answer now; it is tried again at the next look. */
  readonly onTrouble?: (vaultId: string, reason: string) => void
}

export interface ThawedItem {
  readonly item: ItemRow
  readonly ready: boolean
  readonly readyAt?: Date
}

/** Somebody else is asking for a thaw at this moment, or its state was put back: worth another look after so long. */
const SOON_MS = 2_000

/** What a look says of an item: how its thaw stands, that it is over, or only when to look again. */
export type Verdict =
  | { readonly state: 'ready'; readonly expiresAt?: Date }
  | { readonly state: 'failed'; readonly reason: string }
  | { readonly state: 'expired'; readonly reason: string }
  | { readonly state: 'thawing' | 'requested' | 'unchanged'; readonly readyAt?: Date }

/** Asks for what nobody asked for yet, looks at what thaws, and returns the items that are still open. */
export async function thawItems(
  parts: ThawParts,
  retrievalOf: (item: ItemRow) => ThawedRetrieval,
  items: readonly ItemRow[],
  options: ThawOptions,
): Promise<ThawedItem[]> {
  const byVault = new Map<string, ItemRow[]>()
  for (const item of items) {
    const inVault = byVault.get(item.bundle.vaultId)
    if (inVault) inVault.push(item)
    else byVault.set(item.bundle.vaultId, [item])
  }
  const open: ThawedItem[] = []
  for (const [vaultId, inVault] of byVault) {
    const verdicts = new Map<ItemRow, Verdict>()
    try {
      await judge(parts, vaultId, retrievalOf, inVault, verdicts, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      const final = isFinal(error, options)
      if (!final) options.onTrouble?.(vaultId, sentence(error))
      for (const item of inVault) {
        if (!verdicts.has(item)) verdicts.set(item, final ? { state: 'failed', reason: sentence(error) } : { state: 'unchanged' })
      }
    } finally {
      // Also of a look that was stopped: what was asked for and paid is written down.
      await parts.catalog.changeItems([...verdicts].flatMap(([item, verdict]) => changeOf(item, verdict) ?? []))
    }
    for (const [item, verdict] of verdicts) {
      if (verdict.state === 'failed' || verdict.state === 'expired') options.onItemFailed?.(item, verdict.reason)
      else if (verdict.state === 'ready') open.push({ item, ready: true })
      else open.push({ item, ready: false, ...(verdict.readyAt && { readyAt: verdict.readyAt }) })
    }
  }
  return open
}

/** Finds the verdict of each item of one vault. What it throws is of the items that have none. */
async function judge(
  parts: ThawParts,
  vaultId: string,
  retrievalOf: (item: ItemRow) => ThawedRetrieval,
  items: readonly ItemRow[],
  verdicts: Map<ItemRow, Verdict>,
  options: ThawOptions,
): Promise<void> {
  const { catalog, owner } = parts
  const cold: ItemRow[] = []
  const needy = items.filter((item) => item.bytes > 0 && item.bundle.key !== undefined)
  // Directories, links and empty files need no bytes.
  for (const item of items) if (item.bytes === 0 || item.bundle.key === undefined) verdicts.set(item, { state: 'ready' })
  if (needy.length === 0) return

  const vault = await openKnown(parts, vaultId, options)
  // First the claim, then the look: whoever had the claim before has asked by then, and the look shows it.
  const fresh = needy.filter(({ state }) => state === 'requested').map(({ bundle }) => bundle.number)
  const claimed = await catalog.claimThaws(fresh, owner, parts.isGone)
  await using kept = keepLease(async () => {
    if (claimed.size > 0) await catalog.renewThaws([...claimed], owner)
    return undefined
  }, options.signal)
  const call = { signal: kept.signal }
  try {
    for (const layer of layersOf(vault, needy)) {
      const states = await vault.thawStates([...layer.keys()], { ...call, ranges: rangesOf(layer) })
      for (const [key, same] of layer) {
        for (const item of same) {
          const verdict = verdictOf(item, states.get(key), vaultId, claimed, () => options.asksAgain(retrievalOf(item)))
          if (verdict === 'cold') cold.push(item)
          else verdicts.set(item, verdict)
        }
      }
    }
    await askForThaws(parts, vault, retrievalOf, cold, (item, verdict) => verdicts.set(item, verdict), {
      ...call,
      isFinal: (error) => isFinal(error, options),
    })
  } finally {
    await catalog.releaseThaws([...claimed], owner)
  }
}

function verdictOf(
  item: ItemRow,
  thaw: Thaw | undefined,
  vaultId: string,
  claimed: ReadonlySet<bigint>,
  asksAgain: () => boolean,
): Verdict | 'cold' {
  const soon = new Date(Date.now() + SOON_MS)
  if (thaw === undefined) return { state: 'failed', reason: `bundle ${item.bundle.id} is missing from ${vaultId}` }
  if (thaw.state !== 'cold') return thaw
  // Who fetches it sees that it is cold again, and puts it back; where that process is gone, this one will be asked to fetch it.
  if (item.state === 'fetching') return { state: 'ready' }
  if (item.state === 'requested') return claimed.has(item.bundle.number) ? 'cold' : { state: 'unchanged', readyAt: soon }
  if (asksAgain()) return { state: 'requested', readyAt: soon }
  return { state: 'expired', reason: 'its thawed copy expired before it was fetched; ask again to thaw it again' }
}

/** What of a verdict is news. An item that is being fetched belongs to who fetches it. */
function changeOf(item: ItemRow, verdict: Verdict): ItemChange | undefined {
  const change = { id: item.id, seen: item.state }
  switch (verdict.state) {
    case 'unchanged':
      return undefined
    case 'failed':
    case 'expired':
      return { ...change, state: verdict.state, reason: verdict.reason, filesFailed: item.files - item.filesRestored }
    default: {
      if (item.state === 'fetching') return undefined
      const readyAt = verdict.state === 'thawing' ? verdict.readyAt : undefined
      const expiresAt = verdict.state === 'ready' ? verdict.expiresAt : undefined
      const isNews = verdict.state !== item.state || (readyAt && readyAt.getTime() !== item.readyAt?.getTime())
      return isNews
        ? { ...change, state: verdict.state, ...(readyAt && { readyAt }), ...(expiresAt && { expiresAt }) }
        : undefined
    }
  }
}

/** Not worth another try: the object is not there or not what it was, or somebody must do something first. */
function isFinal(error: unknown, { patient = false }: ThawOptions): boolean {
  if (!(error instanceof FirnError)) return true
  return (
    isFirnError(error, 'vault-missing', 'damaged', 'failed') ||
    (!patient && isFirnError(error, 'usage', 'vault-refused', 'vault-away'))
  )
}

/** What is asked of the vault at once: of each key one range. Items that want other ranges of a key are asked about again. */
function layersOf(vault: Vault, items: readonly ItemRow[]): Map<string, ItemRow[]>[] {
  const layers: Map<string, ItemRow[]>[] = []
  for (const item of items) {
    const key = item.bundle.key as string
    const layer = layers.find((one) => one.get(key) === undefined || sharesThaw(vault, one.get(key)?.[0], item))
    const same = layer?.get(key)
    if (same) same.push(item)
    else if (layer) layer.set(key, [item])
    else layers.push(new Map([[key, [item]]]))
  }
  return layers
}

/** Whether one thaw of their bundle is enough for both. */
export const sharesThaw = (vault: Vault, a: ItemRow | undefined, b: ItemRow): boolean =>
  !vault.thawsRanges || (a?.span?.offset === b.span?.offset && a?.span?.length === b.span?.length)

function rangesOf(layer: ReadonlyMap<string, readonly ItemRow[]>): Map<string, ByteRange> {
  return new Map([...layer].flatMap(([key, [item]]) => (item?.span ? [[key, item.span] as const] : [])))
}

/** What an error says, to be part of a longer sentence. */
export const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error)).replace(/\.$/, '')
