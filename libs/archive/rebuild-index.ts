/**
 * The search index again, from the catalog, while others go on archiving and searching.
 *
 * Every bundle goes into a new index, which then takes the old one's place. What others indexed meanwhile may have gone into the old one;
 * so afterwards the new one is asked which bundles it lacks. A bundle is stored before it is indexed: whoever wrote into the old index
 * wrote of a bundle that this second look finds, whatever the catalog says of its being indexed.
 */
import type { BundleRow, Catalog, SetRow } from '#libs/catalog/catalog.js'
import type { IndexedBundle, IndexWriter, SearchIndex } from '#libs/search/search-index.js'

export interface RebuildIndexParts {
  readonly catalog: Pick<Catalog, 'vaults' | 'storedBundles' | 'set' | 'indexableFiles' | 'markIndexed'>
  readonly index: Pick<SearchIndex, keyof IndexWriter | 'rebuild' | 'lacking' | 'settle'>
}

export interface RebuildIndexOptions {
  readonly signal?: AbortSignal
  /** So many bundles more are in the index. */
  readonly onBundles?: (more: number) => void
}

/** Files that are added together. */
const FILES_AT_ONCE = 20_000

/** Returns how many bundles the index was given. */
export async function rebuildIndex({ catalog, index }: RebuildIndexParts, options: RebuildIndexOptions = {}): Promise<number> {
  const { signal } = options
  const call = signal ? { signal } : {}
  let count = 0
  await index.rebuild(async (next) => {
    const add = adder(catalog, next, options)
    for await (const page of everyBundle(catalog)) count += await add(page)
  }, call)
  const add = adder(catalog, index, options)
  for await (const page of everyBundle(catalog)) {
    signal?.throwIfAborted()
    const lacking = new Set(
      await index.lacking(
        page.map(({ number }) => number),
        call,
      ),
    )
    const late = page.filter(({ number, files }) => files > 0 && lacking.has(number))
    if (late.length > 0) count += await add(late)
    // What was neither indexed nor lacking was added by this rebuild, or by somebody who will say so himself.
    await catalog.markIndexed(page.filter(({ state, indexed }) => state === 'stored' && !indexed).map(({ number }) => number))
  }
  await index.settle(call)
  return count
}

async function* everyBundle(catalog: Pick<Catalog, 'vaults' | 'storedBundles'>): AsyncGenerator<readonly BundleRow[]> {
  for (const { id } of await catalog.vaults()) yield* catalog.storedBundles(id)
}

/** Adds pages of bundles, with their sets before them. */
function adder(
  catalog: Pick<Catalog, 'set' | 'indexableFiles'>,
  to: IndexWriter,
  { signal, onBundles }: RebuildIndexOptions,
): (page: readonly BundleRow[]) => Promise<number> {
  const call = signal ? { signal } : {}
  let last: SetRow | undefined
  return async (page) => {
    let batch: IndexedBundle[] = []
    let files = 0
    const flush = async () => {
      if (batch.length === 0) return
      await to.addBundles(batch, call)
      onBundles?.(batch.length)
      batch = []
      files = 0
    }
    for (const { number, setId } of page) {
      signal?.throwIfAborted()
      // Bundles come by key, so those of a set follow each other.
      if (last?.id !== setId) {
        last = await catalog.set(setId)
        if (last !== undefined) await to.putSet({ id: last.id, description: last.description, tags: last.tags }, call)
      }
      const own = await catalog.indexableFiles(number)
      batch.push({ number, setId, files: own })
      files += own.length
      if (files >= FILES_AT_ONCE) await flush()
    }
    await flush()
    return page.length
  }
}
