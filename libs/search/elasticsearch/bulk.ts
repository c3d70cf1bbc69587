/**
 * Many small writes in few calls, bounded in bytes and number. The server answers for each of them by itself and calls the whole a
 * success, so every answer is looked at: what it was too busy for is sent again after a pause, anything else is an error.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { FirnError } from '#libs/errors/errors.js'
import { type Calls, statusOf } from './elasticsearch-calls.js'

/** One write: its line of what to do, and its document's line if it has one. */
export interface Write {
  readonly id: string
  readonly lines: readonly string[]
}

export const indexWrite = (id: string, document: object): Write => ({
  id,
  lines: [JSON.stringify({ index: { _id: id } }), JSON.stringify(document)],
})

export const deleteWrite = (id: string): Write => ({ id, lines: [JSON.stringify({ delete: { _id: id } })] })

/** Well below `http.max_content_length` (100 MB), and few enough for a small server to have them in memory several times over. */
const BYTES_AT_ONCE = 4_000_000
const WRITES_AT_ONCE = 5_000
const ATTEMPTS = 7
const FIRST_PAUSE_MS = 200

export interface BulkOptions {
  readonly signal?: AbortSignal | undefined
  /** Told of each write: `created`, `updated`, `deleted`, `not_found`. */
  readonly onResult?: (id: string, result: string) => void
}

/** `alias`: where to; must be an alias, so that a missing one is an error and not an index that the server makes up. */
export async function bulk(calls: Calls, alias: string, writes: Iterable<Write>, options: BulkOptions = {}): Promise<void> {
  let chunk: Write[] = []
  let bytes = 0
  for (const write of writes) {
    chunk.push(write)
    for (const line of write.lines) bytes += line.length + 1
    if (bytes < BYTES_AT_ONCE && chunk.length < WRITES_AT_ONCE) continue
    await send(calls, alias, chunk, options)
    chunk = []
    bytes = 0
  }
  if (chunk.length > 0) await send(calls, alias, chunk, options)
}

interface Answer {
  readonly status?: number
  readonly result?: string
  readonly error?: { readonly type?: string; readonly reason?: string | null }
}

const BUSY = [429, 503]

async function send(calls: Calls, alias: string, chunk: readonly Write[], { signal, onResult }: BulkOptions): Promise<void> {
  let left = chunk
  for (let attempt = 1; ; attempt++) {
    const answers = await answersTo(calls, alias, left, signal)
    const busy: Write[] = []
    for (const [i, write] of left.entries()) {
      const answer = answers?.[i]
      if (answer === undefined || BUSY.includes(answer.status ?? 0)) busy.push(write)
      else if (answer.error !== undefined) throw refused(calls, answer)
      else onResult?.(write.id, answer.result ?? '')
    }
    if (busy.length === 0) return
    if (attempt === ATTEMPTS) {
      throw new FirnError('search-away', `${calls.said} has too much to do and took only a part: try again later.`)
    }
    left = busy
    await pause(FIRST_PAUSE_MS * 2 ** attempt * (0.75 + Math.random() / 2), signal)
  }
}

/** Undefined: the server has no room for the call as a whole. */
async function answersTo(
  calls: Calls,
  alias: string,
  writes: readonly Write[],
  signal: AbortSignal | undefined,
): Promise<readonly Answer[] | undefined> {
  try {
    const answer = await calls.call(signal, (client, options) =>
      client.bulk(
        {
          index: alias,
          require_alias: true,
          operations: writes.flatMap(({ lines }) => lines),
          filter_path: 'items.*.status,items.*.result,items.*.error.type,items.*.error.reason',
        },
        options,
      ),
    )
    return (answer.items ?? []).map((item) => (item.index ?? item.delete ?? {}) as Answer)
  } catch (error) {
    if (BUSY.includes(statusOf(error) ?? 0)) return undefined
    throw error
  }
}

function refused(calls: Calls, { status, error }: Answer): FirnError {
  if (error?.type === 'index_not_found_exception') {
    return new FirnError('search-away', `The index at ${calls.said} is gone: try again, and then make it anew by "firn reindex".`)
  }
  if (error?.type === 'cluster_block_exception') {
    return new FirnError('search-away', `${calls.said} takes no writes at the moment (${error.reason}): is its disk full?`)
  }
  return new FirnError('failed', `${calls.said} refused a document: ${error?.type ?? status} (${error?.reason}).`)
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { ...(signal && { signal }) }).catch(() => signal?.throwIfAborted())
}
