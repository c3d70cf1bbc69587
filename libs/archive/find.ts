/**
 * Finding: a query goes to the index, whose hits the catalog judges; everything else the catalog answers alone. And so it does where the
 * index is away: it knows every path, and comparing them all with the query is slow but right.
 */
import type { Catalog, FileRow, LocatedRow, NeededBundle, Selection, SetRow } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import { matchesQuery, parseQuery, type Query } from '#libs/search/query.js'
import type { SearchIndex } from '#libs/search/search-index.js'
import { catchUpIndex, type IndexParts } from './index-bundle.js'

/** `R`: what is read of each row. */
export interface FindParts<R extends LocatedRow = FileRow> {
  readonly catalog: Pick<Catalog, 'set'> & {
    select(selection: Selection): AsyncIterable<readonly R[]>
    selectHits(...call: Parameters<Catalog['selectHits']>): AsyncIterable<readonly R[]>
  }
  readonly index: Pick<SearchIndex, 'search'>
  /** The index is away, and why: the catalog is asked instead. */
  readonly onIndexAway?: (error: Error) => void
}

export interface LocateParts extends Omit<FindParts, 'catalog'> {
  readonly catalog: Pick<Catalog, 'locate' | 'locateHits' | 'set'>
}

export interface FindRequest {
  /** As a person typed it. */
  readonly query?: string
  readonly selection: Selection
}

/** Pages of matching rows; of each path the newest that matches, unless all versions are asked for. */
export function findFiles<R extends LocatedRow>(
  parts: FindParts<R>,
  request: FindRequest,
  options: { signal?: AbortSignal } = {},
): AsyncIterable<readonly R[]> {
  const { query: text, selection } = request
  if (text === undefined) return parts.catalog.select(selection)
  return findByQuery(parts, parseQuery(text), selection, options)
}

/** The same rows, with no more of each than where it lies: for whoever fetches them, or counts what they need. */
export function locateFiles(
  parts: LocateParts,
  request: FindRequest,
  options: { signal?: AbortSignal } = {},
): AsyncIterable<readonly LocatedRow[]> {
  const { locate: select, locateHits: selectHits, set } = parts.catalog
  return findFiles({ ...parts, catalog: { select, selectHits, set } }, request, options)
}

async function* findByQuery<R extends LocatedRow>(
  parts: FindParts<R>,
  query: Query,
  selection: Selection,
  options: { signal?: AbortSignal },
): AsyncGenerator<readonly R[]> {
  const hits = parts.index.search(query, { ...options, ...(selection.setIds && { setIds: selection.setIds }) })
  const found = parts.catalog.selectHits(hits, selection, ({ path, set }) =>
    matchesQuery(query, { path, description: set.description, tags: set.tags }),
  )
  let begun = false
  try {
    for await (const page of found) {
      begun = true
      yield page
    }
    return
  } catch (error) {
    // What was given out already cannot be taken back, nor told from what the catalog would give: the same request again finds it all.
    if (begun || !isFirnError(error, 'search-away')) throw error
    parts.onIndexAway?.(error)
  }
  yield* compareAll(parts.catalog, query, selection, options)
}

/**
 * Every file of the selection, compared with the query. All versions, for an older one may match where the newest does not; directories, which
 * the index does not have either, only tell that a path is no file any more.
 */
async function* compareAll<R extends LocatedRow>(
  catalog: Pick<FindParts<R>['catalog'], 'select' | 'set'>,
  query: Query,
  selection: Selection,
  { signal }: { signal?: AbortSignal },
): AsyncGenerator<readonly R[]> {
  const sets = new Map<string, SetRow | undefined>()
  const isTree = selection.asOf !== undefined && !selection.gone
  for await (const page of catalog.select({ ...selection, allVersions: true, directories: true })) {
    signal?.throwIfAborted()
    for (const id of new Set(page.map(({ setId }) => setId))) if (!sets.has(id)) sets.set(id, await catalog.set(id))
    const isMatch = ({ type, path, setId }: R) => {
      const set = sets.get(setId)
      if (type === 'directory' || set === undefined) return false
      return matchesQuery(query, { path, description: set.description, tags: set.tags })
    }
    // All versions of a path are on one page, the newest first.
    const found: R[] = []
    for (let at = 0, end = 0; at < page.length; at = end) {
      const first = page[at] as R
      while (end < page.length && page[end]?.path === first.path && page[end]?.host === first.host) end++
      if (isTree && !selection.allVersions && first.type === 'directory') continue // whatever it was before
      const matching = page.slice(at, end).filter(isMatch)
      found.push(...(selection.allVersions ? matching : matching.slice(0, 1)))
    }
    if (found.length > 0) yield found
  }
}

/**
 * Makes up for what a crash, or an index that was away, left between catalog and index; returns the index to search in. Where that cannot
 * be done it says so to every search: an index that lacks bundles would not find what the catalog holds.
 */
export async function caughtUpIndex(
  parts: IndexParts & { catalog: Pick<Catalog, 'unindexedBundles'>; index: Pick<SearchIndex, 'search'> },
  options: { signal?: AbortSignal } = {},
): Promise<Pick<SearchIndex, 'search'>> {
  try {
    await catchUpIndex(parts, options)
    return parts.index
  } catch (error) {
    if (!isFirnError(error, 'search-away')) throw error
    const away = Promise.reject(error)
    away.catch(() => {}) // thrown to whoever searches
    return {
      async *search() {
        yield await away
      },
    }
  }
}

/** The archives that a request needs, one by one. */
export async function* neededBundles(
  parts: LocateParts & { catalog: Pick<Catalog, 'neededBundles'> },
  request: FindRequest,
  options: { signal?: AbortSignal } = {},
): AsyncGenerator<NeededBundle> {
  for await (const page of parts.catalog.neededBundles(locateFiles(parts, request, options))) yield* page
}
