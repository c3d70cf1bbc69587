/**
 * The search index in Postgres: runs of neighbouring files under a GIN index of word hashes, and every hit compared with its text.
 * `run.ts` says what is stored, `find-runs.ts` how it is searched, `schema.ts` where.
 */
import { oneAhead } from '#libs/os/one-ahead.js'
import type { IndexedBundle, IndexWriter, SearchIndex } from '../search-index.js'
import { copyRuns } from './copy-runs.js'
import { findRuns } from './find-runs.js'
import { openPool } from './pool.js'
import { recheckFor } from './recheck.js'
import { bundleOf, firstRunOf, runsOf } from './run.js'
import { makeNextRuns, makeTables, replaceRuns } from './schema.js'
import { askSets, putSet } from './sets.js'

export interface PostgresIndexOptions {
  /** `postgresql://...`; a socket directory as `?host=`, percent-encoded. */
  readonly url: string
  /** Connections at most. Default 4. */
  readonly poolSize?: number
}

/** Runs that are read and compared at once: few for the first hits, then more. */
const FIRST_RUNS = 16
const MOST_RUNS = 128

export async function openPostgresIndex({ url, poolSize = 4 }: PostgresIndexOptions): Promise<SearchIndex> {
  const pool = openPool(url, poolSize)
  try {
    await makeTables(pool)
  } catch (error) {
    await pool.close()
    throw error
  }

  async function addBundles(table: string, bundles: readonly IndexedBundle[], signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    const runs = bundles.flatMap(runsOf)
    const firsts = bundles.map(({ number }) => firstRunOf(number))
    await pool.transaction(async (client) => {
      await client.query(forgetFrom(table), [firsts, bundles.map(({ number }) => firstRunOf(number + 1n))])
      await copyRuns(client, table, runs)
      signal?.throwIfAborted()
    })
  }

  /** The sets are not among what a rebuild replaces: each is one row, written again by its own id. */
  const writer = (table: string): IndexWriter => ({
    async putSet(set, { signal } = {}) {
      signal?.throwIfAborted()
      await putSet(pool, set)
    },
    addBundle: (bundle, { signal } = {}) => addBundles(table, [bundle], signal),
    addBundles: (bundles, { signal } = {}) => addBundles(table, bundles, signal),
  })

  return {
    ...writer(RUNS),
    async removeBundles(numbers, { signal } = {}) {
      signal?.throwIfAborted()
      await pool.texts(forgetFrom(RUNS), [numbers.map(firstRunOf), numbers.map((number) => firstRunOf(number + 1n))])
    },
    async *search(query, options = {}) {
      options.signal?.throwIfAborted()
      const sets = await askSets(pool, query)
      const recheck = recheckFor(query, sets)
      const read = (ids: readonly bigint[]) => {
        options.signal?.throwIfAborted()
        return pool.texts(TEXTS, [ids])
      }
      for await (const rows of oneAhead(inPages(findRuns(pool, query, sets, options)), read)) {
        options.signal?.throwIfAborted()
        const hits = (rows as [string, string, string][]).flatMap(([id, setId, files]) => {
          const bundleNumber = bundleOf(BigInt(id))
          return recheck(setId, files).map((seq) => ({ bundleNumber, seq }))
        })
        if (hits.length > 0) yield hits
      }
    },
    async rebuild(fill, { signal } = {}) {
      signal?.throwIfAborted()
      const next = await makeNextRuns(pool)
      try {
        await fill(writer(next))
        signal?.throwIfAborted()
        await replaceRuns(pool, next)
      } catch (error) {
        await pool.texts(`DROP TABLE IF EXISTS ${next}`).catch(() => {}) // else the next rebuild does
        throw error
      }
    },
    async lacking(numbers, { signal } = {}) {
      signal?.throwIfAborted()
      const rows = await pool.texts(
        `SELECT number FROM unnest($1::int8[], $2::int8[], $3::int8[]) AS bundle (number, first, after)
         WHERE NOT EXISTS (SELECT FROM firn_search.run WHERE run.id >= bundle.first AND run.id < bundle.after)`,
        [numbers, numbers.map(firstRunOf), numbers.map((number) => firstRunOf(number + 1n))],
      )
      return rows.map(([number]) => BigInt(number as string))
    },
    async clear({ signal } = {}) {
      signal?.throwIfAborted()
      await pool.texts('TRUNCATE firn_search.run, firn_search."set"')
    },
    async settle({ signal } = {}) {
      signal?.throwIfAborted()
      await pool.texts("SELECT gin_clean_pending_list('firn_search.run_w')")
      await pool.texts(`ANALYZE ${RUNS}`)
    },
    close: () => pool.close(),
  }
}

const RUNS = 'firn_search.run'

const TEXTS = `SELECT id, set_id, files FROM ${RUNS} WHERE id = ANY($1::int8[]) ORDER BY id DESC`

/** As many as are worth reading at once. */
async function* inPages(lists: AsyncIterable<readonly bigint[]>): AsyncGenerator<readonly bigint[]> {
  let atOnce = FIRST_RUNS
  for await (const ids of lists) {
    for (let at = 0; at < ids.length; ) {
      yield ids.slice(at, at + atOnce)
      at += atOnce
      atOnce = Math.min(atOnce * 2, MOST_RUNS)
    }
  }
}

const forgetFrom = (table: string): string => `
  DELETE FROM ${table} AS run USING unnest($1::int8[], $2::int8[]) AS bundle (first, after)
  WHERE run.id >= bundle.first AND run.id < bundle.after`
