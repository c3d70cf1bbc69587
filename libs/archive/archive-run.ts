/** One run of `archive-files`: what an earlier run left unfinished first, then a set of its own, from the walk to the index. */
import type { Catalog, SetRequest, SetRow } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import { createBell } from '#libs/os/bell.js'
import type { Raw } from '#libs/os/raw.js'
import type { JobQueue } from '#libs/queue/queue.js'
import { type ArchiveSetParts, archiveSet, takeInterrupted } from './archive-set.js'
import type { CrawlEvents } from './crawl.js'
import type { IndexParts } from './index-bundle.js'
import { claimVault, knownOwner } from './own-vault.js'
import { keepReconciling, reconcile, sweepUnfinished } from './reconcile.js'
import type { StoreParts } from './store-bundle.js'
import { sentence } from './thaw-items.js'
import { startWorkers, type WorkEvents } from './work.js'

export interface ArchiveRunParts extends Omit<ArchiveSetParts, 'catalog' | 'queue'>, Omit<StoreParts, 'catalog' | 'queue'> {
  readonly catalog: ArchiveSetParts['catalog'] &
    StoreParts['catalog'] &
    IndexParts['catalog'] &
    Pick<
      Catalog,
      | 'catalogId'
      | 'vaultUrl'
      | 'createSet'
      | 'endSet'
      | 'interruptedSets'
      | 'strandedBundles'
      | 'unindexedBundles'
      | 'finishSets'
      | 'knownBundles'
      | 'hasLiveLease'
      | 'reclaimPlans'
    >
  readonly queue: Pick<JobQueue, 'add' | 'addMany' | 'work'>
  readonly index: IndexParts['index']
}

export interface ArchiveRunEvents extends CrawlEvents, WorkEvents {
  readonly onProgress?: (set: SetRow) => void
  /** An interrupted set is being finished first. */
  readonly onResume?: (set: SetRow) => void
  readonly onNote?: (text: string) => void
  readonly onSet?: (set: SetRow) => void
}

export interface ArchiveRunOptions extends ArchiveRunEvents {
  readonly signal: AbortSignal
  /** Bundles packed at a time by this process; 0: other processes are the workers. */
  readonly workers: number
  readonly leaveOut: readonly Raw[]
  /** Returns once everything is planned; other processes do the rest. */
  readonly detach: boolean
  /** How long to wait, where others are the workers, for an index that makes no progress. Default 30 s. */
  readonly indexPatienceMs?: number
}

export async function archiveRun(parts: ArchiveRunParts, request: SetRequest, options: ArchiveRunOptions): Promise<SetRow> {
  const { catalog } = parts
  const vault = await parts.vaults.open(request.vaultUrl)
  await knownOwner(catalog, vault, options.signal)
  await vault.prepare({ signal: options.signal })
  await claimVault(vault, catalog.catalogId, { signal: options.signal })

  // Trouble of a vault as a whole ends the phase that needs it: every further bundle would fail alike.
  let phase = { vaultId: request.vaultId, trouble: new AbortController() }
  const full = new AbortController()
  const begin = (vaultId: string): AbortSignal => {
    phase = { vaultId, trouble: new AbortController() }
    return AbortSignal.any([options.signal, full.signal, phase.trouble.signal])
  }
  let indexFails = false
  let queueFails = false
  const bell = createBell()
  let underWay = 0
  const ringWhenIdle = () => {
    if (underWay === 0) bell.ring()
  }
  const setOptions = {
    ...options,
    bell,
    onQueueTrouble: (error: unknown) => {
      if (!queueFails) options.onNote?.(`${sentence(error)}; what the queue does not take is added again by itself`)
      queueFails = true
      options.onQueueTrouble?.(error)
    },
    indexFails: () => indexFails,
    // Workers of one's own tell when the index fails, and a very large bundle may take them longer.
    ...(options.workers > 0 && { indexPatienceMs: Number.POSITIVE_INFINITY }),
    onUnsearchable: (bundles: number) => {
      if (indexFails) return // said already, with the reason
      const are = bundles === 1 ? '1 bundle is' : `${bundles} bundles are`
      options.onNote?.(
        `${are} stored and not searchable yet: workers, or the next run, will add what the search index does not take now`,
      )
    },
  }
  const workers =
    options.workers > 0
      ? await startWorkers(parts, {
          ...setOptions,
          concurrency: options.workers,
          onBegun: (bundle) => {
            underWay++
            options.onBegun?.(bundle)
          },
          onEnded: (bundle) => {
            underWay--
            options.onEnded?.(bundle)
            ringWhenIdle()
          },
          onIndexed: (bundleId) => {
            options.onIndexed?.(bundleId)
            ringWhenIdle()
          },
          onDatabaseFull: (error) => full.abort(error),
          onVaultTrouble: async (error, bundleId) => {
            const bundle = await catalog.bundle(bundleId)
            if (bundle?.vaultId === phase.vaultId) phase.trouble.abort(error)
          },
          onIndexFailed: (bundleId, error) => {
            if (!indexFails)
              options.onNote?.(
                `the search index does not take what is archived, so it cannot be searched yet: ${sentence(error)}`,
              )
            indexFails = true
            options.onIndexFailed?.(bundleId, error)
          },
        })
      : undefined
  const reconciler = keepReconciling(parts, (error) => options.onNote?.(`reconciling failed: ${sentence(error)}`))
  try {
    await reconcile(parts, 0)
    await sweepUnfinished(parts, vault, { signal: options.signal })
    await finishInterrupted(parts, request.host, begin, setOptions)
    const signal = begin(request.vaultId)
    const set = await catalog.createSet(request, parts.owner)
    options.onSet?.(set)
    const ended = await archiveSet(parts, set, options.leaveOut, { ...setOptions, signal })
    // Where nobody else keeps the database. It is housekeeping: the run is over, whatever becomes of it.
    if (parts.alone && ended.counts.bundlesStored > 0) await catalog.reclaimPlans().catch(() => {})
    return ended
  } finally {
    await reconciler.stop()
    // Whatever still runs here was aborted, or is another set's: it is handed back at once.
    await workers?.stop(0)
  }
}

async function finishInterrupted(
  parts: ArchiveRunParts,
  host: string,
  begin: (vaultId: string) => AbortSignal,
  options: ArchiveRunOptions & { indexFails: () => boolean },
): Promise<void> {
  const onUnseen = (set: SetRow, reason: string) =>
    options.onNote?.(`set ${set.id} of an earlier run is left to a host that sees its tree: ${reason}`)
  for await (const set of takeInterrupted(parts, host, onUnseen)) {
    options.onResume?.(set)
    const signal = begin(set.vaultId)
    try {
      await archiveSet(parts, set, options.leaveOut, { ...options, signal })
    } catch (error) {
      options.signal.throwIfAborted()
      if (isFirnError(error, 'database-full')) throw error
      // The trouble of an old vault must not keep new sets from being archived; the set is tried again by the next run. What was
      // asked for and is not there any more (a root) will not come back.
      if (isFirnError(error, 'usage')) await parts.catalog.endSet(set.id, 'failed', sentence(error))
      options.onNote?.(`set ${set.id} of an earlier run could not be finished: ${sentence(error)}`)
    }
  }
}
