/** From a URL to the vault: with its companion, its share of memory, and the prices of its region. */
import type { VaultOptions } from '../open-vault.js'
import { quoteFor } from '../prices/quote.js'
import { processMemory } from '../upload-memory.js'
import type { QuoteRequest, Vault } from '../vault.js'
import type { VaultUrl } from '../vault-url.js'
import { mostThawed } from './aligned-range.js'
import { glacierPlace } from './glacier-options.js'
import { openGlacierVault } from './glacier-vault.js'

/** `openVault` opens the companion. */
export async function openGlacier(
  url: VaultUrl,
  options: VaultOptions,
  openVault: (url: string, options: VaultOptions) => Promise<Vault>,
): Promise<Vault> {
  const place = glacierPlace(url)
  const companion = await openVault(place.manifests, options)
  const prices = await options.prices()
  // Without region= it is the SDK's own, which a quote need not wait for: the price list says which region it took instead.
  const where = { service: 'glacier', region: place.region ?? 'unknown' } as const
  const quote = (request: QuoteRequest) => {
    const { objects, thawBytes, rangeBytes = thawBytes } = request
    const thawed = Math.min(thawBytes, mostThawed(rangeBytes, objects))
    return quoteFor(prices, where, { ...request, thawBytes: thawed, rangeBytes: thawed })
  }
  return openGlacierVault({ ...place, companion, quote, memory: processMemory(options.uploadMemoryBytes) })
}
