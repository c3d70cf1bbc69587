/**
 * The catalog: the truth about sets, bundles, files and retrievals, in Postgres. Its verbs are what happens in the business; rows,
 * Prisma's types and SQL end here. Numbers that can pass 2^53 are bigint, names are `Raw`, hashes are hex, times are Dates or ns.
 *
 * Each verb is one transaction, may be called twice, and throws a FirnError: `database` (retry), `lease-lost` (the caller must stop).
 * All clocks are the database's.
 */
import type { Entry, PlannedEntry, Problem } from '#libs/bundle/entry.js'
import type { NameRange } from '#libs/bundle/name-ranges.js'
import type { RecordPart } from '#libs/bundle/set-record.js'
import type { Keep } from '#libs/bundle/xattrs.js'
import type { Raw } from '#libs/os/raw.js'

export interface Catalog extends CrawlVerbs, BundleVerbs, FindVerbs, RetrievalVerbs, UpkeepVerbs, WorkerVerbs, AuditVerbs {
  /** A random id made with the database: whose vaults are these? */
  readonly catalogId: string
  close(): Promise<void>
}

// ------------------------------------------------------------------------------------------------ sets and the crawl

export type SetState = 'crawling' | 'archiving' | 'archived' | 'partial' | 'failed' | 'cancelled'

/** What a set was asked to be; enough to crawl it again after an interruption. JSON-safe but for the roots. */
export interface SetRequest {
  readonly host: string
  /** Absolute. */
  readonly roots: readonly Raw[]
  readonly description: string
  readonly tags: readonly string[]
  /** The crawl's own options (filters with absolute times, limits, force ...), as JSON. */
  readonly options: Readonly<Record<string, unknown>>
  /** `vault` as given, with its options; `vaultId` names it (see Vault.id). */
  readonly vaultUrl: string
  readonly vaultId: string
}

export interface SetRow extends SetRequest {
  readonly id: string
  readonly state: SetState
  readonly startedAt: Date
  readonly finishedAt?: Date
  /** Why it was ended by force. */
  readonly reason?: string
  /** What its roots looked like to the crawler, as JSON. */
  readonly marks?: Readonly<Record<string, unknown>>
  /** How many records its vault holds of it, and the state that the last one says: '' where the first is still due. */
  readonly records: number
  /** Undefined of sets of versions that wrote none. */
  readonly recorded?: string
  readonly counts: SetCounts
}

/** Files are regular files, hard links, symlinks (and skipped special files in `found`); directories are in none of them. */
export interface SetCounts {
  readonly found: number
  readonly archived: number
  readonly unchanged: number
  /** In bundles of other sets that were not stored when this one was crawled; unchanged once they are. */
  readonly waiting: number
  /** Files that earlier sets archived and this crawl did not find any more. */
  readonly gone: number
  readonly skipped: number
  readonly failed: number
  readonly changed: number
  /** Planned so far, whatever became of them since. */
  readonly bundles: number
  readonly bundlesStored: number
  readonly bundlesFailed: number
  /** File bytes of stored bundles of this set. */
  readonly bytes: number
  /** File bytes planned so far: what `bytes` grows towards. */
  readonly plannedBytes: number
  readonly plannedFiles: number
}

/** A file as a stored bundle holds it, for the question "is it unchanged?". */
export interface HeldFile {
  readonly type: Entry['type']
  readonly size: number
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly ino: bigint
  readonly state: Entry['state']
  readonly fresh?: boolean
  readonly sha256?: string
  /** Id of the bundle that lists it. */
  readonly bundle: string
  /** Id of the bundle that holds the bytes (itself, or where it points to), and where in it. */
  readonly dataBundle: string
  readonly offset?: number
  /** Of the set that planned or stored it. */
  readonly setId: string
  /** Not stored yet: in the plan of a live bundle. */
  readonly live: boolean
  /** It was not there when a crawl looked since then. */
  readonly gone?: boolean
  /** What its set kept of it, where that is less than what is asked for, and nobody looked since then whether there is more. */
  readonly keptLess?: Keep
}

