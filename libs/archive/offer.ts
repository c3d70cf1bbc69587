/**
 * What a retrieval will cost, before anybody pays: which of its bundles are cold, how many bytes that is, and the price by each tier.
 * Asks the vaults only how things stand, which costs nothing to speak of.
 */
import type { Catalog, Consent, ItemRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import type { ThawTier, Vault } from '#libs/vault/vault.js'
import { openKnown } from './own-vault.js'
import { isOpen } from './thaw-items.js'
import type { Vaults } from './vaults.js'

export const TIERS: readonly ThawTier[] = ['expedited', 'standard', 'bulk']

export interface OfferParts {
  readonly catalog: Pick<Catalog, 'items' | 'knownVault' | 'catalogId'>
  readonly vaults: Vaults
}

/** By one tier. */
export interface TierPrice {
  readonly usd: number
  /** Of which for thawing alone. */
  readonly thawUsd: number
  readonly parts: readonly { readonly what: string; readonly usd: number }[]
  readonly hours: readonly [number, number]
}

export interface Offer {
  /** Bundles whose bytes are needed. */
  readonly archives: number
  /** Of those: cold, with nobody who thaws them. */
  readonly cold: number
  /** Of those: asked for already, by another retrieval, and not ready yet. */
  readonly thawing: number
  /** Of the cold ones, as they are thawed; and what is read of all of them. */
  readonly thawBytes: number
  readonly readBytes: number
  /** Thaws and reads. */
  readonly requests: number
  readonly tier: ThawTier
  readonly days: number
  /** Tiers that every vault offers. */
  readonly prices: ReadonlyMap<ThawTier, TierPrice>
  /** Day and region of the prices, and whose they stand for. */
  readonly priceLists: readonly string[]
}

/** Undefined: it costs nothing. Throws `usage` where a vault does not offer the tier. */
export async function offerFor(
  parts: OfferParts,
  retrieval: Pick<RetrievalRow, 'id' | 'request'>,
  options: { signal?: AbortSignal; onAway?: (vaultId: string, reason: string) => void } = {},
): Promise<Offer | undefined> {
  const { tier, days } = retrieval.request as { tier: ThawTier; days: number }
  const sums = new Map<string, VaultSum>()
  const away = new Set<string>()
  for await (const page of parts.catalog.items(retrieval.id)) {
    for (const [vaultId, items] of grouped(page)) {
      if (away.has(vaultId)) continue
      try {
        const sum = sums.get(vaultId) ?? emptySum(await openKnown(parts, vaultId, options))
        sums.set(vaultId, sum)
        await addUp(sum, items, options)
      } catch (error) {
        // It gives nothing now, and so costs nothing; what is in other vaults is offered all the same.
        if (!isFirnError(error, 'vault-away')) throw error
        away.add(vaultId)
        sums.delete(vaultId)
        options.onAway?.(vaultId, error.message)
      }
    }
  }
  const all = [...sums.values()]
  const prices = new Map<ThawTier, TierPrice>()
  const lists = new Set<string>()
  for (const one of TIERS) {
    try {
      const price = priceBy(all, one, days, lists)
      if (price) prices.set(one, price)
    } catch (error) {
      if (one === tier || !isFirnError(error, 'usage')) throw error
    }
  }
  if (!prices.has(tier)) return undefined
  const total = (of: (sum: VaultSum) => number) => all.reduce((whole, sum) => whole + of(sum), 0)
  return {
    archives: total(({ archives }) => archives),
    cold: total(({ cold }) => cold),
    thawing: total(({ thawing }) => thawing),
    thawBytes: total(({ thawBytes }) => thawBytes),
    readBytes: total(({ readBytes }) => readBytes),
    requests: total(({ archives, cold }) => archives + cold),
    tier,
    days,
    prices,
    priceLists: [...lists],
  }
}

/** What somebody agrees to who takes the offer. `maxUsd`: also that much, should copies expire before they are fetched. */
export function consentTo(offer: Offer | undefined, maxUsd?: number): Consent {
  const price = offer?.prices.get(offer.tier)
  if (offer === undefined || price === undefined) return { thawLimitUsd: 0, usd: 0, offer: {} }
  const readUsd = price.usd - price.thawUsd
  return {
    thawLimitUsd: Math.max(price.thawUsd, (maxUsd ?? 0) - readUsd),
    usd: price.usd,
    offer: {
      usd: price.usd,
      hours: price.hours,
      tier: offer.tier,
      days: offer.days,
      archives: offer.archives,
      cold: offer.cold,
      thaw_bytes: offer.thawBytes,
      read_bytes: offer.readBytes,
      prices_of: offer.priceLists,
      ...(maxUsd !== undefined && { max_usd: maxUsd }),
    },
  }
}

interface VaultSum {
  readonly vault: Vault
  archives: number
  cold: number
  thawing: number
  thawBytes: number
  rangeBytes: number
  readBytes: number
}

const emptySum = (vault: Vault): VaultSum => ({
  vault,
  archives: 0,
  cold: 0,
  thawing: 0,
  thawBytes: 0,
  rangeBytes: 0,
  readBytes: 0,
})

async function addUp(sum: VaultSum, items: readonly ItemRow[], options: { signal?: AbortSignal }): Promise<void> {
  const ranges = new Map(items.flatMap(({ bundle, span }) => (span ? [[bundle.key as string, span] as const] : [])))
  const states = await sum.vault.thawStates(
    items.map(({ bundle }) => bundle.key as string),
    { ...options, ranges },
  )
  for (const { bundle, bytes, span } of items) {
    sum.archives++
    sum.readBytes += bytes
    const state = states.get(bundle.key as string)?.state
    if (state === 'thawing') sum.thawing++
    if (state !== 'cold') continue
    const whole = bundle.tarBytes ?? bytes
    sum.cold++
    sum.thawBytes += whole
    sum.rangeBytes += span?.length ?? whole
  }
}

function priceBy(sums: readonly VaultSum[], tier: ThawTier, days: number, lists: Set<string>): TierPrice | undefined {
  const parts = new Map<string, number>()
  let price: { usd: number; thawUsd: number; hours: [number, number] } | undefined
  for (const { vault, archives, cold, thawBytes, rangeBytes, readBytes } of sums) {
    // The reading of everything, and the thawing of what is cold. Each bundle's reading request is in one of them.
    const reading = vault.quote({ objects: archives - cold, thawBytes: 0, readBytes, tier, days })
    const thawing = cold > 0 ? vault.quote({ objects: cold, thawBytes, rangeBytes, readBytes: 0, tier, days }) : undefined
    const quotes = [reading, thawing].filter((one) => one !== undefined)
    if (quotes.length === 0) continue
    price ??= { usd: 0, thawUsd: 0, hours: [0, 0] }
    for (const one of quotes) {
      price.usd += one.usd
      for (const { what, usd } of one.parts) parts.set(what, (parts.get(what) ?? 0) + usd)
      price.hours = [Math.max(price.hours[0], one.hours[0]), Math.max(price.hours[1], one.hours[1])]
      lists.add(`${one.region}, ${one.pricesOf}${one.insteadOf ? ` (the price list has none of ${one.insteadOf})` : ''}`)
    }
    price.thawUsd += thawing?.usd ?? 0
  }
  return price && { ...price, parts: [...parts].map(([what, usd]) => ({ what, usd })) }
}

/** Open items that need bytes, by vault. */
function grouped(page: readonly ItemRow[]): Map<string, ItemRow[]> {
  const byVault = new Map<string, ItemRow[]>()
  for (const item of page) {
    if (!isOpen(item.state) || item.bytes === 0 || item.bundle.key === undefined) continue
    const items = byVault.get(item.bundle.vaultId)
    if (items) items.push(item)
    else byVault.set(item.bundle.vaultId, [item])
  }
  return byVault
}
