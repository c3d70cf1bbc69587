/** From a price list to a price: what thawing and reading some objects of a class costs, and how long it takes. */
import { FirnError } from '#libs/errors/errors.js'
import type { Quote, QuoteRequest, ThawTier } from '../vault.js'
import type { ClassPrices, PriceList } from './price-list.js'

/** A GB of the bill. */
const GB = 2 ** 30
const DAYS_A_MONTH = 30
/** Whose prices are taken where the list lacks a region. */
const USUAL_REGION = 'us-east-1'
const TIERS: readonly ThawTier[] = ['expedited', 'standard', 'bulk']

export interface Priced {
  readonly service: 's3' | 'glacier'
  /** Of S3. Default: that of a Glacier vault. */
  readonly storageClass?: string
  readonly region: string
}

/**
 * What the request costs; undefined where that is nothing. A tier that the class does not offer is refused (`usage`). A server that
 * only speaks S3 is not Amazon's: its vault asks no price.
 */
export function quoteFor(list: PriceList, where: Priced, request: QuoteRequest): Quote | undefined {
  const { region, prices } = pricesOf(list, where)
  const gb = (bytes: number) => bytes / GB
  const thousands = request.objects / 1000
  // A Glacier vault thaws ranges; S3 whole objects only.
  const thawBytes = where.service === 'glacier' ? (request.rangeBytes ?? request.thawBytes) : request.thawBytes
  const thaw = thawBytes > 0 && prices.thaw ? tierOf(prices.thaw, request.tier, where) : undefined
  const months = request.days / DAYS_A_MONTH
  const parts = [
    { what: 'thaw', usd: (thaw?.per_gb ?? 0) * gb(thawBytes) },
    { what: 'requests', usd: ((thaw?.per_1000 ?? 0) + prices.get_per_1000) * thousands },
    { what: 'copy', usd: thaw ? (prices.copy_per_gb_month ?? 0) * gb(thawBytes) * months : 0 },
    { what: 'read', usd: (prices.read_per_gb ?? 0) * gb(request.readBytes) },
    { what: 'transfer', usd: prices.egress_per_gb * gb(request.readBytes) },
  ].filter((part) => part.usd > 0)
  if (parts.length === 0 && thaw === undefined) return undefined
  return {
    usd: parts.reduce((sum, part) => sum + part.usd, 0),
    parts,
    hours: thaw?.hours ?? [0, 0],
    pricesOf: list.date,
    region,
    ...(region !== where.region && { insteadOf: where.region }),
  }
}

/** The prices of the region, else of the usual one, else of the first that the list has. */
function pricesOf(list: PriceList, { service, storageClass = 'VAULT', region }: Priced): { region: string; prices: ClassPrices } {
  const known = Object.keys(list.regions)
  for (const name of new Set([region, USUAL_REGION, ...known])) {
    const found = Object.hasOwn(list.regions, name) ? list.regions[name]?.[service] : undefined
    if (found && Object.hasOwn(found, storageClass)) return { region: name, prices: found[storageClass] as ClassPrices }
  }
  throw new FirnError(
    'usage',
    `The price list of ${list.date} has no prices of ${service === 's3' ? `the S3 class ${storageClass}` : 'Glacier vaults'}: name one that has them in FIRN_PRICES_FILE.`,
  )
}

function tierOf(thaw: NonNullable<ClassPrices['thaw']>, tier: ThawTier, { storageClass = 'a Glacier vault' }: Priced) {
  const found = thaw[tier]
  if (found) return found
  const offered = TIERS.filter((one) => thaw[one])
  throw new FirnError('usage', `${storageClass} offers no ${tier} thaw: choose --tier ${offered.join(' or ')}.`)
}
