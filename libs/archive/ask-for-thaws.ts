/** Asks a vault for the thaws of cold items, each charged first to the retrieval that wants it. The caller holds their claims. */
import type { ItemRow } from '#libs/catalog/catalog.js'
import type { Quote, Thaw, ThawTier, Vault } from '#libs/vault/vault.js'
import { sentence, sharesThaw, type ThawedRetrieval, type ThawParts, type Verdict } from './thaw-items.js'

/** Requests under way at once to one vault: Amazon takes a thousand a second, a store of one's own less. */
const THAWS_AT_ONCE = 8

export interface AskOptions {
  readonly signal: AbortSignal
  readonly isFinal: (error: unknown) => boolean
}

/**
 * Says a verdict of every item, unless the vault fails: then it asks for nothing more, and throws what the vault said. The items of
 * one bundle share what the first of them asks for, as far as the vault thaws it for all of them.
 */
export async function askForThaws(
  parts: Pick<ThawParts, 'catalog'>,
  vault: Vault,
  retrievalOf: (item: ItemRow) => ThawedRetrieval,
  cold: readonly ItemRow[],
  say: (item: ItemRow, verdict: Verdict) => void,
  { signal, isFinal }: AskOptions,
): Promise<void> {
  const groups = sharing(vault, cold)
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
    const quote = quoteOfThaw(vault, item, { tier, days })
    const usd = quote?.usd ?? 0
    if (usd > 0 && !(await parts.catalog.charge(item.id, usd))) return undefined
    try {
      const thaw = await vault.thaw(item.bundle.key as string, { tier, days, ...(item.span && { range: item.span }) }, { signal })
      if (thaw.state === 'ready') return thaw
      // S3 names no time: then the longest that its tier takes.
      const readyAt = (thaw.state === 'thawing' ? thaw.readyAt : undefined) ?? hoursFromNow(quote?.hours[1])
      return { state: 'thawing', ...(readyAt && { readyAt }) }
    } catch (error) {
      // A request whose answer was lost may have arrived: it stays charged, and asking again charges nothing.
      if (usd > 0 && !signal.aborted && isFinal(error)) await parts.catalog.uncharge(item.id)
      throw error
    }
  }
}

const HOUR_MS = 3_600_000

const hoursFromNow = (hours: number | undefined): Date | undefined => (hours ? new Date(Date.now() + hours * HOUR_MS) : undefined)

/** What one thaw costs, without the reading. */
function quoteOfThaw(vault: Vault, { bundle, bytes, span }: ItemRow, how: { tier: ThawTier; days: number }): Quote | undefined {
  const whole = bundle.tarBytes ?? bytes
  return vault.quote({ objects: 1, thawBytes: whole, rangeBytes: span?.length ?? whole, readBytes: 0, ...how })
}

/** Items of one bundle that one thaw is enough for. */
function sharing(vault: Vault, items: readonly ItemRow[]): ItemRow[][] {
  const byBundle = new Map<bigint, ItemRow[][]>()
  for (const item of items) {
    const groups = byBundle.get(item.bundle.number) ?? []
    byBundle.set(item.bundle.number, groups)
    const group = groups.find(([first]) => sharesThaw(vault, first, item))
    if (group) group.push(item)
    else groups.push([item])
  }
  return [...byBundle.values()].flat()
}
