/** "Must it travel?": what a walk sees beside what stored bundles and live plans hold. */
import type { HeldBytes, PlannedEntry } from '#libs/bundle/entry.js'
import type { Keep } from '#libs/bundle/xattrs.js'
import type { HeldFile, HeldLookup } from '#libs/catalog/catalog.js'
import { parentOf, type Raw } from '#libs/os/raw.js'
import type { WalkPage } from '#libs/walk/source.js'

export interface ComparedPage {
  /** Files of directories in which everything is as it was stored. */
  readonly unchanged: number
  /** The other entries, in order, but for those that are too large. */
  readonly compared: readonly Compared[]
  readonly tooLarge: readonly PlannedEntry[]
  /** Directories that hold every name that any vault has of them. */
  readonly complete: ReadonlySet<Raw>
  /** Directories in which entries were looked at, because less was kept of them than is asked for; false where one had more. */
  readonly looked: ReadonlyMap<Raw, boolean>
}

/** Whether an entry has xattrs that `kept` did not keep and this run does. */
export type HasMore = (entry: PlannedEntry, kept: Keep) => boolean

/**
 * A page of the walk: whole directories first, and only of those that are not as they were stored each entry. `setId` is the set that is
 * being crawled: what its own bundles have is told apart from what others have.
 */
export async function comparePage(
  held: HeldLookup,
  page: WalkPage,
  {
    force,
    limit,
    setId,
    hasMore,
  }: { readonly force: boolean; readonly limit: number; readonly setId?: string; readonly hasMore?: HasMore },
): Promise<ComparedPage> {
  const isTooLarge = ({ type, size }: PlannedEntry) => type === 'file' && size > limit
  const tooLarge = page.ranges.some(({ largest }) => largest > limit) ? page.entries.filter(isTooLarge) : []
  const fitting = () => (tooLarge.length === 0 ? page.entries : page.entries.filter((entry) => !isTooLarge(entry)))
  const complete = new Set<Raw>()
  const looked = new Map<Raw, boolean>()
  if (force) return { unchanged: 0, compared: fitting().map((entry) => ({ entry, is: 'new' })), tooLarge, complete, looked }

  const wholes = wholesOf(page)
  const answers = await held.match(page.ranges, { setId, wholes })
  const open = new Map<Raw, 'none' | 'look'>()
  let unchanged = 0
  page.ranges.forEach(({ directory, files, largest }, index) => {
    const answer = answers[index] ?? 'look'
    if (answer === 'whole' || (answer === 'none' && wholes.has(directory))) complete.add(directory)
    if (answer === 'look' || answer === 'none') open.set(directory, answer)
    else if (largest > limit) open.set(directory, 'look')
    else unchanged += files
  })
  // Entries are put together only where somebody looks at them.
  if (open.size === 0) return { unchanged, compared: [], tooLarge, complete, looked }
  const entries = fitting().filter(({ path }) => open.has(parentOf(path)))
  const noting: HasMore = (entry, kept) => {
    const more = hasMore?.(entry, kept) ?? false
    const directory = parentOf(entry.path)
    looked.set(directory, (looked.get(directory) ?? true) && !more)
    return more
  }
  const compared = await compare(held, entries, (directory) => open.get(directory) === 'look', { hasMore: noting })
  return { unchanged, compared, tooLarge, complete, looked }
}

/** Directories whose entries on this page are all that they hold. */
function wholesOf({ listings }: WalkPage): Set<Raw> {
  const whole = listings.filter(({ names }) => names === undefined)
  return new Set(whole.map(({ directory }) => directory))
}

/** `setId`: of the set whose bundle has this path, as it is now or as it was. */
export type Compared = { readonly entry: PlannedEntry; readonly setId?: string } & (
  | { readonly is: 'new' /** Only because it has more than was kept. */; readonly more?: boolean }
  /** In the plan of that bundle, which is not stored yet. */
  | { readonly is: 'live'; readonly bundle: string }
  /** `bundles`: the one that lists it and the one that holds its bytes. */
  | { readonly is: 'unchanged'; readonly bundles: readonly string[]; readonly held?: HeldBytes }
)

/**
 * Looks entries up in the catalog and says of each, in order, whether it must travel. `mayHold` is false of directories of which the catalog
 * is known to hold none of these names. `hashed`: whoever asks hashes each file in any case, so that times need not prove anything.
 */
export async function compare(
  held: Pick<HeldLookup, 'lookup'>,
  entries: readonly PlannedEntry[],
  mayHold: (directory: Raw) => boolean = () => true,
  { hashed = false, hasMore = () => false }: { hashed?: boolean; hasMore?: HasMore } = {},
): Promise<Compared[]> {
  const asked = entries.filter(({ path }) => mayHold(parentOf(path))).map(({ path }) => path)
  const answers = await held.lookup(asked)
  const known = new Map(asked.map((path, index) => [path, answers[index]]))
  return entries.map((entry) => judge(entry, known.get(entry.path), { hashed, hasMore }))
}

function judge(
  entry: PlannedEntry,
  known: HeldFile | undefined,
  { hashed, hasMore }: { hashed: boolean; hasMore: HasMore },
): Compared {
  if (known === undefined) return { entry, is: 'new' }
  const { sha256, offset } = known
  // What was gone since then is back: whichever set had it, it is new to the tree.
  const own = known.gone ? {} : { setId: known.setId }
  // The size of a symlink or a directory says nothing.
  const sameSize = entry.type !== 'file' || known.size === entry.size
  if (!sameKind(entry, known) || !sameSize || known.mtimeNs !== entry.mtimeNs || known.state !== 'ok')
    return { entry, ...own, is: 'new' }
  const held = sha256 === undefined || offset === undefined ? undefined : { bundle: known.dataBundle, offset, sha256 }
  if (known.ctimeNs === entry.ctimeNs && known.ino === entry.ino && !known.gone) {
    if (known.live) return { entry, ...own, is: 'live', bundle: known.bundle }
    if (known.keptLess && !known.live && hasMore(entry, known.keptLess)) {
      return { entry: entry.type === 'file' && held ? { ...entry, held } : entry, ...own, is: 'new', more: true }
    }
    if (!known.fresh || hashed)
      return { entry, ...own, is: 'unchanged', bundles: [known.bundle, known.dataBundle], ...(held && { held }) }
  }
  if (known.live || entry.type !== 'file' || held === undefined) return { entry, ...own, is: 'new' }
  return { entry: { ...entry, held }, ...own, is: 'new' }
}

const sameKind = (entry: PlannedEntry, held: HeldFile) =>
  entry.type === held.type || (entry.type === 'file' && held.type === 'hardlink')