/** What was found in a directory that was listed: all names between two bounds. */
export interface FoundNames {
  readonly directory: Raw
  /** The name before the first; undefined from the directory's beginning. */
  readonly after?: Raw
  /** Inclusive; undefined to its end. */
  readonly last?: Raw
  readonly names: readonly FoundName[]
  /** When it was listed, by `process.hrtime`, ms. */
  readonly listedAt: number
}

export interface FoundName {
  readonly name: Raw
  /** Undefined where nobody looked. */
  readonly isDirectory?: boolean
  /** The crawl archives it, if it is not archived yet: what it was before is then told by its new version. */
  readonly isArchived?: boolean
}

/** A file that is being removed under another name. */
export interface Aside {
  readonly path: Raw
  /** What it is called meanwhile. */
  readonly aside: Raw
}

/** A name that a set did not find any more, or that it removed. */
export interface GoneName {
  readonly path: Raw
  readonly at: Date
  readonly removed: boolean
}

export interface HeldLookup extends AsyncDisposable {
  /**
   * Of each path: its newest version in `stored` bundles (whose `dataBundle` is `stored` too), or in the plans of bundles that were
   * `planned` or `packing` (of any set) when the session began. One answer for each, in the order asked.
   */
  lookup(paths: readonly Raw[]): Promise<readonly (HeldFile | undefined)[]>
  /**
   * The same question about whole ranges, an answer for each in the order asked. `same`: exactly these entries are held, each in one version,
   * as they are, in `stored` bundles of other sets than `setId`. `none`: nothing was ever archived under these names. `look`: ask `lookup`.
   * `wholes`: directories whose range is all that they hold; of them `none` means that nothing of them was ever archived, and `whole` is
   * `same` where, besides, no vault holds another name of the directory that is not known to be gone.
   */
  match(
    ranges: readonly NameRange[],
    options?: { setId?: string | undefined; wholes?: ReadonlySet<Raw> },
  ): Promise<readonly ('whole' | 'same' | 'none' | 'look')[]>
}

export interface CrawlVerbs {
  createSet(request: SetRequest, owner: string): Promise<SetRow>
  set(id: string): Promise<SetRow | undefined>
  /** Newest first. */
  sets(filter?: { limit?: number }): Promise<SetRow[]>

  /** Sets of this host that are `crawling` or `archiving` and whose crawl lease is free (expired, or its owner `isGone`). */
  interruptedSets(host: string, isGone: (owner: string) => boolean): Promise<SetRow[]>
  /** Takes (or keeps) the crawl lease for 60 s. False: somebody else has it. */
  leaseSet(id: string, owner: string, isGone: (owner: string) => boolean): Promise<boolean>
  releaseSet(id: string, owner: string): Promise<void>

  /**
   * Of sets of one host whose crawls overlap one goes first: who asked first. To be called before each crawl, also of a set that was
   * interrupted.
   */
  askToCrawl(setId: string, owner: string): Promise<void>
  /** The others that asked before, are `crawling`, and are held by somebody who is not gone. */
  crawlsBefore(setId: string, isGone: (owner: string) => boolean): Promise<Pick<SetRow, 'id' | 'roots'>[]>

  /**
   * A session of look-ups for one crawl: what does this vault hold of this host already? Plans of the sets `without` count for nothing. `keep`:
   * what shall be kept of each entry; default: it does not matter.
   */
  openHeld(where: { host: string; vaultId: string; without?: readonly string[]; keep?: Keep }): Promise<HeldLookup>
  /** Whoever keeps this much looked at all that is in these directories of the set's host: the vault holds all that there is. */
  noteLooked(setId: string, directories: readonly Raw[], keep: Keep): Promise<void>

  /** Sets aside entries with several names (hard links), out of memory, until the walk is over. Private to the calling session. */
  openLinkStore(): Promise<LinkStore>

  /** A bundle with its plan, `planned`; returns its id. Refused with `lease-lost` when the set's crawl lease is not the owner's. */
  planBundle(setId: string, owner: string, plan: BundlePlan): Promise<string>

