/**
 * What a crawl does not find any more. Where a disk is not mounted nothing is there either: names are gone only from places that are what
 * they were when they were crawled last, and of a root only if it holds something. Of any other place it is said that something is missing.
 */
import type { PlannedEntry, Problem } from '#libs/bundle/entry.js'
import type { Catalog, FoundName, FoundNames, SetRow } from '#libs/catalog/catalog.js'
import { isWithin, nameOf, nearestOf, parentOf, type Raw } from '#libs/os/raw.js'
import type { Listing, WalkPage } from '#libs/walk/source.js'
import type { StrangePlace } from './root-sight.js'

/** The statement takes its time to be planned, however little it is asked. */
const LISTINGS_AT_ONCE = 200
const NAMES_AT_ONCE = 5_000

export interface GoneNames {
  /** Notes what the directories of a page do not hold any more; those that are `complete` hold everything. Returns what is amiss. */
  note(page: Pick<WalkPage, 'listings' | 'entries'>, complete: ReadonlySet<Raw>): Promise<Problem[]>
  /** What was gathered is noted too: at the end of the crawl. */
  flush(): Promise<void>
  /** Marks of strange places that are to be expected further on: those that lack names, or are not there. */
  stillExpected(): Readonly<Record<string, unknown>>[]
}

export function goneNames(
  catalog: Pick<Catalog, 'noteGone' | 'wouldBeGone'>,
  set: Pick<SetRow, 'id' | 'roots'>,
  { strange: known, places }: { readonly strange: readonly StrangePlace[]; readonly places: ReadonlyMap<Raw, string> },
): GoneNames {
  const roots = new Set(set.roots)
  const strange = new Map(known.map((place) => [place.path, place]))
  /** What was exchanged since it was marked is as strange. */
  const seeExchanged = ({ directory, identity, rootIdentity }: Listing) => {
    const root = nearestOf(directory, roots) ?? directory
    for (const [path, seen] of [
      [root, rootIdentity],
      [directory, identity],
    ] as const) {
      const marked = places.get(path)
      if (marked === undefined || marked === seen || strange.has(path)) continue
      strange.set(path, { path, reason: 'was exchanged for another directory while it was crawled' })
    }
  }
  /** Listings that are sure, and how many names they have. */
  let gathered: FoundNames[] = []
  let gatheredNames = 0
  const gather = (listing: FoundNames) => {
    gathered.push(listing)
    gatheredNames += listing.names.length
  }
  const flush = async () => {
    const listings = gathered
    gathered = []
    gatheredNames = 0
    if (listings.length > 0) await catalog.noteGone(set.id, listings)
  }
  const told = new Set<Raw>()
  const lacking = new Set<Raw>()

  const placeOf = ({ directory, names, after, last }: FoundNames): StrangePlace | undefined => {
    if (roots.has(directory) && names.length === 0 && after === undefined && last === undefined) {
      return { path: directory, reason: 'is empty now' }
    }
    const nearest = nearestOf(directory, strange)
    return nearest && strange.get(nearest)
  }
  /** Names of a directory that lead to a strange place; it may itself be among what is missing. */
  const waysFrom = ({ directory, names, after, last }: FoundNames) =>
    [...strange.values()].flatMap((place) => {
      if (place.path === directory || !isWithin(place.path, directory)) return []
      const name = firstNameBelow(place.path, directory)
      const isHere = (after === undefined || name > after) && (last === undefined || name <= last)
      return isHere && !names.some((one) => one.name === name) ? [{ place, name }] : []
    })

  return {
    async note(page, complete) {
      const open = page.listings.filter(({ directory }) => !complete.has(directory))
      if (open.length === 0) return []
      open.forEach(seeExchanged)
      const doubtful: { place: StrangePlace; listing: FoundNames }[] = []
      for (const listing of foundNames(open, page)) {
        const place = placeOf(listing)
        if (place !== undefined) {
          doubtful.push({ place, listing })
          continue
        }
        const ways = waysFrom(listing)
        for (const way of ways) doubtful.push({ place: way.place, listing: only(listing, way.name) })
        gather(ways.length === 0 ? listing : { ...listing, names: [...listing.names, ...ways.map(({ name }) => ({ name }))] })
      }
      if (gathered.length >= LISTINGS_AT_ONCE || gatheredNames >= NAMES_AT_ONCE) await flush()
      // Of the place itself it is asked in any case.
      const asked = doubtful.filter(({ place, listing }) => !told.has(place.path) || isOwn(place, listing))
      if (asked.length === 0) return []
      const answers = await catalog.wouldBeGone(
        set.id,
        asked.map(({ listing }) => listing),
      )
      asked.forEach(({ place, listing }, index) => {
        if (answers[index] && isOwn(place, listing)) lacking.add(place.path)
      })
      return asked.flatMap(({ place: { path, reason } }, index) => {
        if (!answers[index] || told.has(path)) return []
        told.add(path)
        return {
          path,
          kind: 'failed',
          reason: `what is missing in it does not count as gone, for it ${reason}: is its disk mounted?`,
        }
      })
    },
    flush,
    stillExpected: () => [...strange.values()].flatMap(({ path, expected }) => (expected && lacking.has(path) ? [expected] : [])),
  }
}

/** Whether a listing is of the place itself, or of the way to it. */
const isOwn = (place: StrangePlace, { directory }: FoundNames): boolean => isWithin(place.path, directory)

/** Listings with the names that were found; of whole directories they are those of the entries. */
function foundNames(listings: readonly Listing[], page: { readonly entries: readonly PlannedEntry[] }): FoundNames[] {
  const wholes = listings.filter(({ names }) => names === undefined)
  const ofEntries = new Map(wholes.map(({ directory }) => [directory, [] as FoundName[]]))
  if (wholes.length > 0) {
    for (const { path, type } of page.entries) {
      if (path !== '/')
        ofEntries.get(parentOf(path))?.push({ name: nameOf(path), isDirectory: type === 'directory', isArchived: true })
    }
  }
  return listings.map(({ directory, after, last, names, listedAt }) => ({
    directory,
    ...(after !== undefined && { after }),
    ...(last !== undefined && { last }),
    names: names?.map(({ isEntry, ...name }) => ({ ...name, isArchived: isEntry })) ?? ofEntries.get(directory) ?? [],
    listedAt,
  }))
}

/** The same question about one name, which was not found, and few others: those that begin as it does and come before it. */
const only = (listing: FoundNames, name: Raw): FoundNames => ({
  ...listing,
  ...(name.length > 1 && { after: name.slice(0, -1) as Raw }),
  last: name,
})

function firstNameBelow(path: Raw, directory: Raw): Raw {
  const rest = path.slice(directory === '/' ? 1 : directory.length + 1)
  const slash = rest.indexOf('/')
  return (slash < 0 ? rest : rest.slice(0, slash)) as Raw
}
