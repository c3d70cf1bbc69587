/**
 * One run of `archive-files`: first what an interrupted run of the same request left, then a set of its own, from the walk to the index.
 * Whatever else was interrupted is named and left alone: somebody may have stopped it on purpose.
 */
import type { Catalog, SetRequest, SetRow } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { type Bell, createBell } from '#libs/os/bell.js'
import type { Raw } from '#libs/os/raw.js'
import type { JobQueue } from '#libs/queue/queue.js'
import { type ArchiveSetParts, archiveSet, type InterruptedEvents, takeInterrupted } from './archive-set.js'
import type { CrawlEvents } from './crawl.js'
import { isSameRequest } from './crawl-options.js'
import type { IndexParts } from './index-bundle.js'
import { claimVault, knownNote } from './own-vault.js'
import { keepReconciling, reconcile, sweepUnfinished } from './reconcile.js'
import { recordEnded } from './record-set.js'
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
      | 'workers'
      | 'knownVault'
      | 'recogniseVault'
      | 'createSet'
      | 'failSet'
      | 'interruptedSets'
      | 'strandedBundles'
      | 'unindexedBundles'
      | 'finishSets'
      | 'unrecordedSets'
      | 'knownBundles'
      | 'hasLiveLease'
      | 'reclaimPlans'
    >
  readonly queue: Pick<JobQueue, 'add' | 'addMany' | 'work' | 'lane'>
  readonly index: IndexParts['index']
}

export interface ArchiveRunEvents extends CrawlEvents, WorkEvents, Pick<InterruptedEvents, 'onInterrupted'> {
  readonly onProgress?: (set: SetRow) => void
  /** An interrupted set is being finished first. */
  readonly onResume?: (set: SetRow) => void
  /** It is over, or, without a set, could not be finished. */
  readonly onResumed?: (set: SetRow | undefined, error?: unknown) => void
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
  /** How long bundles of other sets may stay as they are, where no worker is known that would store them. Default 60 s. */
  readonly awaitPatienceMs?: number
  /** How often, and after how long, bundles that nobody works at are woken again. Default 30 s. */
  readonly reconcileMs?: number
}

export async function archiveRun(parts: ArchiveRunParts, request: SetRequest, options: ArchiveRunOptions): Promise<SetRow> {
  const { catalog } = parts
  await openForWriting(parts, request.vaultUrl, options.signal)
  const told = oncePerRun(options)
  await finishInterrupted(parts, request.host, (set) => isSameRequest(set, request), told)
  const set = await catalog.createSet(request, parts.owner)
  options.onSet?.(set)
  const ended = await workAt(parts, set, told)
  // Where nobody else keeps the database. It is housekeeping: the run is over, whatever becomes of it.
  if (parts.alone && ended.counts.bundlesStored > 0) await catalog.reclaimPlans().catch(() => {})
  return ended
}

/**
 * `firn resume`: finishes interrupted sets of a host: one, or every one of them. Each is told by `onResume` and `onResumed`.
 * Throws where one that is asked for cannot be had: it is over, or somebody works at it.
 */
export async function resumeSets(
  parts: ArchiveRunParts,
  { host, setId }: { host: string; setId?: string },
  options: ArchiveRunOptions,
): Promise<void> {
  const asked = setId === undefined ? undefined : await parts.catalog.set(setId)
  let taken = 0
  await finishInterrupted(parts, asked?.host ?? host, ({ id }) => setId === undefined || id === setId, {
    ...oncePerRun(options),
    onInterrupted: () => {},
    onResume: (set) => {
      taken++
      options.onResume?.(set)
    },
  })
  if (asked === undefined || taken > 0) return
  const now = await parts.catalog.set(asked.id)
  if (now?.state !== 'crawling' && now?.state !== 'archiving') {
    throw new FirnError('usage', `Set ${asked.id} is ${now?.state}: there is nothing to resume.`)
  }
  throw new FirnError(
    'try-again',
    `Set ${asked.id} is not interrupted: another process works at it, or only another host sees its tree.`,
  )
}

/** The vault must be there, and be ours; a new one is made. */
async function openForWriting(parts: ArchiveRunParts, url: string, signal: AbortSignal): Promise<void> {
  const { catalog } = parts
  const vault = await parts.vaults.open(url)
  const known = await knownNote(catalog, vault, { signal })
  await vault.prepare({ signal, make: known === undefined })
  await claimVault(vault, { catalog, url }, { signal })
  await sweepUnfinished(parts, vault, { signal })
  await recordEnded(parts, { vaultId: vault.id, signal })
}

