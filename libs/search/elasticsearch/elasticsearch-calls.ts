/**
 * The connection to Elasticsearch: the only place that knows its client's errors. Each becomes one sentence that says which server, and
 * what to do; `search-away` where a later try may help.
 */
import { readFileSync } from 'node:fs'
import { Client, errors } from '@elastic/elasticsearch'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import type { ElasticsearchPlace } from './elasticsearch-url.js'

export interface Calls {
  readonly said: string
  /** One call; its errors as FirnErrors, an abort as its reason. */
  call<T>(signal: AbortSignal | undefined, make: (client: Client, options: { signal?: AbortSignal }) => Promise<T>): Promise<T>
  close(): Promise<void>
}

/** A search takes milliseconds, a bulk of some MB a second; a server that needs longer is in trouble. */
const TIMEOUT_MS = 30_000
const OLDEST = 8

export function openCalls(place: ElasticsearchPlace): Calls {
  const client = new Client({
    node: place.node,
    ...(place.auth && { auth: place.auth }),
    ...(place.caFile && { tls: { ca: readCa(place.caFile) } }),
    requestTimeout: TIMEOUT_MS,
    maxRetries: 0, // whoever can wait tries again by himself
  })
  let asked: Promise<void> | undefined

  async function plain<T>(
    signal: AbortSignal | undefined,
    make: (client: Client, options: { signal?: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted()
    const once = () => make(client, signal ? { signal } : {})
    try {
      return await once().catch((error) => {
        // Once more, for a kept connection that the server has closed meanwhile; every call may be made twice.
        if (error instanceof errors.ConnectionError && signal?.aborted !== true) return once()
        throw error
      })
    } catch (error) {
      signal?.throwIfAborted()
      throw asFirnError(error, place)
    }
  }

  /** Not by `info()`, which some servers do not answer; and it is no more than advice where the user may not ask for it. */
  async function askVersion(): Promise<void> {
    const nodes = await plain(undefined, async (it) => {
      try {
        const answer = await it.nodes.info({ filter_path: 'nodes.*.version' })
        return Object.values(answer.nodes ?? {})
      } catch (error) {
        if (statusOf(error) === 403) return []
        throw error
      }
    })
    for (const { version } of nodes) if (Number.parseInt(version, 10) < OLDEST) throw tooOld(place, ` (this one is ${version})`)
  }

  return {
    said: place.said,
    async call(signal, make) {
      asked ??= askVersion()
      try {
        await asked
      } catch (error) {
        asked = undefined
        signal?.throwIfAborted()
        throw error
      }
      return plain(signal, make)
    },
    close: () => client.close(),
  }
}

function readCa(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new FirnError('usage', `The search URL (FIRN_SEARCH_URL) names ca=${file}, which cannot be read (${errnoOf(error)}).`)
  }
}

/** HTTP status of an answer that the server gave. */
export const statusOf = (error: unknown): number | undefined => {
  if (error instanceof FirnError) return statusOf(error.cause)
  return error instanceof errors.ResponseError ? error.statusCode : undefined
}

/** What Elasticsearch calls the trouble (`index_not_found_exception` ...). */
export const typeOf = (error: unknown): string | undefined => {
  if (error instanceof FirnError) return typeOf(error.cause)
  if (!(error instanceof errors.ResponseError)) return undefined
  const body = error.body as { error?: { type?: string } } | undefined
  return body?.error?.type
}

/** Errors that are not the client's (a consumer's, a bug's) pass as they are. */
function asFirnError(error: unknown, place: ElasticsearchPlace): unknown {
  if (error instanceof FirnError || !(error instanceof errors.ElasticsearchClientError)) return error
  const { said } = place
  const fail = (code: 'usage' | 'failed' | 'search-away', sentence: string) => new FirnError(code, sentence, { cause: error })
  if (error instanceof errors.ProductNotSupportedError) {
    return fail('usage', `What answers at ${place.node} is no Elasticsearch ${OLDEST} or newer: FIRN_SEARCH_URL must name one.`)
  }
  if (error instanceof errors.ResponseError) {
    const status = error.statusCode ?? 0
    if (status === 401) {
      const given = place.auth === undefined ? 'wants a user and a password' : 'refuses the user and password'
      return fail('usage', `${said} ${given}: put the right ones into FIRN_SEARCH_URL (or FIRN_SEARCH_URL_FILE).`)
    }
    if (status === 403) {
      return fail(
        'usage',
        `${said} does not let its user do this: give it the privileges manage, read and write on ${place.prefix}-*.`,
      )
    }
    if (typeOf(error) === 'media_type_header_exception') return tooOld(place, '', error)
    if ([429, 502, 503, 504].includes(status)) {
      return fail('search-away', `${said} is not ready or has too much to do (${status}): try again later.`)
    }
    const reason = (error.body as { error?: { reason?: string } } | undefined)?.error?.reason
    return fail('failed', `${said} refused: ${typeOf(error) ?? status}${reason ? ` (${reason.slice(0, 300)})` : ''}.`)
  }
  if (/self.signed|certificate|unable to (get|verify)|altname/i.test(error.message)) {
    return fail(
      'usage',
      `The certificate of ${said} is not trusted (${error.message}): name its authority's file with ?ca= in FIRN_SEARCH_URL.`,
    )
  }
  if (/wrong version number|packet length too long/i.test(error.message)) {
    return fail('usage', `${said} does not speak TLS: FIRN_SEARCH_URL must begin with http:.`)
  }
  return fail(
    'search-away',
    `${said} cannot be reached (${error.message.slice(0, 200)}): try again later, or see FIRN_SEARCH_URL.`,
  )
}

const tooOld = (place: ElasticsearchPlace, which: string, cause?: unknown): FirnError =>
  new FirnError(
    'usage',
    `${place.said} is too old${which}: Firn needs ${OLDEST}.0 or newer.`,
    cause === undefined ? {} : { cause },
  )
