/** Where restored entries lie below the target, and back again. */
import type { Entry } from '#libs/bundle/entry.js'
import type { Catalog, FileRow, Layout, RetrievalRow } from '#libs/catalog/catalog.js'
import { joinRaw, looseTextOf, type Raw, rawFromText } from '#libs/os/raw.js'

/** The place of an entry, relative to the target. */
export function placeOf(row: Pick<FileRow, 'path' | 'host' | 'setId'>, layout: Layout): Raw {
  const path = row.path.slice(1) as Raw
  if (layout === 'path') return path
  const top = rawFromText((layout === 'host' ? row.host : row.setId).replaceAll('/', '_'))
  return path === '' ? top : joinRaw(top, path)
}

/** The catalogued directories behind places below the target: the reverse of `placeOf`. */
export async function directoriesAt(
  catalog: Pick<Catalog, 'directories' | 'set'>,
  retrieval: RetrievalRow,
  places: readonly Raw[],
): Promise<Map<Raw, Entry>> {
  const asOfText = retrieval.request['asOf']
  const asOf = typeof asOfText === 'string' ? new Date(asOfText) : undefined
  const byHost = new Map<string, Map<Raw, Raw>>()
  for (const place of places) {
    let host = retrieval.host
    let path = `/${place}` as Raw
    if (retrieval.layout !== 'path') {
      const slash = place.indexOf('/')
      if (slash < 0) continue
      const top = looseTextOf(place.slice(0, slash) as Raw)
      host = retrieval.layout === 'host' ? top : (await catalog.set(top))?.host
      path = place.slice(slash) as Raw
    }
    if (host === undefined) continue
    const paths = byHost.get(host) ?? new Map<Raw, Raw>()
    byHost.set(host, paths.set(path, place))
  }
  const found = new Map<Raw, Entry>()
  for (const [host, paths] of byHost) {
    for (const row of await catalog.directories(host, [...paths.keys()], asOf)) {
      const place = paths.get(row.path)
      if (place !== undefined) found.set(place, row)
    }
  }
  return found
}
