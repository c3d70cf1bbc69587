/**
 * What FIRN_SEARCH_URL says of an Elasticsearch: `https://user:password@server:9200/prefix?ca=/etc/firn/ca.pem&shards=1&replicas=1`.
 *
 * The path is the prefix of the indexes' names (`firn` without it), so that several catalogs can share one server. Instead of a user
 * and a password there may be `?api_key=`.
 */
import { FirnError } from '#libs/errors/errors.js'

export interface ElasticsearchPlace {
  /** Without user, path and options. */
  readonly node: string
  readonly auth?: { readonly username: string; readonly password: string } | { readonly apiKey: string }
  /** A file of certificates (PEM) to trust instead of the machine's. */
  readonly caFile?: string
  readonly prefix: string
  /** Of a files index that is made anew. Default 1: good for some 200 million files. */
  readonly shards: number
  /** Copies of each shard. Default: one where the cluster has a second node, none where it has not. */
  readonly replicas?: number
  /** For messages: no secrets. */
  readonly said: string
}

const OPTIONS = ['shards', 'replicas', 'ca', 'api_key'] as const

export function parseElasticsearchUrl(text: string): ElasticsearchPlace {
  if (!URL.canParse(text)) {
    throw wrong('is not a URL such as http://user:password@server:9200; write / : @ and % in a password as %2F %3A %40 %25')
  }
  const url = new URL(text)
  const options = new Map<string, string>()
  for (const [name, value] of url.searchParams) {
    if (!OPTIONS.some((one) => one === name))
      throw wrong(`has an option "${name}" that Firn does not know: ${OPTIONS.join(', ')}`)
    options.set(name, value)
  }
  const prefix = decoded(url.pathname.replace(/^\/|\/$/g, '')) || 'firn'
  // https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create says what a name may be; this is less.
  if (!/^[a-z0-9][a-z0-9_-]{0,99}$/.test(prefix)) {
    throw wrong('has a path that is no prefix for names of indexes: lower-case letters, digits, - and _, such as /firn')
  }
  const apiKey = options.get('api_key')
  if (apiKey !== undefined && url.username !== '') throw wrong('has both a user and an api_key: leave one of them out')
  const auth =
    apiKey !== undefined
      ? { apiKey }
      : url.username !== ''
        ? { username: decoded(url.username), password: decoded(url.password) }
        : undefined
  const caFile = options.get('ca')
  const replicas = wholeNumber(options, 'replicas', 0, 20)
  return {
    node: `${url.protocol}//${url.host}`,
    ...(auth && { auth }),
    ...(caFile && { caFile }),
    prefix,
    shards: wholeNumber(options, 'shards', 1, 1024) ?? 1,
    ...(replicas !== undefined && { replicas }),
    said: `Elasticsearch at ${url.host}`,
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a % that stands for itself
  }
}

function wholeNumber(options: ReadonlyMap<string, string>, name: string, least: number, most: number): number | undefined {
  const text = options.get(name)
  if (text === undefined) return undefined
  if (/^\d{1,5}$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text)
  throw wrong(`needs a whole number from ${least} to ${most} as ${name}`)
}

const wrong = (what: string): FirnError => new FirnError('usage', `The search URL (FIRN_SEARCH_URL) ${what}.`)
