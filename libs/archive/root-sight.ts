/**
 * Does this process see the trees that a crawler saw? Bundles name files by their paths, and on a host where nothing is mounted every
 * one of them would be missing. So the crawler writes down what its roots, and the mount points below them, look like; a worker takes
 * a bundle only where the same paths lead it to the same places. What cannot be known counts as not seen: a bundle that waits does no
 * harm, a file that is called vanished does.
 */
import { lstatSync, readdirSync, realpathSync } from 'node:fs'
import { decodePlan } from '#libs/bundle/plan.js'
import type { SetRow } from '#libs/catalog/catalog.js'
import { errnoOf } from '#libs/errors/errors.js'
import { type MountPoint, mountPoints } from '#libs/os/mount-points.js'
import { thisView } from '#libs/os/owner.js'
import { identityOf, markOf, nearestDev, type PlaceMark } from '#libs/os/place-mark.js'
import { isWithin, jsonName, nameFromJson, nearestOf, parentOf, type Raw, rawFromBytes, rawToBytes, shown } from '#libs/os/raw.js'
import { realRootOf } from '#libs/os/tree-access.js'

/** Of a tree with very many mounts below it (a system's root) the others are not looked at one by one. */
const MOUNTS_AT_MOST = 200

/**
 * seen: the bundle may be packed. elsewhere: this host does not see what the crawler saw; others may. unmounted: it is the crawler's own
 * view, and the file system is not there now.
 */
export type Sight =
  | { readonly is: 'seen' }
  | { readonly is: 'elsewhere'; readonly reason: string }
  | { readonly is: 'unmounted'; readonly reason: string }

/** What the roots look like from here, as JSON for the set's row. */
export function marksOf(roots: readonly Raw[], mounts = mountPoints()): Record<string, unknown> {
  const places = roots.map(placeOfRoot)
  const below = mounts.filter(({ path }) => places.some((root) => path !== root && isWithin(path, root)))
  const paths = [...new Set([...places, ...below.slice(0, MOUNTS_AT_MOST).map(({ path }) => path)])]
  const marks = paths.flatMap((path) => markOf(path, mounts) ?? [])
  const mounted = new Set(mounts.map(({ path }) => path))
  const toMark = (mark: PlaceMark) => ({ ...toJson(mark), ...(mounted.has(mark.path) && { mounted: true }) })
  return { view: thisView(), places: marks.map(toMark), roots: realRoots(roots).map((real) => real && jsonName('real', real)) }
}

/** Undefined for a root that is not there. */
export function realRoots(roots: readonly Raw[]): (Raw | undefined)[] {
  return roots.map((root) => {
    try {
      return realRootOf(root)
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      return undefined
    }
  })
}

/**
 * Where the roots of a set really were when it was crawled, one for each root: the way to a root may go through symlinks, which their
 * owner may move. Nothing is known on another host, and of sets that an older version crawled.
 */
export function crawledRoots({ marks }: Pick<SetRow, 'marks'>): (Raw | undefined)[] {
  if (marks?.['view'] !== thisView()) return []
  const roots = (marks['roots'] ?? []) as readonly (Record<string, unknown> | null | undefined)[]
  return roots.map((root) => (root ? nameFromJson('real', root) : undefined))
}

/** Which directories the places of a set were, by their paths, when it was marked. */
export const identitiesOf = (marks: Readonly<Record<string, unknown>>): ReadonlyMap<Raw, string> =>
  new Map(fromJson(marks).places.map((place) => [place.path, identityOf(place)]))

/** A place that is not what it was, so that nothing is gone only because it is not found there. */
export interface StrangePlace {
  readonly path: Raw
  /** The rest of a sentence: `is not there`. */
  readonly reason: string
  /** Its mark as it was, to be kept with the set's own while names are missing in it: a disk may stay away for several nights. */
  readonly expected?: Readonly<Record<string, unknown>>
}

type SeenPlaces = Pick<SetRow, 'roots' | 'marks'>

/**
 * Roots, and mount points below them, that look otherwise than to the set that saw them last; `earlier` are the sets before, the newest
 * first. What was a mount point and is none now, or is empty or away, is still expected.
 */
export async function strangePlaces(
  roots: readonly Raw[],
  earlier: Iterable<SeenPlaces> | AsyncIterable<SeenPlaces>,
  isWalked: (path: Raw) => boolean,
): Promise<StrangePlace[]> {
  const mounts = mountPoints()
  const mounted = new Set(mounts.map(({ path }) => path))
  const own = new Set(roots)
  const seen = new Set<Raw>()
  const decided = new Set<Raw>()
  const strange: StrangePlace[] = []
  for await (const { roots: then, marks } of earlier) {
    const were = new Set(then)
    const { view, places, expected } = fromJson(marks ?? {})
    for (const place of [...places, ...expected]) {
      const { path } = place
      // A set that saw a place since then, and named no mount point there, knows better.
      if (decided.has(path) || nearestOf(path, seen) !== undefined) continue
      const isRoot = own.has(path)
      const isMount = place.mounted || !(isRoot || were.has(path))
      if (!isRoot && !(isMount && nearestOf(path, own) !== undefined && isWalked(path))) continue
      decided.add(path)
      const difference = differenceTo(place, mounts, view === thisView())
      if (difference === undefined) continue
      const isExpected = isMount && (!mounted.has(path) || isEmptyOrAway(path))
      strange.push({ path, reason: difference, ...(isExpected && { expected: { ...toJson(place), mounted: true } }) })
    }
    for (const root of then) seen.add(root)
    // Whatever older sets say of these roots, a newer one saw.
    if (roots.every((root) => nearestOf(root, seen) !== undefined)) break
  }
  return strange
}

