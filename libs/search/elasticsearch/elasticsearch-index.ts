/**
 * The search index in Elasticsearch, 8 or newer: one document per file. `layout.ts` says what is stored, `search-body.ts` how it is
 * searched.
 *
 * - Nothing is opened before it is needed: a server that is down is an error (`search-away`) of the call that needs it.
 * - Elasticsearch shows what it was given only after a refresh. Whoever searches asks for one first: it costs the writers nothing, and
 *   a millisecond where nothing is new.
 * - Pages go on behind the last key (bundle, seq), which is unique and never changes: so nothing is held on the server between two
 *   pages, neither by a scroll nor by a point in time, however long the consumer takes.
 */
import type { estypes } from '@elastic/elasticsearch'
import { FirnError } from '#libs/errors/errors.js'
import type { Query } from '../query.js'
import type { Hit, IndexedBundle, IndexWriter, SearchIndex } from '../search-index.js'
import { bulk, deleteWrite, indexWrite, type Write } from './bulk.js'
import { openCalls, statusOf, typeOf } from './elasticsearch-calls.js'
import { parseElasticsearchUrl } from './elasticsearch-url.js'
import { openGenerations } from './generations.js'
import { fileDocument, fileId, namesFor, setDocument } from './layout.js'
import { fileCondition, inSet, type SetAnswers } from './search-body.js'

/** The first hits soon, then many at once; 10,000 is `index.max_result_window`. */
const FIRST_HITS = 1_000
const MOST_HITS = 10_000
const IDS_AT_ONCE = 5_000
/** Of the first window, and how many times as wide the next is. */
const FIRST_BUNDLES = 64
const WIDER = 16
const NEWEST_FIRST: estypes.SortCombinations[] = [{ b: 'desc' }, { s: 'asc' }]

