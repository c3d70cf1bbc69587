/**
 * Named moments of the work: before and after each thing that changes the catalog, the queue, the vault, the index or the file system.
 * They are published on the channel `firn:step` of node:diagnostics_channel, for whoever observes a process from a module that it
 * preloads, such as the tests that kill it in each of them. Where nobody subscribed beforehand they cost nothing.
 */
import { channel } from 'node:diagnostics_channel'

export const STEPS = 'firn:step'

const published = channel(STEPS)

/** `local-vault.synced`: where, and what has just happened. */
export function step(name: string): void {
  if (published.hasSubscribers) published.publish(name)
}

type Call = (...args: never[]) => unknown

/**
 * The same port, whose operations publish `<room>.<operation>:before` and `:after`, and `:failed`; of a stream, before its first piece and
 * after its last. `within`: operations that are to be called otherwise, because what they give or take is to be watched too.
 */
export function withSteps<T extends object>(room: string, port: T, within: { readonly [K in keyof T]?: T[K] } = {}): T {
  if (!published.hasSubscribers) return port
  return new Proxy(port, {
    get(target, property) {
      const value: unknown = Reflect.get(within, property) ?? Reflect.get(target, property)
      if (typeof value !== 'function' || typeof property !== 'string') return value
      return watched(`${room}.${property}`, value.bind(target) as Call)
    },
  })
}

function watched(name: string, call: Call): Call {
  return (...args) => {
    step(`${name}:before`)
    const answer = call(...args)
    if (isStream(answer)) return watchedStream(name, answer)
    if (!isPromise(answer)) {
      step(`${name}:after`)
      return answer
    }
    return answer.then(
      (value) => {
        step(`${name}:after`)
        return value
      },
      (error) => {
        step(`${name}:failed`)
        throw error
      },
    )
  }
}

async function* watchedStream(name: string, pieces: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  yield* pieces
  step(`${name}:after`)
}

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value
const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
