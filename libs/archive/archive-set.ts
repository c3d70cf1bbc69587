/** A set from its first entry to its last searchable bundle: crawl, then wait for the workers, then say how it ended. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { AwaitedBundle, Catalog, SetRow } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { type Bell, createBell } from '#libs/os/bell.js'
import type { Raw } from '#libs/os/raw.js'
import { type CrawlEvents, type CrawlParts, crawl } from './crawl.js'
import { keepLease } from './keep-lease.js'
import { openToWrite } from './own-vault.js'
import { canWait, type RecordParts, recordSet } from './record-set.js'
import { type Looker, sightOf } from './root-sight.js'

/** How often the catalog is asked how far a set is, where nobody rings before. */
const POLL_MS = 200

/** So long may everything be stored and nothing more become searchable: then the index is away, or those who would write it. */
const INDEX_PATIENCE_MS = 30_000

export interface ArchiveSetParts extends Omit<CrawlParts, 'catalog'> {
  readonly catalog: CrawlParts['catalog'] &
    RecordParts['catalog'] &
    Pick<
      Catalog,
      'catalogId' | 'knownVault' | 'set' | 'finishSet' | 'pendingBundles' | 'awaitedBundles' | 'endAwaiting' | 'reopenCrawl'
    >
}

/**
 * Goes on with a set from where it stands until every bundle is stored, or failed, and indexed. The caller holds the set's lease.
 * An abort leaves the set as it is: the next run goes on.
 */
export async function archiveSet(
  parts: ArchiveSetParts,
  set: SetRow,
  leaveOut: readonly Raw[],
  options: CrawlEvents & {
    signal?: AbortSignal
    onProgress?: (set: SetRow) => void
    /** Rung when it may be over. */
    bell?: Bell
    /** Return once everything is planned. */
    detach?: boolean
    /** The index cannot be written at the moment: it is a cache, and whoever searches next catches it up. */
    indexFails?: () => boolean
    /** Default 30 s. */
    indexPatienceMs?: number
    /** The set is over, and so many of its bundles are not searchable yet. */
    onUnsearchable?: (bundles: number) => void
    /** Everything of its own is stored; files that these sets archive are waited for. */
    onAwaiting?: (setIds: readonly string[], files: number) => void
    /** See `ArchiveRunOptions`. */
    awaitPatienceMs?: number
  } = {},
): Promise<SetRow> {
  const { catalog } = parts
  const bell = options.bell ?? createBell()
  await using lease = keepLease(() => catalog.leaseSet(set.id, parts.owner, parts.isGone), options.signal)
  const patience = patienceOf(options.indexPatienceMs ?? INDEX_PATIENCE_MS)
  const over = new AbortController()
  const signal = AbortSignal.any([lease.signal, over.signal])
  let crawled = set.state !== 'crawling'
  const beginCrawl = () => {
    const crawl = crawlSet()
      .then(() => recordNow(parts, set.id, signal))
      .then(() => {
        crawled = true
      })
    crawl.catch(() => {}) // thrown by the loop below
    return crawl
  }
  const crawlSet = () => crawl(parts, set, leaveOut, { ...options, signal })
  let crawling = crawled ? Promise.resolve() : beginCrawl()
  const awaiting = awaitingOf(parts, set.id, options)
  try {
    for (;;) {
      const done = crawled
      const pending = await catalog.pendingBundles(set.id)
      if (pending.cancelled || (done && options.detach)) break
      if (done && pending.live === 0) {
        const others = await awaiting.look()
        if (others === 'lost') {
          await catalog.reopenCrawl(set.id, parts.owner)
          crawled = false
          crawling = beginCrawl()
          continue
        }
        if (others === 'none') {
          if (pending.unindexed === 0) break
          if (options.indexFails?.() || patience.isOver(pending.unindexed)) {
            options.onUnsearchable?.(pending.unindexed)
            break
          }
        }
      }
      const row = options.onProgress && (await catalog.set(set.id))
      if (row) options.onProgress?.(row)
      await (crawled ? bell.wait(POLL_MS, signal) : Promise.race([crawling, sleep(POLL_MS)]))
      signal.throwIfAborted()
    }
    const ended = await catalog.finishSet(set.id)
    // The lease ends with the set: it says nothing any more.
    if (ended.state !== ended.recorded && !options.signal?.aborted) await recordNow(parts, set.id, options.signal)
    return ended
  } catch (error) {
    // Its crawl, too, finds that the set is nobody's any more.
    const now = isFirnError(error, 'lease-lost') ? await catalog.set(set.id) : undefined
    if (now?.state !== 'cancelled') throw error
    return now
  } finally {
    // Whatever ended the loop ends the crawl too: nobody closes the catalog, or takes the set, while it still plans.
    over.abort()
    await crawling.catch(() => {})
    await catalog.releaseSet(set.id, parts.owner).catch(() => {}) // else it ends by itself
  }
}