function isEmptyOrAway(path: Raw): boolean {
  try {
    return readdirSync(rawToBytes(path)).length === 0
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return true
  }
}

/** Who looks. `host`: the name that it works under. `alone`: there is no other host, whatever this one is called now. */
export interface Looker {
  readonly host: string
  readonly alone: boolean
}

/** `plan`: of the bundle; without one all places of the set are meant. */
export function sightOf(set: Pick<SetRow, 'host' | 'marks'>, { host, alone }: Looker, plan?: Uint8Array): Sight {
  const marks = set.marks && fromJson(set.marks)
  if (marks === undefined || marks.places.length === 0) return { is: 'seen' } // nothing is known of it
  const ownView = marks.view === thisView()
  if (!alone && set.host !== host && machineOfView(marks.view) !== machineOfView(thisView())) {
    return { is: 'elsewhere', reason: `the tree is of the host ${set.host}, and this one is called ${host} (FIRN_HOST)` }
  }
  const mounts = mountPoints()
  for (const then of plan ? placesOf(plan, marks.places) : marks.places) {
    const difference = differenceTo(then, mounts, ownView)
    if (difference === undefined) continue
    if (!ownView) return { is: 'elsewhere', reason: `${shown(then.path)} ${difference}` }
    // The crawler's own view: what was removed or replaced on the same file system is the truth, and each file tells it.
    if (nearestDev(then.path) !== then.dev) {
      return { is: 'unmounted', reason: `the file system of ${shown(then.path)} is not mounted: it ${difference}` }
    }
  }
  return { is: 'seen' }
}

/**
 * The first root that lies, where it really is, below none of the allowed ones. Undefined if all do; everything is allowed where none is
 * said. A root of which nobody knows where it is is no trouble: nothing was read of it.
 */
export function forbiddenRoot(real: readonly (Raw | undefined)[], allowed: readonly Raw[] | undefined): Raw | undefined {
  if (allowed === undefined) return undefined
  const places = allowed.flatMap((path) => [path, realPlace(path)])
  return real.find((root) => root !== undefined && !places.some((place) => isWithin(root, place)))
}

const realPlace = (path: Raw): Raw => {
  try {
    return rawFromBytes(realpathSync.native(rawToBytes(path), 'buffer'))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return path
  }
}

const machineOfView = (view: string): string => view.split('/', 1)[0] as string

/** A root that is no directory may be replaced by whoever saves it: its directory is the place. */
function placeOfRoot(root: Raw): Raw {
  try {
    return lstatSync(rawToBytes(root)).isDirectory() ? root : parentOf(root)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return root
  }
}

/** The places that the entries of a plan lie in. */
function placesOf(plan: Uint8Array, places: readonly PlaceMark[]): readonly PlaceMark[] {
  if (places.length === 1) return places
  const deepestFirst = [...places].sort((a, b) => b.path.length - a.path.length)
  const needed = new Set<PlaceMark>()
  for (const { path } of decodePlan(plan)) {
    const place = deepestFirst.find((one) => isWithin(path, one.path))
    if (place) needed.add(place)
  }
  return [...needed]
}

/** What is not as the crawler saw it, as the rest of a sentence; undefined where it is the same place. */
function differenceTo(then: PlaceMark, mounts: readonly MountPoint[], ownView: boolean): string | undefined {
  const now = markOf(then.path, mounts)
  if (now === undefined) return 'is not there'
  if (now.ino !== then.ino) return `is another directory than the crawler saw (inode ${now.ino}, not ${then.ino})`
  if (ownView && now.dev === then.dev) return undefined
  if (now.fileSystem !== then.fileSystem) {
    return `is on another kind of file system than the crawler saw (${now.fileSystem}, not ${then.fileSystem})`
  }
  if (now.bornNs !== undefined && then.bornNs !== undefined) {
    return now.bornNs === then.bornNs ? undefined : 'is another directory than the crawler saw (made at another time)'
  }
  // Inodes of the tops of file systems are alike everywhere, and network file systems seldom say when they were made.
  if (now.source !== then.source) return `is mounted from ${now.source || 'nowhere'}, and the crawler saw ${then.source}`
  return undefined
}

const toJson = ({ path, ino, dev, bornNs, fileSystem, source }: PlaceMark): Record<string, unknown> => ({
  ...jsonName('path', path),
  ino: String(ino),
  dev: String(dev),
  ...(bornNs !== undefined && { born_ns: String(bornNs) }),
  file_system: fileSystem,
  source,
})

type Mark = PlaceMark & { readonly mounted: boolean }

interface Marks {
  readonly view: string
  readonly places: readonly Mark[]
  /** See `StrangePlace`. */
  readonly expected: readonly Mark[]
}

function fromJson(json: Readonly<Record<string, unknown>>): Marks {
  return { view: String(json['view']), places: marksFrom(json['places']), expected: marksFrom(json['expected']) }
}

function marksFrom(json: unknown): Mark[] {
  return ((json ?? []) as readonly Record<string, string>[]).flatMap((place) => {
    const path = nameFromJson('path', place)
    if (path === undefined) return []
    return {
      path,
      ino: BigInt(place['ino'] ?? 0),
      dev: BigInt(place['dev'] ?? 0),
      ...(place['born_ns'] !== undefined && { bornNs: BigInt(place['born_ns']) }),
      fileSystem: place['file_system'] ?? '',
      source: place['source'] ?? '',
      mounted: Boolean(place['mounted']),
    }
  })
}