  recordProblems(setId: string, problems: readonly Problem[]): Promise<void>
  /** Pages of problems of a set, in the order recorded. */
  problems(setId: string): AsyncIterable<readonly RecordedProblem[]>
  /** Pages of the bundles of a set, in the order planned. */
  bundlesOf(setId: string): AsyncIterable<readonly BundleRow[]>
  /** The n-th record of a set is in its vault, and says this state. */
  markRecorded(setId: string, n: number, state: SetState): Promise<void>
  /** Sets that are over, and whose last record says another state; nobody works at them. The oldest first, 100 at most. */
  unrecordedSets(isGone: (owner: string) => boolean): Promise<SetRow[]>

  /** Adds to the counters that only the crawl knows. */
  countCrawled(setId: string, more: { found: number; unchanged: number; waiting: number }): Promise<void>
  /** Bundles of other sets, by id, that hold files which this one found. */
  awaitBundles(setId: string, bundles: readonly string[]): Promise<void>
  awaitedBundles(setId: string): Promise<AwaitedBundle[]>
  /** All of them are stored: what waited is unchanged. */
  endAwaiting(setId: string): Promise<void>
  /** To be crawled once more, from `archiving`. Refused like `planBundle`. */
  reopenCrawl(setId: string, owner: string): Promise<void>
  /** Notes that what the newest state of the set's host holds in these directories, in any vault, and was not found, is gone since then. */
  noteGone(setId: string, listings: readonly FoundNames[]): Promise<void>
  /** Of each listing, whether anything would be. */
  wouldBeGone(setId: string, listings: readonly FoundNames[]): Promise<boolean[]>
  /** Notes what is about to be removed because it is archived: it is not gone. */
  noteRemoved(setId: string, paths: readonly Raw[]): Promise<void>
  /** Of them, what was kept after all. */
  forgetRemoved(setId: string, paths: readonly Raw[]): Promise<void>
  /** Notes that the owner is about to remove a file of a host under another name. */
  noteAside(host: string, owner: string, file: Aside): Promise<void>
  /** It has its name again, or is removed. */
  forgetAside(host: string, aside: Raw): Promise<void>
  /** Those of a host; with `isGone` only those whose owner is. */
  asides(host: string, isGone?: (owner: string) => boolean): Promise<Aside[]>
  /** Pages of what a set found gone, and of what it removed. */
  goneNames(setId: string): AsyncIterable<readonly GoneName[]>
  /** Sets of a host that were crawled before this one, the newest first, one by one: what their roots looked like. */
  earlierMarks(setId: string, limit: number): AsyncIterable<Pick<SetRow, 'roots' | 'marks'>>
  /** Before an interrupted set is crawled again: its crawl counters begin at 0, problems of the crawl and `failed` ones are forgotten. */
  restartCrawl(setId: string): Promise<void>
  /** What the roots look like from where they are crawled. Refused like `planBundle`. */
  markRoots(setId: string, owner: string, marks: Readonly<Record<string, unknown>>): Promise<void>
  /** The walk is over: state `archiving`. */
  markCrawled(setId: string, owner: string): Promise<void>
  /**
   * If no bundle of the set is live any more: `archived` (no problem), `partial` (problems or some failed bundles), `failed`
   * (bundles, and none stored). Returns the set as it stands.
   */
  finishSet(setId: string): Promise<SetRow>
  /** The same for every set that nobody holds the lease of: whoever began it may be gone. */
  finishSets(isGone: (owner: string) => boolean): Promise<void>
  /** Ends a set by force: `failed`, with a reason (a root that is gone). */
  failSet(setId: string, reason: string): Promise<void>
  /**
   * Ends a set, whoever works at it: `cancelled`, and so are its bundles that are not stored. What is stored stays. A set that is over
   * stays as it is. Says how many bundles it cancelled; asked again, it cancels what a killed call left.
   */
  cancelSet(setId: string, reason: string): Promise<number>
}

export interface AwaitedBundle {
  readonly id: string
  readonly state: BundleState
  readonly setId: string
  /** Something of it was not archived as it stood. */
  readonly troubled: boolean
  /** Somebody holds the lease of its set, or of the bundle itself. */
  readonly holders: readonly string[]
}

