/**
 * The retriever's work. Every open item of every retrieval is looked at, a page of them with one question to its vault: thaws are asked
 * for and watched, and who waits for a bundle sees in the catalog that it is ready. What was asked for with `--detach` is fetched and
 * placed here. One retrieval's trouble never stops the others.
 */
import { openPlacer, type PlaceResult } from '#libs/bundle/place.js'
import type { Catalog, ItemRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { joinRaw, type Raw, shown } from '#libs/os/raw.js'
import { directoriesAt } from './layout.js'
import { type RetrieveParts, retrieveReady } from './retrieve.js'
import { isOpen, sentence, thawItems } from './thaw-items.js'

export interface WatchParts extends RetrieveParts {
  readonly catalog: RetrieveParts['catalog'] & Pick<Catalog, 'retrievals' | 'openItems'>
}

export interface LookOptions {
  readonly signal: AbortSignal
  readonly onItemFailed?: (item: ItemRow, reason: string) => void
  readonly onTrouble?: (of: string, reason: string) => void
}

/** One look at every thaw; says how many items are open, and when the next bundle is expected. */
export async function lookAtThaws(
  parts: WatchParts,
  options: LookOptions,
): Promise<{ open: number; ready: number; nextAt: Date | undefined }> {
  const { catalog } = parts
  const retrievals = new Map<string, RetrievalRow>()
  let open = 0
  let ready = 0
  let nextAt: Date | undefined
  for await (const page of catalog.openItems({ detached: false })) {
    options.signal.throwIfAborted()
    for (const id of new Set(page.map(({ retrievalId }) => retrievalId))) {
      const retrieval = retrievals.has(id) ? undefined : await catalog.retrieval(id)
      if (retrieval) retrievals.set(id, retrieval)
    }
    // Who fetches an item sees for itself when it is cold again. One that was dropped meanwhile has no retrieval any more.
    const items = page.filter(({ state, retrievalId }) => state !== 'fetching' && retrievals.has(retrievalId))
    const thaws = await thawItems(parts, ({ retrievalId }) => retrievals.get(retrievalId) as RetrievalRow, items, {
      ...options,
      patient: true,
      // Nobody may be there any more who wants the copies of another's retrieval: those are not paid for twice.
      asksAgain: ({ id }) => retrievals.get(id)?.detached ?? false,
    })
    open += thaws.length + page.length - items.length
    for (const thaw of thaws) {
      if (thaw.ready) ready++
      else if (thaw.readyAt && (nextAt === undefined || thaw.readyAt < nextAt)) nextAt = thaw.readyAt
    }
  }
  for (const { id, detached } of retrievals.values()) if (!detached) await catalog.finishRetrieval(id)
  return { open, ready, nextAt }
}

export interface FetchOptions extends LookOptions {
  /** Below it each detached retrieval without a target of its own has a directory. */
  readonly restoreDir: Raw
  /**
   * What is permitted in a target that a retrieval names; undefined: nothing is placed there. The configuration decides, never the row.
   */
  readonly permits: (target: Raw) => Promise<{ readonly overwrite: boolean; readonly setuid: boolean } | undefined>
  /** How often each item was read in vain, by its id; kept from one time to the next. */
  readonly tries?: Map<string, number>
  readonly onResults?: (results: readonly PlaceResult[]) => void
  readonly onDone?: (retrieval: RetrievalRow) => void
}

/**
 * Fetches and places what is ready of detached retrievals, and ends those that have nothing open any more. `again`: something was
 * ready and was not to be had.
 */
export async function fetchDetached(parts: WatchParts, options: FetchOptions): Promise<{ again: boolean }> {
  let again = false
  for (const retrieval of await parts.catalog.retrievals({ open: true })) {
    options.signal.throwIfAborted()
    const { items, detached, agreedAt } = retrieval
    const hasWork = items.ready + items.fetching > 0 || items.requested + items.thawing === 0
    if (!detached || agreedAt === undefined || !hasWork) continue
    try {
      if ((await fetchReady(parts, retrieval, options)) === 'again') again = true
    } catch (error) {
      options.signal.throwIfAborted()
      // A target that is full is not looked at, with bytes that cost, every other second.
      if (!isFirnError(error, 'target-failed', 'target-refused')) again = true
      options.onTrouble?.(`retrieval ${retrieval.id}`, sentence(error))
    }
  }
  return { again }
}

async function fetchReady(parts: WatchParts, retrieval: RetrievalRow, options: FetchOptions): Promise<'again' | 'done'> {
  const { catalog } = parts
  const target = retrieval.target === '' ? joinRaw(options.restoreDir, retrieval.id as Raw) : retrieval.target
  const permitted = await options.permits(target)
  if (permitted === undefined) {
    throw new FirnError(
      'target-refused',
      `Nothing is restored into ${shown(target)}: it lies outside FIRN_RESTORE_DIR, and was not given to a command of this home.`,
    )
  }
  const asked = retrieval.request as { overwrite?: unknown; setuid?: unknown }
  const overwrite = asked.overwrite === true && permitted.overwrite
  const setuid = asked.setuid === true && permitted.setuid
  const placer = await openPlacer({ target, retrievalId: retrieval.id, overwrite, setuid })
  try {
    const { tries = new Map() } = options
    const round = await retrieveReady(parts, retrieval, placer, { ...options, watched: true, tries })
    // An item that was ready, and is still open.
    if (round.open > retrieval.items.requested + retrieval.items.thawing) return 'again'
    if (round.open > 0) return 'done'
    await placer.finish((paths) => directoriesAt(catalog, retrieval, paths), options)
    const ended = await catalog.finishRetrieval(retrieval.id)
    if (!isOpen(ended.state)) options.onDone?.(ended)
    return 'done'
  } finally {
    await placer.close()
  }
}

/** A look, and then what it found ready. Says how much is open afterwards. */
export async function watchRetrievals(
  parts: WatchParts,
  options: FetchOptions,
): Promise<{ open: number; nextAt: Date | undefined }> {
  const { nextAt } = await lookAtThaws(parts, options)
  await fetchDetached(parts, options)
  let open = 0
  for (const { items } of await parts.catalog.retrievals({ open: true }))
    open += items.requested + items.thawing + items.ready + items.fetching
  return { open, nextAt }
}