type Told = ArchiveRunOptions & {
  readonly indexFails: () => boolean
  readonly onUnsearchable: (bundles: number) => void
  readonly onAwaiting: (setIds: readonly string[], files: number) => void
}

/** What may befall every set of a run alike is said once. */
function oncePerRun(options: ArchiveRunOptions): Told {
  let indexFails = false
  let queueFails = false
  return {
    ...options,
    onQueueTrouble: (error: unknown) => {
      if (!queueFails) options.onNote?.(`${sentence(error)}; what the queue does not take is added again by itself`)
      queueFails = true
      options.onQueueTrouble?.(error)
    },
    indexFails: () => indexFails,
    onIndexFailed: (bundleId, error) => {
      if (!indexFails)
        options.onNote?.(`the search index does not take what is archived, so it cannot be searched yet: ${sentence(error)}`)
      indexFails = true
      options.onIndexFailed?.(bundleId, error)
    },
    onAwaiting: (setIds, files) => {
      options.onNote?.(`${files} of the files are being archived by set ${setIds.join(' and ')}: waiting for them`)
    },
    onTurn: (setId) =>
      options.onNote?.(`set ${setId} is being crawled, and its roots overlap with these: waiting for its turn to end`),
    onUnsearchable: (bundles: number) => {
      if (indexFails) return // said already, with the reason
      const are = bundles === 1 ? '1 bundle is' : `${bundles} bundles are`
      options.onNote?.(
        `${are} stored and not searchable yet: workers, or the next run, will add what the search index does not take now`,
      )
    },
  }
}

async function finishInterrupted(
  parts: ArchiveRunParts,
  host: string,
  isWanted: (set: SetRow) => boolean,
  options: Told,
): Promise<void> {
  const interrupted = takeInterrupted(parts, host, isWanted, {
    ...options,
    onUnseen: (set, reason) =>
      options.onNote?.(`set ${set.id} of an earlier run is left to a host that sees its tree: ${reason}`),
  })
  for await (const set of interrupted) {
    options.onResume?.(set)
    try {
      await openForWriting(parts, set.vaultUrl, options.signal)
      const ended = await workAt(parts, set, options)
      options.onResumed?.(ended)
    } catch (error) {
      options.signal.throwIfAborted()
      if (isFirnError(error, 'database-full')) throw error
      // Its trouble must not keep new sets from being archived; the set is tried again by the next run. What was asked for and is not
      // there any more (a root) will not come back.
      if (isFirnError(error, 'usage')) await parts.catalog.failSet(set.id, sentence(error))
      options.onNote?.(`set ${set.id} of an earlier run could not be finished: ${sentence(error)}`)
      options.onResumed?.(undefined, error)
    }
  }
}

/**
 * A set that this process holds the lease of, to its end: with workers of its own, to which nobody else's jobs come, or with those of
 * other processes.
 */
async function workAt(parts: ArchiveRunParts, set: SetRow, options: Told): Promise<SetRow> {
  if (options.workers === 0) return await watched(parts, set, options)
  // Trouble of the vault or the database as a whole: every further bundle would fail alike.
  const trouble = new AbortController()
  const bell = createBell()
  let underWay = 0
  const ringWhenIdle = () => {
    if (underWay === 0) bell.ring()
  }
  await using lane = parts.queue.lane(set.id)
  const own = { ...parts, queue: lane }
  const workers = await startWorkers(own, {
    ...options,
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
    onDatabaseFull: (error) => trouble.abort(error),
    onVaultTrouble: (error) => trouble.abort(error),
  })
  try {
    // Workers of one's own tell when the index fails, and a very large bundle may take them longer.
    return await watched(own, set, { ...options, indexPatienceMs: Number.POSITIVE_INFINITY, bell, trouble: trouble.signal })
  } finally {
    // Whatever still runs here was aborted: it is handed back at once.
    await workers.stop(0)
  }
}

async function watched(
  parts: Omit<ArchiveRunParts, 'queue'> & { readonly queue: Pick<JobQueue, 'add' | 'addMany'> },
  set: SetRow,
  options: Told & { readonly bell?: Bell; readonly trouble?: AbortSignal },
): Promise<SetRow> {
  const { signal, trouble } = options
  const reconciler = keepReconciling(parts, (error) => options.onNote?.(`reconciling failed: ${sentence(error)}`), {
    setId: set.id,
    ...(options.reconcileMs !== undefined && { everyMs: options.reconcileMs }),
  })
  try {
    await reconcile(parts, 0, set.id)
    return await archiveSet(parts, set, options.leaveOut, {
      ...options,
      signal: trouble ? AbortSignal.any([signal, trouble]) : signal,
    })
  } finally {
    await reconciler.stop()
  }
}
