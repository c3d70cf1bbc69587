/**
 * The crawl: walk -> leave out what a stored bundle holds already -> cut into bundles -> catalog 'planned' -> wake a worker.
 * Nothing here grows with the tree: pages come from the walk, plans go to the catalog, hard links wait in the catalog's link store.
 */
import { type Cut, createCutter } from '#libs/bundle/cut.js'
import { type HeldBytes, isFile, type PlannedEntry, type Problem } from '#libs/bundle/entry.js'
import { encodePlan } from '#libs/bundle/plan.js'
import type { Catalog, HeldFile, SetRow } from '#libs/catalog/catalog.js'
import { oneAhead } from '#libs/os/one-ahead.js'
import type { Raw } from '#libs/os/raw.js'
import { nameOf, parentOf } from '#libs/os/raw.js'
import type { JobQueue } from '#libs/queue/queue.js'
import type { Vault } from '#libs/vault/vault.js'
import type { Source, WalkPage } from '#libs/walk/source.js'
import { type CrawlOptions, optionsFromJson } from './crawl-options.js'
import { keepLease } from './keep-lease.js'
import { marksOf } from './root-sight.js'
import type { Vaults } from './vaults.js'
import { type WakeEvents, wake } from './wake.js'

export interface CrawlParts {
  readonly catalog: Pick<
    Catalog,
    | 'openHeld'
    | 'openLinkStore'
    | 'planBundle'
    | 'recordProblems'
    | 'countCrawled'
    | 'restartCrawl'
    | 'markRoots'
    | 'markCrawled'
    | 'leaseSet'
    | 'releaseSet'
  >
  readonly queue: Pick<JobQueue, 'add'>
  readonly source: Source
  readonly vaults: Vaults
  /** This process, as leases name it. */
  readonly owner: string
  readonly isGone: (owner: string) => boolean
}

export interface CrawlEvents extends WakeEvents {
  readonly onProblems?: (problems: readonly Problem[]) => void
  readonly onLeftOut?: (path: Raw) => void
  readonly onFound?: (files: number) => void
  readonly onPlanned?: (cut: Cut) => void
}

/** Crawls a set that this owner holds the lease of, to its end; then the set is `archiving`. */
export async function crawl(
  parts: CrawlParts,
  set: SetRow,
  leaveOut: readonly Raw[],
  options: CrawlEvents & { signal?: AbortSignal } = {},
): Promise<void> {
  const { catalog, queue, owner } = parts
  await using lease = keepLease(() => catalog.leaseSet(set.id, owner, parts.isGone), options.signal)
  const problemsSeen = async (problems: readonly Problem[]) => {
    await catalog.recordProblems(set.id, problems)
    options.onProblems?.(problems)
  }
  await catalog.restartCrawl(set.id)
  await catalog.markRoots(set.id, owner, marksOf(set.roots))
  const planned = {
    ...set,
    options: optionsFromJson(set.options),
    maxFileBytes: maxFileBytes(await parts.vaults.open(set.vaultUrl)),
  }
  const counter = createCounter((more) => catalog.countCrawled(set.id, more))
  const plan = planSet(parts, planned, leaveOut, {
    ...options,
    signal: lease.signal,
    problemsSeen,
    counted: counter.add,
  })
  for await (const cut of plan) {
    const bundleId = await catalog.planBundle(set.id, owner, {
      plan: encodePlan(cut.entries),
      files: cut.files,
      entries: cut.entries.length,
      bytes: cut.bytes,
    })
    await wake(queue, 'store-bundle', { bundleId }, options)
    options.onPlanned?.(cut)
  }
  await counter.flush()
  await catalog.markCrawled(set.id, owner)
}

interface Counts {
  readonly found: number
  readonly unchanged: number
}

/** Whoever watches a set need not see it grow more often. */
const COUNTED_EVERY_MS = 500

