/** Finding: a query goes to the index, whose hits the catalog judges; everything else the catalog answers alone. */
import type { Catalog, FileRow, NeededBundle, Selection } from '#libs/catalog/catalog.js'
import { matchesQuery, parseQuery } from '#libs/search/query.js'
import type { SearchIndex } from '#libs/search/search-index.js'

export interface FindParts {
  readonly catalog: Pick<Catalog, 'select' | 'selectHits'>
  readonly index: Pick<SearchIndex, 'search'>
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
  const query = parseQuery(text)
  const hits = parts.index.search(query, { ...options, ...(selection.setIds && { setIds: selection.setIds }) })
  return parts.catalog.selectHits(hits, selection, ({ path, set }) =>
    matchesQuery(query, { path, description: set.description, tags: set.tags }),
  )
}

/** The archives that a request needs, one by one. */
export async function* neededBundles(
  parts: FindParts & { catalog: Pick<Catalog, 'neededBundles'> },
  request: FindRequest,
  options: { signal?: AbortSignal } = {},
): AsyncGenerator<NeededBundle> {
  for await (const page of parts.catalog.neededBundles(findFiles(parts, request, options))) yield* page
}
