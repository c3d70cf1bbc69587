/** Asks a vault for the thaws of cold items, each charged first to the retrieval that wants it. The caller holds their claims. */
import type { ItemRow } from '#libs/catalog/catalog.js'
import type { Thaw, ThawTier, Vault } from '#libs/vault/vault.js'
import { isSameSpan, sentence, type ThawedRetrieval, type ThawParts, type Verdict } from './thaw-items.js'

/** Requests under way at once to one vault: Amazon takes a thousand a second, a store of one's own less. */
const THAWS_AT_ONCE = 8

export interface AskOptions {
  readonly signal: AbortSignal
  readonly isFinal: (error: unknown) => boolean
}

/**
 * Says a verdict of every item, unless the vault fails: then it asks for nothing more, and throws what the vault said. The items of
 * one bundle that want the same bytes share what the first of them asks for.
 */
export async function askForThaws(
  parts: Pick<ThawParts, 'catalog'>,
  vault: Vault,
  retrievalOf: (item: ItemRow) => ThawedRetrieval,
  cold: readonly ItemRow[],
  say: (item: ItemRow, verdict: Verdict) => void,
  { signal, isFinal }: AskOptions,
): Promise<void> {
  const groups = sharing(cold)
  let failure: { error: unknown } | undefined
  const worker = async () => {
    for (let group = groups.shift(); group !== undefined && failure === undefined; group = groups.shift()) {
      try {
        signal.throwIfAborted()
        await askForGroup(group)
      } catch (error) {
        if (signal.aborted || !isFinal(error)) failure ??= { error }
        else for (const item of group) say(item, { state: 'failed', reason: sentence(error) })
      }
    }
  }
  await Promise.all(Array.from({ length: THAWS_AT_ONCE }, worker))
  if (failure) throw failure.error

  async function askForGroup(group: readonly ItemRow[]): Promise<void> {
    for (const [i, item] of group.entries()) {
      const thaw = await askFor(item)
      if (thaw !== undefined) {
        for (const one of group.slice(i)) say(one, thaw)
        return
      }
      const reason = 'its copy expired, and to thaw it again would cost more than was agreed to; ask again'
      say(item, { state: 'expired', reason }) // the next one may be of a retrieval that can pay for it
    }
  }

  /** Undefined: it would cost more than was agreed to. */
  async function askFor(item: ItemRow): Promise<Extract<Thaw, { state: 'thawing' | 'ready' }> | undefined> {
    const { request } = retrievalOf(item)
    const { tier, days } = request as { tier: ThawTier; days: number }
    const usd = priceOfThaw(vault, item, { tier, days })
    if (usd > 0 && !(await parts.catalog.charge(item.id, usd))) return undefined
    try {
      const thaw = await vault.thaw(item.bundle.key as string, { tier, days, ...(item.span && { range: item.span }) }, { signal })
      return thaw.state === 'ready' || thaw.state === 'thawing' ? thaw : { state: 'thawing' }
    } catch (error) {
      // A request whose answer was lost may have arrived: it stays charged, and asking again charges nothing.
      if (usd > 0 && !signal.aborted && isFinal(error)) await parts.catalog.uncharge(item.id)
      throw error
    }
  }
}

/** What one thaw costs, without the reading. */
export function priceOfThaw(vault: Vault, { bundle, bytes, span }: ItemRow, how: { tier: ThawTier; days: number }): number {
  const whole = bundle.tarBytes ?? bytes
  return vault.quote({ objects: 1, thawBytes: whole, rangeBytes: span?.length ?? whole, readBytes: 0, ...how })?.usd ?? 0
}

/** Items of one bundle that want the same bytes. */
function sharing(items: readonly ItemRow[]): ItemRow[][] {
  const byBundle = new Map<bigint, ItemRow[][]>()
  for (const item of items) {
    const groups = byBundle.get(item.bundle.number) ?? []
    byBundle.set(item.bundle.number, groups)
    const group = groups.find(([first]) => isSameSpan(first, item))
    if (group) group.push(item)
    else groups.push([item])
  }
  return [...byBundle.values()].flat()
}
