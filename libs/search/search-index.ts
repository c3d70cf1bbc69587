/**
 * The port to the search index: a cache of the catalog that may be dropped and built again. It says which files *may* match; whoever
 * asks looks the hits up in the catalog, which is the truth.
 *
 * What an implementation must be:
 * - Idempotent: adding a bundle again changes nothing.
 * - Complete: a file of an added bundle that matches is always among the hits. Exact: a file that does not match never is.
 * - Words are split by `words.ts` alone, so every implementation gives the same hits for the same query.
 * - Away sometimes: where it is a server of its own, its calls throw `search-away` while that cannot be reached or lacks the index.
 */
import type { Raw } from '#libs/os/raw.js'
import type { Query } from './query.js'

export interface IndexWriter {
  /** Tags and description of a set, found by every file of it. Called before its bundles are added, and again when they change. */
  putSet(set: IndexedSet, options?: CallOptions): Promise<void>

  /** The files (not the directories) of one stored bundle. */
  addBundle(bundle: IndexedBundle, options?: CallOptions): Promise<void>

  /**
   * The same for many at once: faster where thousands are to be added. All of them are held in memory. Where it throws, some may have
   * been added: adding them again mends it.
   */
  addBundles(bundles: readonly IndexedBundle[], options?: CallOptions): Promise<void>
}

/** What was added is found by every search that begins afterwards, of any process. */
export interface SearchIndex extends IndexWriter {
  /** Forgets bundles (found missing, or to be indexed anew). */
  removeBundles(numbers: readonly bigint[], options?: CallOptions): Promise<void>

  /** Pages of hits, newest bundles first; a consumer that stops early ends the search. */
  search(query: Query, options?: CallOptions & { setIds?: readonly string[] }): AsyncIterable<readonly Hit[]>

  /**
   * Makes the index anew while it is in use: `fill` adds everything to a new one, which takes the place of the old one at once when
   * `fill` is over. Until then, and for good where `fill` throws, searches are answered by the old one. What others add meanwhile may be
   * in the old one alone: whoever rebuilds asks for what is `lacking` afterwards. Of two rebuilds at a time, one throws.
   */
  rebuild(fill: (next: IndexWriter) => Promise<void>, options?: CallOptions): Promise<void>

  /** Which of these bundles it does not have; one without files may be among them though it was added. */
  lacking(numbers: readonly bigint[], options?: CallOptions): Promise<bigint[]>

  /** Forgets everything. */
  clear(options?: CallOptions): Promise<void>

  /** Makes what was added fast to search (a hint; after bulk loads). */
  settle(options?: CallOptions): Promise<void>

  close(): Promise<void>
}

export interface CallOptions {
  readonly signal?: AbortSignal
}

export interface IndexedSet {
  readonly id: string
  readonly description: string
  readonly tags: readonly string[]
}

export interface IndexedBundle {
  readonly number: bigint
  readonly setId: string
  readonly files: readonly { readonly seq: number; readonly path: Raw }[]
}

/** The key of a file row in the catalog. */
export interface Hit {
  readonly bundleNumber: bigint
  readonly seq: number
}