/** Adds up what is counted page by page: each time it is written the catalog waits for the disk. */
function createCounter(write: (more: Counts) => Promise<void>) {
  let counts: Counts = { found: 0, unchanged: 0 }
  let written = performance.now()
  const flush = async () => {
    const more = counts
    counts = { found: 0, unchanged: 0 }
    written = performance.now()
    await write(more)
  }
  return {
    async add({ found, unchanged }: Counts): Promise<void> {
      counts = { found: counts.found + found, unchanged: counts.unchanged + unchanged }
      if (performance.now() - written >= COUNTED_EVERY_MS) await flush()
    },
    flush,
  }
}

/** What planning needs to know of a set; a dry run has no row for it. */
export type PlannedSet = Pick<SetRow, 'host' | 'roots' | 'vaultId'> & {
  readonly id?: string
  readonly options: CrawlOptions
  /** A larger file is a problem; files are never split. */
  readonly maxFileBytes?: number | undefined
}

/** What a tar has beside the data of its one file: head, manifest, padding. */
const AROUND_BYTES = 2 ** 20

/** The largest file that a vault can take, if it has a limit. */
export const maxFileBytes = ({ maxObjectBytes }: Pick<Vault, 'maxObjectBytes'>): number | undefined =>
  maxObjectBytes === undefined ? undefined : maxObjectBytes - AROUND_BYTES

interface PlanEvents extends CrawlEvents {
  readonly signal?: AbortSignal
  readonly problemsSeen: (problems: readonly Problem[]) => Promise<void>
  readonly counted: (more: Counts) => Promise<void>
}

/** The bundles that a crawl makes, in order: everything but hard links as the walk finds it, then the groups of hard links. */
export async function* planSet(
  parts: Pick<CrawlParts, 'source'> & { catalog: Pick<Catalog, 'openHeld' | 'openLinkStore'> },
  set: PlannedSet,
  leaveOut: readonly Raw[],
  events: PlanEvents,
): AsyncGenerator<Cut, void, undefined> {
  const options = set.options
  const signal = events.signal
  const cutter = createCutter({ maxFiles: options.filesPerBundle, maxBytes: options.bundleBytes })
  await using links = await parts.catalog.openLinkStore()
  await using held = await parts.catalog.openHeld({ host: set.host, vaultId: set.vaultId })
  const walk = parts.source.walk({ roots: set.roots, leaveOut, ...options.walk }, signal ? { signal } : {})

  const tooLarge = ({ type, size }: PlannedEntry) => type === 'file' && set.maxFileBytes !== undefined && size > set.maxFileBytes
  const judged = async (page: WalkPage) => ({
    page,
    compared: await compare(
      held,
      page.entries.filter((entry) => !tooLarge(entry)),
      options.force,
    ),
  })
  // While one page is dealt with, the next is looked up.
  for await (const { page, compared } of oneAhead(walk, judged)) {
    signal?.throwIfAborted()
    for (const path of page.leftOut) events.onLeftOut?.(path)
    const problems = [...page.problems, ...page.entries.filter(tooLarge).map(({ path, size }) => largeProblem(path, size, set))]
    if (problems.length > 0) await events.problemsSeen(problems)
    let unchanged = 0
    const linked: PlannedEntry[] = []
    for (const found of compared) {
      const { entry } = found
      // A crawl that is done again leaves alone what its own bundles have, whatever became of the file since: nothing counts twice.
      if (found.setId !== undefined && found.setId === set.id) continue
      // In the plan of another set that is under way: counted like what is held, so that every file found is accounted for.
      if (found.is === 'live') unchanged += isFile(entry.type) ? 1 : 0
      else if (entry.type === 'file' && entry.nlink > 1) {
        linked.push(found.is === 'unchanged' ? { ...entry, unchanged: true, ...(found.held && { held: found.held }) } : entry)
      } else if (found.is === 'unchanged') unchanged += isFile(entry.type) ? 1 : 0
      else yield* cutter.add(entry)
    }
    if (linked.length > 0) await links.add(linked)
    await events.counted({ found: page.found, unchanged })
    events.onFound?.(page.found)
  }

  for await (const group of groupsOf(links.groups())) {
    signal?.throwIfAborted()
    if (group.every((entry) => entry.unchanged)) await events.counted({ found: 0, unchanged: group.length })
    else yield* cutter.addGroup(asLinks(group))
  }
  yield* cutter.finish()
}

