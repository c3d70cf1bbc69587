/** Any port, whose n-th operation fails: before anything happened, or after it did, so that only the answer is lost. */

export type FaultMode = 'fails' | 'answer lost'

export interface Script {
  /** Counts every operation of the port, from 1. */
  readonly at: number
  readonly mode: FaultMode
  readonly error: () => unknown
  /** The operation that was struck. */
  struck?: string
  /** Operations that came so far. */
  seen: number
}

export const scriptFor = (at: number, mode: FaultMode, error: () => unknown): Script => ({ at, mode, error, seen: 0 })

/** `within`: operations whose answers are ports themselves. Those named in `never` are not operations but plumbing. */
export function faultyPort<T extends object>(
  port: T,
  script: Script,
  options: { never?: readonly string[]; within?: readonly string[] } = {},
): T {
  const { never = [], within = [] } = options
  return new Proxy(port, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      const call = (value as (...args: unknown[]) => unknown).bind(target)
      if (typeof property !== 'string' || never.includes(property)) return call
      return (...args: unknown[]) => {
        const hit = ++script.seen === script.at
        if (hit) script.struck = property
        if (hit && script.mode === 'fails') return failing(property, script)
        const answer = call(...args)
        if (isStream(answer)) return hit ? thenFailing(answer, script) : answer
        if (!isPromise(answer)) return answer
        return answer.then((given) => {
          if (hit) throw script.error()
          return within.includes(property) ? faultyPort(given as object, script) : given
        })
      }
    },
  })
}

/** A stream fails when it is read, anything else at once. */
function failing(property: string, script: Script): unknown {
  if (STREAMS.has(property)) return thenFailing([], script)
  return Promise.reject(script.error())
}

const STREAMS = new Set([
  'list',
  'read',
  'select',
  'selectHits',
  'locate',
  'locateHits',
  'neededBundles',
  'items',
  'itemRows',
  'openItems',
  'problems',
  'storedBundles',
  'search',
  'walk',
])

async function* thenFailing(pieces: AsyncIterable<unknown> | Iterable<unknown>, script: Script): AsyncGenerator<unknown> {
  yield* pieces
  throw script.error()
}

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value
const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