/** `bundle`: the id of the one that met it, if one did. */
export type RecordedProblem = Problem & { readonly bundle?: string }

export interface LinkStore extends AsyncDisposable {
  /** With all that a PlannedEntry has, also `held` and `unchanged`. */
  add(entries: readonly PlannedEntry[]): Promise<void>
  /** By dev and inode, then by path: pages of whatever size, a group may go over several. */
  groups(): AsyncIterable<readonly PlannedEntry[]>
}

export interface BundlePlan {
  /** Made by `encodePlan`. */
  readonly plan: Uint8Array
  readonly files: number
  readonly entries: number
  readonly bytes: number
}

// ------------------------------------------------------------------------------------------------ bundles

export type BundleState = 'planned' | 'packing' | 'stored' | 'failed' | 'cancelled' | 'missing' | 'damaged'

export interface BundleRow {
  readonly id: string
  /** Counts up in this catalog; the first part of a file row's key. */
  readonly number: bigint
  readonly setId: string
  readonly vaultId: string
  readonly state: BundleState
  readonly indexed: boolean
  /** Files, entries and file bytes: as planned until stored, then as stored. */
  readonly files: number
  readonly entries: number
  readonly bytes: number
  /** Of the last attempt. */
  readonly attempt: number
  /** Since stored: */
  readonly key?: string
  readonly archiveId?: string
  readonly tarBytes?: number
  readonly tarSha256?: string
  /** How the vault names the bytes of a tar that was sent in parts (see Upload.checksum). */
  readonly checksum?: string
  /** It was found in the vault, and its bytes were not read back here since. */
  readonly adopted: boolean
  /** `created_at` of the manifest: when its files were archived. Orders versions of a path. */
  readonly archivedAt?: Date
  readonly reason?: string
}

export type LeaseAnswer =
  | {
      readonly kind: 'leased'
      readonly bundle: BundleRow
      readonly set: SetRow
      /** The epoch of this lease; it is the attempt. */
      readonly attempt: number
      /** By the database's clock, which is one for all workers: what tells which of two versions of a file is the newer one. */
      readonly leasedAt: Date
      readonly plan: Uint8Array
      /** Proves the manifests of this bundle's attempts (see `proofOf`). */
      readonly secret: Uint8Array
    }
  | { readonly kind: 'over'; readonly state: BundleState }
  /** Another attempt is at work; its lease ends then at the earliest. */
  | { readonly kind: 'busy'; readonly afterMs: number }

export interface StoredBundle {
  readonly key: string
  readonly archiveId: string
  readonly tarBytes: number
  readonly tarSha256: string
  readonly archivedAt: Date
  readonly checksum?: string | undefined
  /** See BundleRow. Default false. */
  readonly adopted?: boolean
  /** Lines of the manifest; those that are `void` get no row. `seq` of a row is its index here. */
  readonly entries: readonly Entry[] | EntryPages
}

/** The same, page by page, for manifests that are read from a vault: from the beginning at each call. What it throws undoes everything. */
export type EntryPages = () => AsyncIterable<readonly Entry[]>