const largeProblem = (path: Raw, size: number, { maxFileBytes, vaultId }: PlannedSet): Problem => ({
  path,
  kind: 'failed',
  reason: `has ${size} bytes, and ${vaultId} takes files of ${maxFileBytes} at most`,
})

/** `setId`: of the set whose bundle has this path, as it is now or as it was. */
type Compared = { readonly entry: PlannedEntry; readonly setId?: string } & (
  | { readonly is: 'new' }
  | { readonly is: 'live' }
  /** `bundles`: the one that lists it and the one that holds its bytes. */
  | { readonly is: 'unchanged'; readonly bundles: readonly string[]; readonly held?: HeldBytes }
)

/** Looks a page of the walk up in the catalog and says of each entry, in order, whether it must travel. */
export async function compare(
  held: Awaited<ReturnType<Catalog['openHeld']>>,
  entries: readonly PlannedEntry[],
  force: boolean,
): Promise<Compared[]> {
  if (force) return entries.map((entry) => ({ entry, is: 'new' }))
  const ranges = new Map<Raw, { directory: Raw; first: Raw; last: Raw }>()
  for (const { path } of entries) {
    const directory = parentOf(path)
    const name = nameOf(path)
    const range = ranges.get(directory)
    if (range === undefined) ranges.set(directory, { directory, first: name, last: name })
    else {
      if (name < range.first) range.first = name
      if (name > range.last) range.last = name
    }
  }
  const asked = [...ranges.values()]
  const answers = await held.lookup(asked)
  const versions = new Map<Raw, Map<Raw, HeldFile>>()
  asked.forEach((range, index) => {
    const files = answers[index] ?? []
    if (files.length > 0) versions.set(range.directory, new Map(files.map((file) => [file.name, file])))
  })
  return entries.map((entry) => judge(entry, versions.get(parentOf(entry.path))?.get(nameOf(entry.path))))
}

function judge(entry: PlannedEntry, known: HeldFile | undefined): Compared {
  if (known === undefined) return { entry, is: 'new' }
  const { setId, sha256, offset } = known
  // The size of a symlink or a directory says nothing.
  const sameSize = entry.type !== 'file' || known.size === entry.size
  if (!sameKind(entry, known) || !sameSize || known.mtimeNs !== entry.mtimeNs || known.state !== 'ok')
    return { entry, setId, is: 'new' }
  const held = sha256 === undefined || offset === undefined ? undefined : { bundle: known.dataBundle, offset, sha256 }
  if (known.ctimeNs === entry.ctimeNs && known.ino === entry.ino) {
    if (known.live) return { entry, setId, is: 'live' }
    return { entry, setId, is: 'unchanged', bundles: [known.bundle, known.dataBundle], ...(held && { held }) }
  }
  if (known.live || entry.type !== 'file' || held === undefined) return { entry, setId, is: 'new' }
  return { entry: { ...entry, held }, setId, is: 'new' }
}

const sameKind = (entry: PlannedEntry, held: HeldFile) =>
  entry.type === held.type || (entry.type === 'file' && held.type === 'hardlink')

/** Pages ordered by inode, cut where the inode changes. An inode has at most some ten thousand names: a group fits in memory. */
export async function* groupsOf(pages: AsyncIterable<readonly PlannedEntry[]>): AsyncGenerator<PlannedEntry[]> {
  let group: PlannedEntry[] = []
  for await (const page of pages) {
    for (const entry of page) {
      const first = group[0]
      if (first !== undefined && (first.dev !== entry.dev || first.ino !== entry.ino)) {
        yield group
        group = []
      }
      group.push(entry)
    }
  }
  if (group.length > 0) yield group
}

/** The first name carries the data, or says where the vault has them under any of the names; the others are links to it. */
function asLinks(group: readonly PlannedEntry[]): PlannedEntry[] {
  const first = group[0] as PlannedEntry
  const held = group.find((entry) => entry.held)?.held
  return group.map(({ held: _own, ...entry }, index) =>
    index === 0 ? { ...entry, ...(held && { held }) } : { ...entry, type: 'hardlink', link: first.path },
  )
}
