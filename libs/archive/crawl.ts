/**
 * The crawl: walk -> leave out what a stored bundle holds already -> cut into bundles -> catalog 'planned' -> wake a worker.
 * Nothing here grows with the tree: pages come from the walk, plans go to the catalog, hard links wait in the catalog's link store.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Cut, createCutter } from '#libs/bundle/cut.js'
import { isFile, type PlannedEntry, type Problem } from '#libs/bundle/entry.js'
import { encodePlan } from '#libs/bundle/plan.js'
import type { Catalog, SetRow } from '#libs/catalog/catalog.js'
import { oneAhead } from '#libs/os/one-ahead.js'
import { isWithin, type Raw } from '#libs/os/raw.js'
import { TreeAccess } from '#libs/os/tree-access.js'
import type { JobQueue } from '#libs/queue/queue.js'
import type { Vault } from '#libs/vault/vault.js'
import type { Source, WalkPage, WalkRequest } from '#libs/walk/source.js'
import { isWalkedBy } from '#libs/walk/tree/filters.js'
import { mayBeAside } from './aside.js'
import { type Compared, type ComparedPage, comparePage } from './compare.js'
import { type CrawlOptions, optionsFromJson } from './crawl-options.js'
import { goneNames } from './gone-names.js'
import { keepLease } from './keep-lease.js'
import { lookedDirectories, moreThanKept } from './kept-less.js'
import { crawledRoots, identitiesOf, marksOf, strangePlaces } from './root-sight.js'
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
    | 'askToCrawl'
    | 'crawlsBefore'
    | 'awaitBundles'
    | 'interruptedSets'
    | 'workers'
    | 'noteGone'
    | 'noteLooked'
    | 'asides'
    | 'wouldBeGone'
    | 'earlierMarks'
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
  /** Another crawl of the same files goes first. */
  readonly onTurn?: (setId: string) => void
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
  await waitForTurn(parts, set, lease.signal, options.onTurn)
  await catalog.restartCrawl(set.id)
  const crawlOptions = optionsFromJson(set.options)
  // First: what is exchanged from now on is seen by it.
  const marks = marksOf(set.roots)
  const strange = await strangePlaces(
    set.roots,
    catalog.earlierMarks(set.id, EARLIER_SETS),
    isWalkedBy({ roots: set.roots, leaveOut, ...crawlOptions.walk }),
  )
  const expected = strange.flatMap((place) => place.expected ?? [])
  await catalog.markRoots(set.id, owner, withExpected(marks, expected))
  const gone = goneNames(catalog, set, { strange, places: identitiesOf(marks) })
  const looked = lookedDirectories()
  const planned = {
    ...set,
    realRoots: crawledRoots({ marks }),
    options: crawlOptions,
    without: await abandonedSets(parts, set.host),
    maxFileBytes: maxFileBytes(await parts.vaults.open(set.vaultUrl)),
  }
  const counter = createCounter((more) => catalog.countCrawled(set.id, more))
  const plan = planSet(parts, planned, leaveOut, {
    ...options,
    signal: lease.signal,
    problemsSeen,
    counted: counter.add,
    awaited: (bundles) => catalog.awaitBundles(set.id, bundles),
    listed: async (page, { complete, looked: lookedAt }) => {
      const done = looked.done(page, lookedAt)
      if (done.length > 0) await catalog.noteLooked(set.id, done, crawlOptions.keep)
      const problems = await gone.note(page, complete)
      if (problems.length === 0) return
      await problemsSeen(problems)
      await counter.add({ found: problems.length, unchanged: 0, waiting: 0 })
    },
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
  await gone.flush()
  const still = gone.stillExpected()
  if (still.length < expected.length) await catalog.markRoots(set.id, owner, withExpected(marks, still))
  await catalog.markCrawled(set.id, owner)
}

const withExpected = (marks: Record<string, unknown>, expected: readonly unknown[]): Record<string, unknown> =>
  expected.length > 0 ? { ...marks, expected } : marks

/** How many sets back a place is looked for. */
const EARLIER_SETS = 100

/** Two crawls of one tree at once would each plan what the other does not hold yet. */
const TURN_MS = 200

async function waitForTurn(
  { catalog, owner, isGone }: CrawlParts,
  set: SetRow,
  signal: AbortSignal,
  onTurn: CrawlEvents['onTurn'],
): Promise<void> {
  const overlaps = (roots: readonly Raw[]) =>
    roots.some((one) => set.roots.some((root) => isWithin(one, root) || isWithin(root, one)))
  const told = new Set<string>()
  await catalog.askToCrawl(set.id, owner)
  for (;;) {
    const first = (await catalog.crawlsBefore(set.id, isGone)).find(({ roots }) => overlaps(roots))
    if (first === undefined) return
    if (!told.has(first.id)) onTurn?.(first.id)
    told.add(first.id)
    await sleep(TURN_MS, undefined, { signal })
  }
}

/** Sets that were interrupted, where no worker runs that would carry out their plans. */
async function abandonedSets({ catalog, isGone }: Pick<CrawlParts, 'catalog' | 'isGone'>, host: string): Promise<string[]> {
  if ((await catalog.workers(isGone)).some(({ roles }) => roles.includes('worker'))) return []
  return (await catalog.interruptedSets(host, isGone)).map(({ id }) => id)
}

interface Counts {
  readonly found: number
  readonly unchanged: number
  readonly waiting: number
}

const NOTHING: Counts = { found: 0, unchanged: 0, waiting: 0 }

/** Whoever watches a set need not see it grow more often. */
const COUNTED_EVERY_MS = 500

/** Adds up what is counted page by page: each time it is written the catalog waits for the disk. */
function createCounter(write: (more: Counts) => Promise<void>) {
  let counts: Counts = NOTHING
  let written = performance.now()
  const flush = async () => {
    const more = counts
    counts = NOTHING
    written = performance.now()
    await write(more)
  }
  return {
    async add({ found, unchanged, waiting }: Counts): Promise<void> {
      counts = { found: counts.found + found, unchanged: counts.unchanged + unchanged, waiting: counts.waiting + waiting }
      if (performance.now() - written >= COUNTED_EVERY_MS) await flush()
    },
    flush,
  }
}

/** What planning needs to know of a set; a dry run has no row for it. */
export type PlannedSet = Pick<SetRow, 'host' | 'roots' | 'vaultId'> & {
  readonly id?: string
  readonly options: CrawlOptions
  /** See `WalkRequest`. */
  readonly realRoots?: readonly (Raw | undefined)[]
  /** Sets whose plans nobody carries out: what is in them is planned here, too. */
  readonly without?: readonly string[]
  /** A larger file is a problem; files are never split. */
  readonly maxFileBytes?: number | undefined
}

export const walkRequest = (set: PlannedSet, leaveOut: readonly Raw[]): WalkRequest => ({
  roots: set.roots,
  ...(set.realRoots && { realRoots: set.realRoots }),
  leaveOut,
  ...set.options.walk,
})

/** What a tar has beside the data of its one file: head, manifest, padding. */
const AROUND_BYTES = 2 ** 20

/** The largest file that a vault can take, if it has a limit. */
export const maxFileBytes = ({ maxObjectBytes }: Pick<Vault, 'maxObjectBytes'>): number | undefined =>
  maxObjectBytes === undefined ? undefined : maxObjectBytes - AROUND_BYTES

interface PlanEvents extends CrawlEvents {
  readonly signal?: AbortSignal
  readonly problemsSeen: (problems: readonly Problem[]) => Promise<void>
  readonly counted: (more: Counts) => Promise<void>
  /** After a page: what is known of its directories. */
  readonly listed?: (page: WalkPage, known: Pick<ComparedPage, 'complete' | 'looked'>) => Promise<void>
  /** Bundles of other sets that hold what was found. */
  readonly awaited?: (bundles: readonly string[]) => Promise<void>
}

/** The bundles that a crawl makes, in order: everything but hard links as the walk finds it, then the groups of hard links. */
export async function* planSet(
  parts: Pick<CrawlParts, 'source'> & { catalog: Pick<Catalog, 'openHeld' | 'openLinkStore' | 'asides'> },
  set: PlannedSet,
  leaveOut: readonly Raw[],
  events: PlanEvents,
): AsyncGenerator<Cut, void, undefined> {
  const options = set.options
  const signal = events.signal
  const cutter = createCutter({ maxFiles: options.filesPerBundle, maxBytes: options.bundleBytes })
  await using links = await parts.catalog.openLinkStore()
  await using held = await parts.catalog.openHeld({
    host: set.host,
    vaultId: set.vaultId,
    ...(set.without && { without: set.without }),
    keep: options.keep,
  })
  using tree = new TreeAccess(set.roots, set.realRoots)
  const hasMore = moreThanKept(tree, options.keep)
  const walk = parts.source.walk(walkRequest(set, leaveOut), signal ? { signal } : {})

  const limit = set.maxFileBytes ?? Number.POSITIVE_INFINITY
  const judged = async (page: WalkPage) => ({
    page,
    ...(await comparePage(held, page, { force: options.force, limit, hasMore, ...(set.id !== undefined && { setId: set.id }) })),
  })
  // While one page is dealt with, the next is looked up.
  for await (const { page, tooLarge, compared, unchanged: alike, ...known } of oneAhead(walk, judged)) {
    signal?.throwIfAborted()
    await events.listed?.(page, known)
    for (const path of page.leftOut) events.onLeftOut?.(path)
    const problems = [...page.problems, ...tooLarge.map(({ path, size }) => largeProblem(path, size, set))]
    if (problems.length > 0) await events.problemsSeen(problems)
    let unchanged = alike
    let waiting = 0
    const awaited = new Set<string>()
    const linked: PlannedEntry[] = []
    const aside = await asidesAmong(parts.catalog, set.host, compared)
    for (const found of compared) {
      const { entry } = found
      if (aside.has(entry.path)) continue
      // A crawl that is done again leaves alone what its own bundles have, whatever became of the file since: nothing counts twice.
      if (found.setId !== undefined && found.setId === set.id) continue
      // In the plan of another set that is under way: whoever runs this one waits for it.
      if (found.is === 'live') {
        waiting += isFile(entry.type) ? 1 : 0
        awaited.add(found.bundle)
      } else if (entry.type === 'file' && entry.nlink > 1) {
        linked.push(found.is === 'unchanged' ? { ...entry, unchanged: true, ...(found.held && { held: found.held }) } : entry)
      } else if (found.is === 'unchanged') unchanged += isFile(entry.type) ? 1 : 0
      else yield* cutter.add(entry)
    }
    if (linked.length > 0) await links.add(linked)
    if (awaited.size > 0) await events.awaited?.([...awaited])
    await events.counted({ found: page.found - aside.size, unchanged, waiting })
    events.onFound?.(page.found - aside.size)
  }

  for await (const group of groupsOf(links.groups())) {
    signal?.throwIfAborted()
    if (group.every((entry) => entry.unchanged)) await events.counted({ found: 0, unchanged: group.length, waiting: 0 })
    else yield* cutter.addGroup(asLinks(group))
  }
  yield* cutter.finish()
}

/** Sources that another command is removing at this moment: they have a name of their own while it does. */
async function asidesAmong(
  catalog: Pick<Catalog, 'asides'>,
  host: string,
  compared: readonly Compared[],
): Promise<ReadonlySet<Raw>> {
  const found = compared.filter(({ entry }) => mayBeAside(entry.path))
  if (found.length === 0) return new Set()
  const known = new Set((await catalog.asides(host)).map(({ aside }) => aside))
  return new Set(found.map(({ entry }) => entry.path).filter((path) => known.has(path)))
}

const largeProblem = (path: Raw, size: number, { maxFileBytes, vaultId }: PlannedSet): Problem => ({
  path,
  kind: 'failed',
  reason: `has ${size} bytes, and ${vaultId} takes files of ${maxFileBytes} at most`,
})

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