export interface BundleVerbs {
  bundle(id: string): Promise<BundleRow | undefined>
  /** `planned`, or `packing` with a lease that is over (or whose owner `isGone`): becomes `packing` with attempt + 1, for 60 s. */
  leaseBundle(id: string, owner: string, isGone: (owner: string) => boolean): Promise<LeaseAnswer>
  renewBundle(id: string, attempt: number): Promise<void>
  /** ONE transaction, conditional on the lease: `stored`, its file rows, its problems. Throws `lease-lost`. */
  markStored(id: string, attempt: number, stored: StoredBundle, problems: readonly Problem[]): Promise<BundleRow>
  /** Gives the lease back: `planned` again, to be tried later. `unused`: nothing was begun, so the attempt does not count. */
  releaseBundle(id: string, attempt: number, options?: { unused?: boolean }): Promise<void>
  /** `failed`, with the reason, and a problem `failed` for each of its files. They are found again by the next crawl. */
  failBundle(id: string, attempt: number, reason: string): Promise<void>
  /**
   * Bundles `planned` or with a dead lease whose job may be lost, oldest first; `olderThanMs` since their last change. 5,000 at most.
   * `setId`: only of that set.
   */
  strandedBundles(olderThanMs: number, isGone: (owner: string) => boolean, setId?: string): Promise<string[]>
  /** Stored bundles that are not indexed. */
  unindexedBundles(limit: number): Promise<string[]>
  markIndexed(numbers: readonly bigint[]): Promise<void>
  /** Bundles of a set that are `planned` or `packing`, and those stored but not indexed; and whether the set was cancelled. */
  pendingBundles(setId: string): Promise<{ live: number; unindexed: number; cancelled: boolean }>
  /** Whether an attempt at this bundle is at work: `packing`, lease not over, owner not gone. */
  hasLiveLease(id: string, isGone: (owner: string) => boolean): Promise<boolean>
  /** Files (not directories) of a stored bundle, as the search index takes them. */
  indexableFiles(number: bigint): Promise<{ seq: number; path: Raw }[]>
  /** Files and hard links whose data lie in the bundle's own tar, in the order of their offsets, in pages. */
  filesByOffset(number: bigint): AsyncIterable<readonly FileRow[]>
  /** Every row of a stored bundle, in order of seq. */
  entriesOf(number: bigint): Promise<FileRow[]>
}

// ------------------------------------------------------------------------------------------------ find

/** A row of the catalog: an entry of a stored bundle, with where it lies. */
export interface FileRow extends Entry {
  readonly bundleNumber: bigint
  readonly seq: number
  readonly bundleId: string
  readonly setId: string
  readonly host: string
  readonly vaultId: string
  readonly archiveId: string
  readonly archivedAt: Date
  /** Since when it was not in the tree any more, where that was asked for. */
  readonly goneAt?: Date
}

/** Where a row lies, and how much it is. */
export type LocatedRow = Pick<
  FileRow,
  | 'bundleNumber'
  | 'seq'
  | 'bundleId'
  | 'setId'
  | 'host'
  | 'vaultId'
  | 'archiveId'
  | 'archivedAt'
  | 'goneAt'
  | 'path'
  | 'type'
  | 'size'
  | 'offset'
  | 'dataBundle'
>

export interface Selection {
  /** Bundle ids or the vaults' own archive ids. */
  readonly archiveIds?: readonly string[]
  /** Everything at or below; absolute. */
  readonly paths?: readonly Raw[]
  readonly setIds?: readonly string[]
  readonly host?: string
  /** The tree at that time: versions archived not later, of paths that were not gone by then. */
  readonly asOf?: Date
  /** What was gone by then too; rows say since when they are gone. Without `asOf`: gone by now. */
  readonly gone?: boolean
  readonly allVersions?: boolean
  /** Directories too (for restoring), or only files (for listing). */
  readonly directories?: boolean
}

export interface FindVerbs {
  /**
   * Pages of the rows that match, of each (host, path) the newest unless `allVersions` (then newest first); by host, then by the outermost
   * of the asked paths, then by directory and name in byte order, so a directory comes before what is in it.
   * Only bundles `stored` (also missing or damaged ones: their files are listed, and fail when they are fetched).
   */
  select(selection: Selection): AsyncIterable<readonly FileRow[]>

  /**
   * The same for candidates that a search index gave, page by page: of each (host, path) that occurs among them the newest version
   * that passes the selection and `matches`, emitted once over the whole stream (a version is emitted only for its own hit).
   */
  selectHits(
    hits: AsyncIterable<readonly { bundleNumber: bigint; seq: number }[]>,
    selection: Selection,
    matches: (row: { path: Raw; set: { id: string; description: string; tags: readonly string[] } }) => boolean,
  ): AsyncIterable<readonly FileRow[]>

  /** The rows that `select` gives, where no more is wanted of each than where it lies: reading all of a million rows takes its time. */
  locate(selection: Selection): AsyncIterable<readonly LocatedRow[]>
  /** The same of `selectHits`. */
  locateHits(...call: Parameters<FindVerbs['selectHits']>): AsyncIterable<readonly LocatedRow[]>

