/**
 * Whatever stands too long is set going again: bundles whose job was lost, whose worker died, or that are not indexed. With this the
 * queue may lose anything at any time. Runs at every start and every 30 s.
 */
import { parseKey } from '#libs/bundle/key.js'
import type { Catalog } from '#libs/catalog/catalog.js'
import type { JobQueue } from '#libs/queue/queue.js'
import type { Vault } from '#libs/vault/vault.js'
import { type RecordEndedParts, recordEnded } from './record-set.js'

/** Between two rounds. */
export const RECONCILE_MS = 30_000

export interface ReconcileParts extends RecordEndedParts {
  readonly catalog: RecordEndedParts['catalog'] & Pick<Catalog, 'strandedBundles' | 'unindexedBundles' | 'finishSets'>
  readonly queue: Pick<JobQueue, 'addMany'>
}

/**
 * `olderThanMs` 0 at a start: whatever no living process works at. `setId`: a command stores bundles of its own set alone; whatever is
 * stored it makes searchable. Returns how many jobs were added.
 */
export async function reconcile(parts: ReconcileParts, olderThanMs: number, setId?: string): Promise<number> {
  const { catalog, queue } = parts
  const stranded = await catalog.strandedBundles(olderThanMs, parts.isGone, setId)
  await queue.addMany(
    'store-bundle',
    stranded.map((bundleId) => ({ bundleId })),
  )
  const unindexed = await catalog.unindexedBundles(1_000)
  await queue.addMany(
    'index-bundle',
    unindexed.map((bundleId) => ({ bundleId })),
  )
  if (setId === undefined) await endSets(parts)
  else await catalog.finishSets(parts.isGone) // a command writes records where it was asked to archive
  return stranded.length + unindexed.length
}

/** Sets that nobody waits for, of which everything is done: their states, and their records. */
export async function endSets(parts: RecordEndedParts & { catalog: Pick<Catalog, 'finishSets'> }): Promise<void> {
  await parts.catalog.finishSets(parts.isGone)
  await recordEnded(parts)
}

/** Reconciles every 30 s until stopped; trouble is told and does not end it. */
export function keepReconciling(
  parts: ReconcileParts,
  onTrouble: (error: unknown) => void,
  { setId, everyMs = RECONCILE_MS }: { setId?: string; everyMs?: number } = {},
): { stop(): Promise<void> } {
  let round: Promise<void> | undefined
  const timer = setInterval(() => {
    round ??= reconcile(parts, everyMs, setId)
      .then(() => {}, onTrouble)
      .finally(() => {
        round = undefined
      })
  }, everyMs)
  return {
    async stop() {
      clearInterval(timer)
      await round
    },
  }
}

/** Removes what dead attempts of this catalog's bundles left unfinished in a vault. Finished objects are never touched. */
export async function sweepUnfinished(
  parts: { catalog: Pick<Catalog, 'knownBundles' | 'hasLiveLease'>; isGone: (owner: string) => boolean },
  vault: Vault,
  options: { signal?: AbortSignal } = {},
): Promise<string[]> {
  return vault.sweep(async (key) => {
    const names = parseKey(key)
    if (names === undefined) return false
    // In this order: a lease that is taken between the two looks is of a later attempt, and must not be taken for this one's.
    const live = await parts.catalog.hasLiveLease(names.bundleId, parts.isGone)
    const known = (await parts.catalog.knownBundles([names.bundleId])).get(names.bundleId)
    return known !== undefined && (!live || known.attempt > names.attempt)
  }, options)
}
