/**
 * The retriever's work: every open retrieval is looked at; thaws are asked for and watched, and what was asked for with `--detach` is
 * fetched and placed. One retrieval's trouble never stops the others.
 */

import { openPlacer } from '#libs/bundle/place.js'
import type { Catalog, ItemRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { joinRaw, type Raw } from '#libs/os/raw.js'
import { directoriesAt } from './layout.js'
import { type RetrieveParts, retrieveReady } from './retrieve.js'
import { isOpen, sentence, thawItems } from './thaw-items.js'

export interface WatchParts extends RetrieveParts {
  readonly catalog: RetrieveParts['catalog'] & Pick<Catalog, 'retrievals'>
}

export interface WatchOptions {
  readonly signal: AbortSignal
  /** Below it each detached retrieval without a target of its own has a directory. */
  readonly restoreDir: Raw
  readonly onDone?: (retrieval: RetrievalRow) => void
  readonly onItemFailed?: (item: ItemRow, reason: string) => void
  readonly onTrouble?: (retrieval: RetrievalRow, reason: string) => void
}

/** One look at everything; says when the next bundle is expected, if any retrieval is open. */
export async function watchRetrievals(
  parts: WatchParts,
  options: WatchOptions,
): Promise<{ open: number; nextAt: Date | undefined }> {
  let open = 0
  let nextAt: Date | undefined
  for (const retrieval of await parts.catalog.retrievals({ open: true })) {
    options.signal.throwIfAborted()
    try {
      const round = retrieval.detached ? await fetchReady(parts, retrieval, options) : await onlyThaw(parts, retrieval, options)
      open += round.open
      if (round.nextAt && (nextAt === undefined || round.nextAt < nextAt)) nextAt = round.nextAt
    } catch (error) {
      options.signal.throwIfAborted()
      open++
      options.onTrouble?.(retrieval, sentence(error))
    }
  }
  return { open, nextAt }
}

async function fetchReady(parts: WatchParts, retrieval: RetrievalRow, options: WatchOptions) {
  const { catalog } = parts
  const target = retrieval.target === '' ? joinRaw(options.restoreDir, retrieval.id as Raw) : retrieval.target
  const { overwrite, setuid } = retrieval.request as { overwrite: boolean; setuid: boolean }
  const placer = await openPlacer({ target, retrievalId: retrieval.id, overwrite, setuid })
  try {
    const round = await retrieveReady(parts, retrieval, placer, options)
    if (round.open === 0) {
      await placer.finish((paths) => directoriesAt(catalog, retrieval, paths), options)
      options.onDone?.(await catalog.finishRetrieval(retrieval.id))
    }
    return round
  } finally {
    await placer.close()
  }
}

/** Who asked places the files; the retriever only keeps the thaws going. */
async function onlyThaw(parts: WatchParts, retrieval: RetrievalRow, options: WatchOptions) {
  let open = 0
  let nextAt: Date | undefined
  for await (const page of parts.catalog.items(retrieval.id)) {
    const items = page.filter((item) => isOpen(item.state) && item.state !== 'fetching')
    for (const { readyAt } of await thawItems(parts, retrieval, items, options)) {
      open++
      if (readyAt && (nextAt === undefined || readyAt < nextAt)) nextAt = readyAt
    }
  }
  return { open, nextAt }
}
