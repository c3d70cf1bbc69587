/** Chooses a search index by the scheme of its URL, and loads its client only then. */
import { FirnError } from '#libs/errors/errors.js'
import type { SearchIndex } from './search-index.js'

type Opener = (url: string) => Promise<SearchIndex>

const openPostgres: Opener = async (url) => {
  const { openPostgresIndex } = await import('./postgres/postgres-index.js')
  return openPostgresIndex({ url })
}

const openElasticsearch: Opener = async (url) => {
  const { openElasticsearchIndex } = await import('./elasticsearch/elasticsearch-index.js')
  return openElasticsearchIndex(url)
}

const SCHEMES: Record<string, Opener> = {
  postgres: openPostgres,
  postgresql: openPostgres,
  http: openElasticsearch,
  https: openElasticsearch,
}

export async function openSearchIndex(url: string): Promise<SearchIndex> {
  const scheme = /^([a-z][a-z0-9+.-]*):/.exec(url)?.[1]
  const open = scheme !== undefined && Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined
  if (open) return open(url)
  // The URL itself may hold a password: only its scheme is said.
  const said = scheme === undefined ? 'The search URL has no scheme' : `"${scheme}:" is no kind of search index that Firn knows`
  const choices = Object.keys(SCHEMES).map((one) => `${one}://...`)
  throw new FirnError('usage', `${said}: choose one of ${choices.join(', ')}.`)
}