  /** The newest catalogued row of each directory path of that host not later than `asOf`; for modes of parents. */
  directories(host: string, paths: readonly Raw[], asOf?: Date): Promise<FileRow[]>
}

// ------------------------------------------------------------------------------------------------ retrievals

export type RetrievalState = 'requested' | 'thawing' | 'ready' | 'fetching' | 'done' | 'failed' | 'expired'

export interface RetrievalRequest {
  /** JSON that tells the same request again (selection, target, options): asking it again goes on with the retrieval. */
  readonly request: Readonly<Record<string, unknown>>
  readonly target: Raw
  readonly detached: boolean
}

/** What thawing may cost, and the offer that a person said yes to (or that cost nothing). */
export interface Consent {
  /** All thaws of the retrieval together. */
  readonly thawLimitUsd: number
  /** What it is expected to cost, all together. */
  readonly usd: number
  /** The offer as it was made, for the record: JSON. */
  readonly offer: Readonly<Record<string, unknown>>
}

/** What was seen of the thaw of an item. Nothing changes where the item is no more in the state `seen`. */
export interface ItemChange {
  readonly id: string
  readonly seen: RetrievalState
  readonly state: RetrievalState
  readonly readyAt?: Date
  readonly expiresAt?: Date
  readonly reason?: string
  readonly filesFailed?: number
}

export interface RetrievalRow extends RetrievalRequest {
  readonly id: string
  /** Since when it may be acted upon: the price was agreed to, or there was none. */
  readonly agreedAt?: Date
  readonly consent?: Readonly<Record<string, unknown>>
  readonly thawLimitUsd: number
  readonly thawSpentUsd: number
  readonly state: RetrievalState
  readonly layout: Layout
  readonly host?: string
  readonly createdAt: Date
  readonly finishedAt?: Date
  readonly items: Readonly<Record<RetrievalState, number>>
  readonly files: number
  readonly bytes: number
  readonly filesRestored: number
  readonly filesFailed: number
  /** When the last thawing item is expected. */
  readonly expectedAt?: Date
}

/** What a retrieval needs of one bundle: the rows whose bytes lie in it (or that need none: directories and symlinks of it). */
export interface ItemRow {
  readonly id: string
  readonly retrievalId: string
  readonly bundle: BundleRow
  readonly state: RetrievalState
  readonly files: number
  readonly bytes: number
  readonly filesRestored: number
  readonly filesFailed: number
  readonly readyAt?: Date
  readonly expiresAt?: Date
  readonly reason?: string
  /** From the first byte that is needed of the tar to the last; undefined where none is. */
  readonly span?: { readonly offset: number; readonly length: number }
}

/** A bundle that a selection needs bytes of. */
export interface NeededBundle {
  readonly bundle: BundleRow
  readonly files: number
  /** File bytes. */
  readonly bytes: number
}

/** How restored paths lie below the target: as they were, below their host's name, or below their set's id. */
export type Layout = 'path' | 'host' | 'set'

