/** One stored bundle into the search index. The index is a cache: nothing waits for it, and doing it twice changes nothing. */
import type { Catalog } from '#libs/catalog/catalog.js'
import type { SearchIndex } from '#libs/search/search-index.js'

export interface IndexParts {
  readonly catalog: Pick<Catalog, 'bundle' | 'set' | 'indexableFiles' | 'markIndexed'>
  readonly index: Pick<SearchIndex, 'putSet' | 'addBundle'>
}

export async function indexBundle(parts: IndexParts, bundleId: string, options: { signal?: AbortSignal } = {}): Promise<void> {
  const { catalog, index } = parts
  const bundle = await catalog.bundle(bundleId)
  if (bundle === undefined || bundle.indexed || bundle.archivedAt === undefined) return
  const set = await catalog.set(bundle.setId)
  if (set === undefined) return
  await index.putSet({ id: set.id, description: set.description, tags: set.tags }, options)
  const files = await catalog.indexableFiles(bundle.number)
  await index.addBundle({ number: bundle.number, setId: bundle.setId, files }, options)
  await catalog.markIndexed([bundle.number])
}

/** Indexes here and now whatever is stored and not indexed; returns how many bundles. */
export async function catchUpIndex(
  parts: IndexParts & { catalog: Pick<Catalog, 'unindexedBundles'> },
  options: { signal?: AbortSignal; onBundle?: () => void } = {},
): Promise<number> {
  let count = 0
  for (;;) {
    const ids = await parts.catalog.unindexedBundles(100)
    if (ids.length === 0) return count
    for (const id of ids) {
      options.signal?.throwIfAborted()
      await indexBundle(parts, id, options)
      options.onBundle?.()
      count++
    }
  }
}