/** What the vault does not take now is written by whoever comes next. */
async function recordNow(parts: ArchiveSetParts, setId: string, signal: AbortSignal | undefined): Promise<void> {
  const set = await parts.catalog.set(setId)
  if (set === undefined) return
  try {
    await recordSet(parts, await openToWrite(parts, set.vaultId, { signal }), set, { signal })
  } catch (error) {
    signal?.throwIfAborted()
    if (!canWait(error)) throw error
  }
}

/** So long may bundles that are waited for stay as they are, where no worker is known that would store them. */
const AWAIT_PATIENCE_MS = 60_000

/**
 * The bundles of other sets that hold what a crawl found. `none`: there are none, or all of them are stored. `lost`: one of them will not
 * be stored, or not all of it: what it should have held is found again by another crawl. Throws `try-again` where nobody stores them.
 */
function awaitingOf(
  { catalog, isGone }: ArchiveSetParts,
  setId: string,
  options: {
    onAwaiting?: ((setIds: readonly string[], files: number) => void) | undefined
    awaitPatienceMs?: number | undefined
  },
): { look(): Promise<'none' | 'live' | 'lost'> } {
  const patience = patienceOf(options.awaitPatienceMs ?? AWAIT_PATIENCE_MS)
  let told = false
  return {
    async look() {
      const bundles = await catalog.awaitedBundles(setId)
      if (bundles.length === 0) return 'none'
      const live = bundles.filter(({ state }) => state === 'planned' || state === 'packing')
      const served = (await catalog.workers(isGone)).some(({ roles }) => roles.includes('worker'))
      const isLost = ({ state, troubled, holders }: AwaitedBundle) =>
        state === 'planned' || state === 'packing' ? !served && holders.every(isGone) : state !== 'stored' || troubled
      if (bundles.some(isLost)) return 'lost'
      if (live.length === 0) {
        await catalog.endAwaiting(setId)
        return 'none'
      }
      const sets = [...new Set(live.map((bundle) => bundle.setId))]
      if (!told) options.onAwaiting?.(sets, (await catalog.set(setId))?.counts.waiting ?? 0)
      told = true
      if (!served && patience.isOver(live.length)) {
        throw new FirnError(
          'try-again',
          `Files are in ${live.length} bundles that set ${sets.join(' and ')} planned, and nobody stores them: start a worker, or run the same command again later.`,
        )
      }
      return 'live'
    },
  }
}

/** Over when a number has not sunk for so long. */
function patienceOf(ms: number): { isOver(left: number): boolean } {
  let least = Number.POSITIVE_INFINITY
  let since = 0
  return {
    isOver(left) {
      const now = performance.now()
      if (left < least) {
        least = left
        since = now
      }
      return now - since >= ms
    },
  }
}

/**
 * Sets of this host that nobody works at and that are not over. Those that `isWanted` the caller gets, one by one and with their lease,
 * unless their tree cannot be seen from here: they are left to whoever sees it.
 */
export async function* takeInterrupted(
  parts: Looker & {
    catalog: Pick<Catalog, 'interruptedSets' | 'leaseSet' | 'set'>
    owner: string
    isGone: (owner: string) => boolean
  },
  host: string,
  isWanted: (set: SetRow) => boolean,
  events: InterruptedEvents = {},
): AsyncGenerator<SetRow> {
  for (const interrupted of await parts.catalog.interruptedSets(host, parts.isGone)) {
    if (!isWanted(interrupted)) {
      events.onInterrupted?.(interrupted)
      continue
    }
    const sight = sightOf(interrupted, { ...parts, host })
    if (sight.is !== 'seen' && !parts.alone) {
      events.onUnseen?.(interrupted, sight.reason)
      continue
    }
    const { id } = interrupted
    if (!(await parts.catalog.leaseSet(id, parts.owner, parts.isGone))) continue
    const set = await parts.catalog.set(id)
    if (set) yield set
  }
}

export interface InterruptedEvents {
  /** A set that is not wanted here. */
  readonly onInterrupted?: (set: SetRow) => void
  readonly onUnseen?: (set: SetRow, reason: string) => void
}