export interface RetrievalVerbs {
  /** The bundles whose bytes these rows need, by vault and bundle number: grouped out of memory. */
  neededBundles(rows: AsyncIterable<readonly LocatedRow[]>): AsyncIterable<readonly NeededBundle[]>
  /** Fixed once all rows of a new retrieval are known. `host` where all rows are of one. */
  setLayout(retrievalId: string, layout: Layout, host: string | undefined): Promise<void>
  /** The retrieval of the same request that was agreed to and is not over, if there is one. */
  openRetrieval(request: RetrievalRequest): Promise<RetrievalRow | undefined>
  /**
   * Groups the rows by the bundle that holds their bytes, out of memory, in one transaction. One of no rows is `done` at once.
   * It is not agreed to yet; those that nobody agreed to for a day are dropped. `awayOf`: asked, where there are several vaults,
   * which of those that bytes are needed of give nothing now; what another vault holds just as it is (path, times, mode, owner, bytes) is to come from there.
   */
  createRetrieval(
    request: RetrievalRequest,
    rows: AsyncIterable<readonly LocatedRow[]>,
    options?: { awayOf?: (vaultIds: readonly string[]) => Promise<readonly string[]> },
  ): Promise<RetrievalRow>
  /** From now on it may be acted upon. */
  agreeTo(id: string, consent: Consent, by: string): Promise<RetrievalRow>
  /** Forgets a retrieval that was not agreed to. */
  dropRetrieval(id: string): Promise<void>
  /**
   * Charges the thaw that an item is about to ask for to its retrieval, once until the item thaws; false, and nothing charged, where
   * that is more than was agreed to.
   */
  charge(itemId: string, usd: number): Promise<boolean>
  /** Takes the charge back of a thaw that is not to be had. */
  uncharge(itemId: string): Promise<void>
  retrieval(id: string): Promise<RetrievalRow | undefined>
  retrievals(filter?: { limit?: number; open?: boolean }): Promise<RetrievalRow[]>
  items(retrievalId: string): AsyncIterable<readonly ItemRow[]>
  item(id: string): Promise<ItemRow | undefined>
  /** Rows of an item by offset, in pages; what shares an offset (the names of an inode) is never in two. What has none comes last. */
  itemRows(itemId: string): AsyncIterable<readonly FileRow[]>
  /** `fetching`, for the owner, for 60 s (again: renewed). False: done already, or somebody else's. */
  leaseItem(id: string, owner: string, isGone: (owner: string) => boolean): Promise<boolean>
  markItem(
    id: string,
    state: RetrievalState,
    detail?: { readyAt?: Date; expiresAt?: Date; reason?: string; filesRestored?: number; filesFailed?: number },
  ): Promise<void>
  /** The same for many at once, each only where it is still as it was seen. */
  changeItems(changes: readonly ItemChange[]): Promise<void>
  /** Claims the thaws of these bundles for 60 s (not again: see `renewThaws`), and says which it got. */
  claimThaws(bundles: readonly bigint[], owner: string, isGone: (owner: string) => boolean): Promise<ReadonlySet<bigint>>
  renewThaws(bundles: readonly bigint[], owner: string): Promise<void>
  releaseThaws(bundles: readonly bigint[], owner: string): Promise<void>
  /** Takes (or keeps) a duty for 60 s. False: somebody else has it. */
  takeDuty(name: string, owner: string, isGone: (owner: string) => boolean): Promise<boolean>
  leaveDuty(name: string, owner: string): Promise<void>
  /** Whether somebody has it at this moment. */
  isOnDuty(name: string, isGone: (owner: string) => boolean): Promise<boolean>
  /** Recomputes the state of the retrieval from its items; `finishedAt` when none is open. */
  finishRetrieval(id: string): Promise<RetrievalRow>
  /** Open items of detached retrievals (or of all) that were agreed to, for the retriever, in the order they were asked for. */
  openItems(filter: { detached: boolean }): AsyncIterable<readonly ItemRow[]>
}

// ------------------------------------------------------------------------------------------------ upkeep

export interface ManifestFacts {
  readonly bundleId: string
  readonly attempt: number
  readonly setId: string
  readonly host: string
  readonly roots: readonly Raw[]
  readonly description: string
  readonly tags: readonly string[]
  readonly setStartedAt: Date
  /** Its set ends with a record: until that is found, it counts as one that was interrupted. */
  readonly hasRecord: boolean
}

/** A set as its record tells it. `records`: the number of that record. */
export type RestoredSet = Omit<SetRow, 'vaultUrl' | 'vaultId' | 'state' | 'recorded'> & { readonly state: string }
export type RestoredSetPart = Exclude<RecordPart, { kind: 'header' }>

export interface KnownVault {
  readonly id: string
  /** With the options that it was last written with. */
  readonly url: string
  /** What its `firn-vault.json` must say; undefined of one that only an older version has written. */
  readonly uuid?: string
}

