/** Before anything that costs money: what it costs, by which tier, until when; and then a yes, or exit 5 with nothing asked for. */
import { consentTo, type Offer, offerFor, TIERS } from '#libs/archive/offer.js'
import { agree } from '#libs/archive/retrieve.js'
import type { RetrievalRow } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import type { CommandContext } from '#libs/runtime/command.js'
import { formatBytes, formatCount, formatUsd, plural } from '#libs/runtime/terminal/sizes.js'
import type { FindFlags } from './options.js'

type Parts = Parameters<typeof agree>[0] & Parameters<typeof offerFor>[0]

/** The retrieval, agreed to. A retrieval that is refused is forgotten, and exit 5 (`no-consent`) says so. */
export async function withConsent(
  context: CommandContext<FindFlags>,
  parts: Parts & { readonly catalog: { dropRetrieval(id: string): Promise<void> } },
  retrieval: RetrievalRow,
  maxUsd: number | undefined,
  onAway: (vaultId: string, reason: string) => void,
): Promise<RetrievalRow> {
  if (retrieval.agreedAt !== undefined) return retrieval // of the same request, which goes on
  try {
    const offer = await offerFor(parts, retrieval, { signal: context.signal, onAway })
    if (offer) await confirm(context, retrieval, offer, maxUsd)
    return await agree(parts, retrieval.id, consentTo(offer, maxUsd))
  } catch (error) {
    await parts.catalog.dropRetrieval(retrieval.id).catch(() => {})
    throw error
  }
}

async function confirm(
  { flags, reporter, signal }: CommandContext<FindFlags>,
  retrieval: RetrievalRow,
  offer: Offer,
  maxUsd: number | undefined,
): Promise<void> {
  const usd = offer.prices.get(offer.tier)?.usd ?? 0
  await reporter.message('quote', quoteMessage(retrieval, offer, maxUsd))
  const lines = offerLines(offer)
  const tooMuch = maxUsd !== undefined && usd > maxUsd
  const asks = !tooMuch && !flags.yes && process.stdin.isTTY && process.stderr.isTTY
  if (!asks) for (const line of lines) reporter.note(line)
  if (tooMuch) {
    const cheapest = [...offer.prices].filter(([, price]) => price.usd <= maxUsd).sort(([, a], [, b]) => a.usd - b.usd)[0]
    throw new FirnError(
      'no-consent',
      `it would cost about ${formatUsd(usd)}, more than the --max-cost of ${formatUsd(maxUsd)}; nothing was asked for${cheapest ? ` (--tier ${cheapest[0]} costs about ${formatUsd(cheapest[1].usd)})` : ''}`,
    )
  }
  if (flags.yes) return
  if (!asks) {
    throw new FirnError(
      'no-consent',
      `it would cost about ${formatUsd(usd)}; nothing was asked for: say --yes, or run it on a terminal to be asked`,
    )
  }
  const { createInterface } = await import('node:readline/promises')
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`${lines.join('\n')}\nRetrieve for about ${formatUsd(usd)}? [y/N] `, { signal })
    if (!/^y(es)?$/i.test(answer.trim())) throw new FirnError('no-consent', 'not confirmed; nothing was asked for')
  } finally {
    terminal.close()
  }
}

const quoteMessage = (retrieval: RetrievalRow, offer: Offer, maxUsd: number | undefined): Record<string, unknown> => {
  const price = offer.prices.get(offer.tier)
  return {
    files: retrieval.files,
    archives: offer.archives,
    archives_cold: offer.cold,
    archives_thawing: offer.thawing,
    bytes: offer.readBytes,
    bytes_thawed: offer.thawBytes,
    requests: offer.requests,
    tier: offer.tier,
    days: offer.days,
    usd: price?.usd,
    hours: price?.hours,
    parts: price?.parts,
    tiers: [...offer.prices].map(([tier, { usd, hours }]) => ({ tier, usd, hours })),
    prices_of: offer.priceLists,
    max_usd: maxUsd,
  }
}

/** The offer as people read it: what is needed, each tier on a line with the chosen one marked, and whose prices these are. */
export function offerLines(offer: Offer): string[] {
  const thawed = offer.archives - offer.cold - offer.thawing
  const needed = [
    `${plural(offer.archives, 'archive')}, of which ${formatBytes(offer.readBytes)} ${offer.cold > 0 ? 'will be read' : 'is read'}`,
    ...(offer.cold > 0 ? [`${formatCount(offer.cold)} to thaw, ${formatBytes(offer.thawBytes)}`] : []),
    ...(offer.thawing > 0 ? [`${formatCount(offer.thawing)} asked for already, by another retrieval`] : []),
    ...(thawed > 0 && offer.cold > 0 ? [`${formatCount(thawed)} readable`] : []),
    plural(offer.requests, 'request'),
  ]
  const chosen = offer.prices.get(offer.tier)
  const parts = (chosen?.parts ?? []).map(({ what, usd }) => `${what} ${formatUsd(usd)}`).join(', ')
  const table =
    offer.cold === 0
      ? [`  about ${formatUsd(chosen?.usd ?? 0)}, ${offer.thawing > 0 ? 'when they are thawed' : 'at once'}`]
      : TIERS.flatMap((tier) => {
          const price = offer.prices.get(tier)
          const mark = tier === offer.tier ? '*' : ' '
          return price
            ? [`${mark} ${tier.padEnd(10)} ${formatUsd(price.usd).padStart(10)}   ready in ${formatHours(price.hours)}`]
            : []
        })
  return [
    needed.join('; '),
    ...table,
    `  (${parts}${offer.cold > 0 ? `; copies kept for ${plural(offer.days, 'day')}` : ''})`,
    `prices of ${offer.priceLists.join(' and ')}, without taxes, discounts and free tiers`,
  ]
}

function formatHours([least, most]: readonly [number, number]): string {
  if (most < 1) return `${Math.max(1, Math.round(least * 60))} to ${Math.round(most * 60)} minutes`
  return `${least} to ${most} hours`
}