export function openElasticsearchIndex(url: string): SearchIndex {
  const place = parseElasticsearchUrl(url)
  const names = namesFor(place)
  const calls = openCalls(place)
  const generations = openGenerations(calls, place, names)
  type Signal = AbortSignal | undefined

  /** Throws nothing where the user may not: the server refreshes by itself, a second later. */
  async function refresh(signal: Signal): Promise<void> {
    try {
      await calls.call(signal, (client, options) => client.indices.refresh({ index: [names.files, names.sets] }, options))
    } catch (error) {
      if (statusOf(error) !== 403) throw missingAs(error)
    }
  }

  function missingAs(error: unknown): unknown {
    if (typeOf(error) !== 'index_not_found_exception') return error
    const sentence = `${place.said} has no index ${names.files}: "firn reindex" makes it from the catalog.`
    return new FirnError('search-away', sentence, { cause: error })
  }

  /** Pages of sort keys. */
  async function* keys(
    index: string,
    query: estypes.QueryDslQueryContainer,
    sort: estypes.SortCombinations[],
    signal: Signal,
    firstPage = MOST_HITS,
  ): AsyncGenerator<estypes.SearchHit[]> {
    let after: estypes.SortResults | undefined
    for (let size = firstPage; ; size = Math.min(size * 4, MOST_HITS)) {
      const request: estypes.SearchRequest = {
        index,
        query,
        sort,
        size,
        ...(after && { search_after: after }),
        track_total_hits: false,
        _source: false,
        stored_fields: '_none_',
        filter_path: 'timed_out,_shards.failed,hits.hits.sort,hits.hits.matched_queries',
      }
      const answer = await calls
        .call(signal, (client, options) => client.search(request, options))
        .catch((error: unknown) => {
          throw missingAs(error)
        })
      if (answer.timed_out || (answer._shards?.failed ?? 0) > 0) {
        throw new FirnError('search-away', `${place.said} could search only a part of the index: try again later.`)
      }
      const hits = answer.hits?.hits ?? []
      if (hits.length > 0) yield hits
      if (hits.length < size) return
      after = hits.at(-1)?.sort
    }
  }

  async function newestBundle(signal: Signal): Promise<number> {
    const request = { index: names.files, size: 0, aggs: { newest: { max: { field: 'b' } } }, filter_path: 'aggregations' }
    const answer = await calls
      .call(signal, (client, options) => client.search<unknown, { newest: { value: number | null } }>(request, options))
      .catch((error: unknown) => {
        throw missingAs(error)
      })
    return answer.aggregations?.newest.value ?? 0
  }

  /**
   * Through the bundles in windows, the newest first: every segment of the index that has bundles of a window reads as many hits as the page
   * has, and a frequent word has enough of them in the newest few.
   */
  async function* backwards(
    condition: estypes.QueryDslQueryContainer,
    newest: number,
    signal: Signal,
  ): AsyncGenerator<estypes.SearchHit[]> {
    let width = FIRST_BUNDLES
    for (let above = newest + 1; above > 0; ) {
      const from = Math.max(0, above - width)
      const within = { bool: { filter: [condition, { range: { b: { gte: from, lt: above } } }] } }
      let found = 0
      for await (const hits of keys(names.files, within, NEWEST_FIRST, signal, FIRST_HITS)) {
        found += hits.length
        yield hits
      }
      above = from
      if (found < FIRST_HITS) width *= WIDER
    }
  }

  async function askSets(query: Query, signal: Signal): Promise<SetAnswers> {
    // By its place among all of them, for of two conditions with one name only one is told.
    const phrases = [...query.all, ...query.none]
    const having = phrases.map((): string[] => [])
    const condition = { bool: { should: phrases.map((phrase, i) => inSet(phrase, String(i))), minimum_should_match: 1 } }
    for await (const hits of keys(names.sets, condition, [{ id: 'asc' }], signal)) {
      for (const { sort, matched_queries: matched = [] } of hits) {
        for (const name of Array.isArray(matched) ? matched : Object.keys(matched)) having[Number(name)]?.push(String(sort?.[0]))
      }
    }
    const have = having.slice(0, query.all.length)
    return { have, excluded: [...new Set(having.slice(query.all.length).flat())] }
  }

  async function add(alias: string, bundles: readonly IndexedBundle[], signal: Signal): Promise<void> {
    const again = new Map<string, ReadonlySet<number>>()
    const seqs = new Map(bundles.map(({ number, files }) => [String(number), files]))
    await bulk(calls, alias, writesOf(bundles), {
      signal,
      onResult: (id, result) => {
        const files = result === 'created' ? undefined : seqs.get(id)
        if (files !== undefined) again.set(id, new Set(files.map(({ seq }) => seq)))
      },
    })
    // Added before, whole or in part: perhaps with other files.
    if (again.size > 0) await forget(alias, [...again.keys()], signal, (b, s) => again.get(String(b))?.has(s) !== true)
  }

  async function forget(
    alias: string,
    numbers: readonly string[],
    signal: Signal,
    which: (bundle: number, seq: number) => boolean = () => true,
  ): Promise<void> {
    await calls.call(signal, (client, options) => client.indices.refresh({ index: alias }, options))
    for (let at = 0; at < numbers.length; at += IDS_AT_ONCE) {
      const condition = { terms: { b: numbers.slice(at, at + IDS_AT_ONCE).map(Number) } }
      for await (const hits of keys(alias, condition, NEWEST_FIRST, signal)) {
        const gone = hits.map(({ sort }) => sort as [number, number]).filter(([b, s]) => which(b, s))
        const deletes = gone.map(([b, s]) => deleteWrite(fileId(b, s)))
        await bulk(calls, alias, deletes, { signal })
      }
    }
  }

  /** The sets are not among what a rebuild replaces: each is one document, written again by its own id. */
  const writer = (alias: string): IndexWriter => ({
    putSet: (set, { signal } = {}) =>
      generations.writing(signal, () => bulk(calls, names.sets, [indexWrite(set.id, setDocument(set))], { signal })),
    addBundle: (bundle, { signal } = {}) => generations.writing(signal, () => add(alias, [bundle], signal)),
    addBundles: (bundles, { signal } = {}) => generations.writing(signal, () => add(alias, bundles, signal)),
  })

  return {
    ...writer(names.files),

    removeBundles: (numbers, { signal } = {}) =>
      generations.writing(signal, async () => {
        const ids = numbers.map(String)
        await forget(names.files, ids, signal)
        await bulk(calls, names.files, ids.map(deleteWrite), { signal })
      }),

    async *search(query, { signal, setIds } = {}) {
      signal?.throwIfAborted()
      await generations.check(signal)
      await refresh(signal)
      const [sets, newest] = await Promise.all([askSets(query, signal), newestBundle(signal)])
      const condition = fileCondition(query, sets, setIds)
      for await (const hits of backwards(condition, newest, signal)) yield hits.map(hitOf)
    },

    lacking: (numbers, { signal } = {}) =>
      generations.writing(signal, async () => {
        const lacking: bigint[] = []
        for (let at = 0; at < numbers.length; at += IDS_AT_ONCE) {
          const asked = numbers.slice(at, at + IDS_AT_ONCE)
          const answer = await calls.call(signal, (client, options) =>
            client.mget({ index: names.files, ids: asked.map(String), _source: false, filter_path: 'docs.found' }, options),
          )
          const docs = (answer.docs ?? []) as { found?: boolean }[]
          for (const [i, number] of asked.entries()) if (docs[i]?.found !== true) lacking.push(number)
        }
        return lacking
      }),

    async rebuild(fill, { signal } = {}) {
      signal?.throwIfAborted()
      const next = await generations.begin(signal)
      try {
        await fill(writer(names.next))
        await next.takePlace(signal)
      } catch (error) {
        await next.drop().catch(() => {}) // else the next rebuild does
        throw error
      }
    },

    async clear({ signal } = {}) {
      signal?.throwIfAborted()
      await generations.dropAll(signal)
      await generations.writing(signal, async () => {})
    },

    async settle({ signal } = {}) {
      signal?.throwIfAborted()
      await refresh(signal)
    },

    close: () => calls.close(),
  }
}

/** A bundle comes before its files: where it was not there, there are no files of it either. */
function* writesOf(bundles: readonly IndexedBundle[]): Generator<Write> {
  for (const { number, setId, files } of bundles) {
    yield indexWrite(String(number), {})
    for (const { seq, path } of files) yield indexWrite(fileId(number, seq), fileDocument(setId, number, seq, path))
  }
}

function hitOf({ sort }: estypes.SearchHit): Hit {
  const [bundle, seq] = sort as [number, number]
  return { bundleNumber: BigInt(bundle), seq }
}