export interface UpkeepVerbs {
  /** Every bundle that was stored once (`stored`, `missing`, `damaged`), by key. */
  storedBundles(vaultId: string): AsyncIterable<readonly BundleRow[]>
  /** What check found. `stored` heals what it had marked. */
  markChecked(id: string, state: 'stored' | 'missing' | 'damaged', reason?: string): Promise<void>
  /** Which of these bundle ids the catalog knows, in which state and attempt. */
  knownBundles(ids: readonly string[]): Promise<Map<string, BundleRow>>
  /** The secret of a bundle that is known and not stored; undefined if it has none. */
  attemptSecret(id: string): Promise<Uint8Array | undefined>
  /** The bytes of an adopted bundle were read back here, and are right. */
  markReadBack(id: string): Promise<void>
  /** Rebuild: set and bundle as the manifest tells them. Known already as stored: nothing changes, false. */
  adoptBundle(facts: ManifestFacts, vault: { url: string; id: string }, stored: StoredBundle): Promise<boolean>
  /**
   * Rebuild: the set as its record tells it, with its bundles that were never stored, its problems, and what was gone. A set that this catalog
   * did not rebuild stays as it is: false. `parts` is read once, from the beginning at each call; what it throws undoes everything.
   */
  restoreSet(set: RestoredSet, vault: { url: string; id: string }, parts: () => AsyncIterable<RestoredSetPart>): Promise<boolean>
  /**
   * Gives back what the plans of bundles took that are stored by now: a fifth of a catalog, and as much again for each crawl that plans
   * faster than workers store. A server that only runs with short commands would come to it late, or never.
   */
  reclaimPlans(): Promise<void>
  /** Forget what is indexed: every stored bundle is to be indexed again. */
  forgetIndexed(): Promise<void>
  /** A vault that something was written to, or adopted from. */
  knownVault(vaultId: string): Promise<KnownVault | undefined>
  /** From now on the catalog knows the vault, and that it shows this UUID, unless it knew another one. Returns the one that counts. */
  recogniseVault(vault: { id: string; url: string }, uuid: string, options?: { anew?: boolean }): Promise<string>
  vaults(): Promise<(KnownVault & { bundles: number; bytes: number })[]>
  totals(): Promise<{ sets: number; bundles: number; files: number; bytes: number; databaseBytes: number }>
}

// ------------------------------------------------------------------------------------------------ workers

/** A daemon that lives: the command that asks for work can say whether anybody will do it. */
export interface WorkerRow {
  readonly owner: string
  /** The name it works under (FIRN_HOST). */
  readonly host: string
  readonly roles: readonly WorkerRole[]
  readonly startedAt: Date
  readonly seenAt: Date
}

export type WorkerRole = 'worker' | 'retriever'

export interface WorkerVerbs {
  /** Says that this process lives, for a minute; forgets those that were not seen for a day. */
  showWorker(worker: Pick<WorkerRow, 'owner' | 'host' | 'roles'>): Promise<void>
  /** It ends in good order. */
  forgetWorker(owner: string): Promise<void>
  /** Seen within the last minute, and not gone; the oldest first. */
  workers(isGone: (owner: string) => boolean): Promise<WorkerRow[]>
}

// ------------------------------------------------------------------------------------------------ the audit

export type AuditKind = 'retrieval' | 'deletion' | 'take-over'

/** Who did what that matters afterwards. No verb removes a row. */
export interface AuditRow {
  readonly number: bigint
  readonly at: Date
  readonly kind: AuditKind
  /** user@host. */
  readonly by: string
  /** The id of the retrieval, the set or the vault. */
  readonly subject: string
  /** JSON: the request, the roots, the owner before. */
  readonly detail: Readonly<Record<string, unknown>>
  readonly files: number
  readonly bytes: number
  readonly usd: number
}

export interface AuditVerbs {
  /** Returns the row's number. Retrievals are added when they are agreed to. */
  audit(
    entry: Pick<AuditRow, 'kind' | 'by' | 'subject' | 'detail'> & Partial<Pick<AuditRow, 'files' | 'bytes' | 'usd'>>,
  ): Promise<bigint>
  /** What came of it. */
  countAudited(number: bigint, counts: { files: number; bytes: number }): Promise<void>
  /** Newest first. */
  audits(options: { limit: number }): Promise<AuditRow[]>
}
