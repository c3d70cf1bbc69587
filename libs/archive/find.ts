/**
 * Finding: a query goes to the index, whose hits the catalog judges; everything else the catalog answers alone. And so it does where the
 * index is away: it knows every path, and comparing them all with the query is slow but right.
 */
import type { Catalog, FileRow, NeededBundle, Selection, SetRow } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import { matchesQuery, parseQuery, type Query } from '#libs/search/query.js'
import type { SearchIndex } from '#libs/search/search-index.js'
import { catchUpIndex, type IndexParts } from './index-bundle.js'

export interface FindParts {
  readonly catalog: Pick<Catalog, 'select' | 'selectHits' | 'set'>
  readonly index: Pick<SearchIndex, 'search'>
  /** The index is away, and why: the catalog is asked instead. */
  readonly onIndexAway?: (error: Error) => void
}

export interface FindRequest {
  /** As a person typed it. */
  readonly query?: string
  readonly selection: Selection
}

/** Pages of matching rows; of each path the newest that matches, unless all versions are asked for. */
export function findFiles(
  parts: FindParts,
  request: FindRequest,
  options: { signal?: AbortSignal } = {},
): AsyncIterable<readonly FileRow[]> {
  const { query: text, selection } = request
  if (text === undefined) return parts.catalog.select(selection)
  return findByQuery(parts, parseQuery(text), selection, options)
}

async function* findByQuery(
  parts: FindParts,
  query: Query,
  selection: Selection,
  options: { signal?: AbortSignal },
): AsyncGenerator<readonly FileRow[]> {
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
 * Every file of the selection, compared with the query. All versions, for an older one may match where the newest does not; and no
 * directories, which the index does not have either.
 */
async function* compareAll(
  catalog: Pick<Catalog, 'select' | 'set'>,
  query: Query,
  selection: Selection,
  { signal }: { signal?: AbortSignal },
): AsyncGenerator<readonly FileRow[]> {
  const sets = new Map<string, SetRow | undefined>()
  for await (const page of catalog.select({ ...selection, allVersions: true, directories: false })) {
    signal?.throwIfAborted()
    for (const id of new Set(page.map(({ setId }) => setId))) if (!sets.has(id)) sets.set(id, await catalog.set(id))
    const matching = page.filter(({ path, setId }) => {
      const set = sets.get(setId)
      return set !== undefined && matchesQuery(query, { path, description: set.description, tags: set.tags })
    })
    // All versions of a path are on one page, the newest first.
    const newest = (row: FileRow, i: number) => {
      const before = matching[i - 1]
      return before === undefined || before.path !== row.path || before.host !== row.host
    }
    const found = selection.allVersions ? matching : matching.filter(newest)
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
  parts: FindParts & { catalog: Pick<Catalog, 'neededBundles'> },
  request: FindRequest,
  options: { signal?: AbortSignal } = {},
): AsyncGenerator<NeededBundle> {
  for await (const page of parts.catalog.neededBundles(findFiles(parts, request, options))) yield* page
}
