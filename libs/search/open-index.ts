/** Chooses a search index by the scheme of its URL, and loads its client only then. */
import { FirnError } from '#libs/errors/errors.js'
import type { SearchIndex } from './search-index.js'

export type SearchIndexOpener = (url: string) => Promise<SearchIndex>

const postgres = async (): Promise<SearchIndexOpener> => {
  const { openPostgresIndex } = await import('./postgres/postgres-index.js')
  return (url) => openPostgresIndex({ url })
}

const elasticsearch = async (): Promise<SearchIndexOpener> => {
  const { openElasticsearchIndex } = await import('./elasticsearch/elasticsearch-index.js')
  return async (url) => openElasticsearchIndex(url)
}

const SCHEMES: Record<string, () => Promise<SearchIndexOpener>> = {
  postgres,
  postgresql: postgres,
  http: elasticsearch,
  https: elasticsearch,
}

export const openSearchIndex: SearchIndexOpener = async (url) => (await loadSearchIndex(url))(url)

/** The first half of it, which may be done before the URL that a bare `postgres:` stands for is known. */
export async function loadSearchIndex(url: string): Promise<SearchIndexOpener> {
  const scheme = /^([a-z][a-z0-9+.-]*):/.exec(url)?.[1]
  const load = scheme !== undefined && Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined
  if (load) return load()
  // The URL itself may hold a password: only its scheme is said.
  const said = scheme === undefined ? 'The search URL has no scheme' : `"${scheme}:" is no kind of search index that Firn knows`
  const choices = Object.keys(SCHEMES).map((one) => `${one}://...`)
  throw new FirnError('usage', `${said}: choose one of ${choices.join(', ')}.`)
}
