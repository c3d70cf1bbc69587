/**
 * Which files index is meant: names are aliases, and what is behind them changes in one step. A generation that is being made stands
 * behind an alias of its own, so that a rebuild that died, or met another, is found by its name and swept away by the next.
 */
import { FirnError } from '#libs/errors/errors.js'
import { type Calls, statusOf, typeOf } from './elasticsearch-calls.js'
import type { ElasticsearchPlace } from './elasticsearch-url.js'
import { copiesOf, FILE_MAPPINGS, fileSettings, type Names, SET_MAPPINGS, VERSION } from './layout.js'

type Signal = AbortSignal | undefined

export interface Generations {
  /** Before a search: refuses an index that this Firn cannot read. */
  check(signal: Signal): Promise<void>
  /** Makes what is missing before a write, and looks again after one that failed: perhaps somebody dropped the index. */
  writing<T>(signal: Signal, write: () => Promise<T>): Promise<T>
  /** A new, empty files index behind `names.next`. */
  begin(signal: Signal): Promise<{ takePlace(signal: Signal): Promise<void>; drop(): Promise<void> }>
  dropAll(signal: Signal): Promise<void>
}

export function openGenerations(calls: Calls, place: ElasticsearchPlace, names: Names): Generations {
  let made = false
  let checked = false

  async function isThere(alias: string, signal: Signal): Promise<boolean> {
    try {
      const indexes = await calls.call(signal, (client, options) =>
        client.indices.getMapping({ index: alias, filter_path: '*.mappings._meta' }, options),
      )
      for (const { mappings } of Object.values(indexes)) {
        const version = Number(mappings?._meta?.['firn'] ?? 0)
        if (version > VERSION) {
          throw new FirnError(
            'database-newer',
            `The search index at ${place.said} was made by a newer Firn (version ${version}, this one knows ${VERSION}): use that one.`,
          )
        }
      }
      return Object.keys(indexes).length > 0
    } catch (error) {
      if (statusOf(error) === 404) return false
      throw error
    }
  }

  /** Several may do it at once: one of them makes it. */
  async function make(index: string, alias: string, rest: object, signal: Signal): Promise<boolean> {
    try {
      await calls.call(signal, (client, options) => client.indices.create({ index, aliases: { [alias]: {} }, ...rest }, options))
      return true
    } catch (error) {
      if (typeOf(error) === 'resource_already_exists_exception') return false
      throw error
    }
  }

  /** Every files index of ours, and whether it is the one in use. */
  async function all(signal: Signal): Promise<{ index: string; generation: number; used: boolean }[]> {
    try {
      const found = await calls.call(signal, (client, options) =>
        client.indices.getAlias({ index: `${names.files}-*`, allow_no_indices: true, expand_wildcards: 'all' }, options),
      )
      return Object.entries(found).flatMap(([index, { aliases }]) => {
        const generation = names.generationOf(index)
        return generation === undefined ? [] : [{ index, generation, used: Object.hasOwn(aliases, names.files) }]
      })
    } catch (error) {
      if (statusOf(error) === 404) return []
      throw error
    }
  }

  const files = { settings: fileSettings(place), mappings: FILE_MAPPINGS }

  async function drop(indexes: readonly string[], signal: Signal): Promise<void> {
    if (indexes.length === 0) return
    await calls.call(signal, (client, options) =>
      client.indices.delete({ index: [...indexes], ignore_unavailable: true }, options),
    )
  }

  async function ensure(signal: Signal): Promise<void> {
    if (made) return
    if (!(await isThere(names.sets, signal))) {
      await make(names.setsIndex, names.sets, { settings: copiesOf(place), mappings: SET_MAPPINGS }, signal)
    }
    if (!(await isThere(names.files, signal))) {
      const last = Math.max(0, ...(await all(signal)).map(({ generation }) => generation))
      // The first of all has its number by itself, so that two who make it at once make the same.
      await make(names.generation(last + 1), names.files, files, signal)
    }
    made = true
    checked = true
  }

  return {
    async writing(signal, write) {
      signal?.throwIfAborted()
      await ensure(signal)
      try {
        return await write()
      } catch (error) {
        made = false
        throw error
      }
    },

    async check(signal) {
      if (!checked) checked = await isThere(names.files, signal)
    },

    async begin(signal) {
      await ensure(signal)
      const before = await all(signal)
      await drop(
        before.filter(({ used }) => !used).map(({ index }) => index),
        signal,
      )
      const own = names.generation(Math.max(0, ...before.map(({ generation }) => generation)) + 1)
      if (!(await make(own, names.next, files, signal))) throw another()
      return {
        drop: () => drop([own], undefined),
        async takePlace(at) {
          const others = (await all(at)).filter(({ index }) => index !== own)
          try {
            await calls.call(at, (client, options) =>
              client.indices.updateAliases(
                {
                  actions: [
                    { remove: { index: own, alias: names.next } },
                    { add: { index: own, alias: names.files } },
                    ...others.map(({ index }) => ({ remove_index: { index } })),
                  ],
                },
                options,
              ),
            )
          } catch (error) {
            if (statusOf(error) === 404) throw another(error)
            throw error
          }
        },
      }
    },

    async dropAll(signal) {
      made = false
      checked = false
      await drop([...(await all(signal)).map(({ index }) => index), names.setsIndex], signal)
    },
  }

  function another(cause?: unknown): FirnError {
    return new FirnError(
      'search-away',
      `Somebody else rebuilds the index at ${place.said}: wait until that is done.`,
      cause === undefined ? {} : { cause },
    )
  }
}
