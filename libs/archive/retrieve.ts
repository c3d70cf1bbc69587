/**
 * A retrieval from the request to the last file: what is needed of which bundle is written down first, then each bundle is thawed,
 * read, verified and placed. Interrupted at any moment, the same request goes on where it stood.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openPlacer, type PlaceOptions, type PlaceResult, type Placer } from '#libs/bundle/place.js'
import type { Catalog, Consent, ItemRow, Layout, LocatedRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import { jsonName, type Raw } from '#libs/os/raw.js'
import { severalAtOnce } from '#libs/os/several-at-once.js'
import type { ThawTier } from '#libs/vault/vault.js'
import { type FindRequest, type LocateParts, locateFiles } from './find.js'
import { directoriesAt } from './layout.js'
import { openKnown } from './own-vault.js'
import { restoreItem } from './restore-bundle.js'
import { RETRIEVER } from './retriever-duty.js'
import { isOpen, type ThawParts, thawItems } from './thaw-items.js'

export interface RetrieveRequest extends FindRequest {
  /** Absolute. Empty: the retriever's own restore directory. */
  readonly target: Raw
  readonly overwrite: boolean
  readonly setuid: boolean
  /** Every file of each bundle that holds a match. */
  readonly wholeBundles: boolean
  readonly tier: ThawTier
  readonly days: number
  readonly detached: boolean
}

export interface RetrieveParts extends LocateParts, Omit<ThawParts, 'catalog'> {
  /** One may be waiting already. */
  readonly placing?: PlaceOptions['threads']
  readonly catalog: LocateParts['catalog'] &
    ThawParts['catalog'] &
    Pick<
      Catalog,
      | 'openRetrieval'
      | 'createRetrieval'
      | 'dropRetrieval'
      | 'setLayout'
      | 'retrieval'
      | 'items'
      | 'itemRows'
      | 'leaseItem'
      | 'markItem'
      | 'finishRetrieval'
      | 'directories'
      | 'neededBundles'
      | 'entriesOf'
      | 'set'
      | 'agreeTo'
      | 'isOnDuty'
    >
  /** Who asks, for the audit: user@host. */
  readonly by: string
  /** Tells the retriever that there is something new. It may fail: the retriever looks by itself, later. */
  readonly wakeRetriever: () => Promise<void>
}

/**
 * The retrieval of this request: the one that is still open, else a new one, which nobody acts upon until it is agreed to. Undefined:
 * nothing matches.
 */
export async function openRetrieval(
  parts: RetrieveParts,
  request: RetrieveRequest,
  options: { signal?: AbortSignal } = {},
): Promise<RetrievalRow | undefined> {
  const { catalog } = parts
  const asked = { request: requestToJson(request), target: request.target, detached: request.detached }
  const open = await catalog.openRetrieval(asked)
  if (open !== undefined) return open

  const hosts = new Set<string>()
  const found = locateFiles(parts, { ...request, selection: { ...request.selection, directories: true } }, options)
  const rows = request.wholeBundles ? wholeBundles(parts, found) : found
  const created = await catalog.createRetrieval(
    asked,
    noting(rows, (row) => hosts.add(row.host)),
    { awayOf: (vaultIds) => awayAmong(parts, vaultIds, options) },
  )
  if (hosts.size === 0) {
    await catalog.dropRetrieval(created.id)
    return undefined
  }
  const layout: Layout = request.selection.allVersions ? 'set' : hosts.size > 1 ? 'host' : 'path'
  await catalog.setLayout(created.id, layout, hosts.size === 1 ? [...hosts][0] : undefined)
  return catalog.retrieval(created.id)
}

/** Which of these vaults give nothing now. */
async function awayAmong(
  parts: RetrieveParts,
  vaultIds: readonly string[],
  options: { signal?: AbortSignal },
): Promise<string[]> {
  const away: string[] = []
  for (const id of vaultIds) {
    try {
      await openKnown(parts, id, options)
    } catch (error) {
      if (!isFirnError(error, 'vault-away', 'vault-refused')) throw error
      away.push(id)
    }
  }
  return away
}

/** From now on the retrieval may be acted upon, and pay for thaws as far as was agreed. */
export async function agree(parts: RetrieveParts, id: string, consent: Consent): Promise<RetrievalRow> {
  const agreed = await parts.catalog.agreeTo(id, consent, parts.by)
  await parts.wakeRetriever().catch(() => {})
  return agreed
}

async function* noting<T>(pages: AsyncIterable<readonly T[]>, note: (row: T) => void): AsyncGenerator<readonly T[]> {
  for await (const page of pages) {
    for (const row of page) note(row)
    yield page
  }
}

/** What travelled with each match; its bytes may lie in another bundle still. */
async function* wholeBundles(
  parts: RetrieveParts,
  found: AsyncIterable<readonly LocatedRow[]>,
): AsyncGenerator<readonly LocatedRow[]> {
  for await (const page of parts.catalog.neededBundles(asListed(found))) {
    for (const { bundle } of page) yield await parts.catalog.entriesOf(bundle.number)
  }
}

/** Rows as if their bytes lay where they are listed. */
async function* asListed(pages: AsyncIterable<readonly LocatedRow[]>): AsyncGenerator<readonly LocatedRow[]> {
  for await (const page of pages) yield page.map(({ dataBundle: _elsewhere, ...row }) => row)
}

/** What tells the same request again. */
function requestToJson(request: RetrieveRequest): Record<string, unknown> {
  const { archiveIds, paths, setIds, host, asOf, gone, allVersions } = request.selection
  return {
    ...(request.query !== undefined && { query: request.query }),
    ...(archiveIds?.length && { archiveIds }),
    ...(paths?.length && { paths: paths.map((path) => jsonName('path', path)) }),
    ...(setIds?.length && { setIds }),
    ...(host !== undefined && { host }),
    ...(asOf && { asOf: asOf.toISOString() }),
    ...(asOf && gone && { gone }),
    ...(allVersions && { allVersions }),
    overwrite: request.overwrite,
    setuid: request.setuid,
    wholeBundles: request.wholeBundles,
    tier: request.tier,
    days: request.days,
  }
}

export interface RetrieveEvents {
  readonly onResults?: (results: readonly PlaceResult[]) => void
  readonly onItemFailed?: (item: ItemRow, reason: string) => void
  /** Some files of an item that was read: each was among the results. */
  readonly onFilesFailed?: (item: ItemRow) => void
  /** A vault that does not answer now: it is tried again. */
  readonly onTrouble?: (vaultId: string, reason: string) => void
  /** Nothing can be read at the moment: how many bundles thaw, and when the next one is expected. */
  readonly onWaiting?: (thawing: number, expectedAt: Date | undefined) => void
}

export interface RetrieveOptions extends RetrieveEvents {
  readonly signal?: AbortSignal
  /** Where to place files: the retrieval's own target, or below the retriever's directory. */
  readonly target: Raw
  /** The longest time between two looks at a thaw. */
  readonly checkSeconds: number
}

/** Between two looks at the catalog while a retriever watches the vaults. */
const POLL_MS = 1_000
/** While the files of one item are placed, the rows of another are looked up, and the bytes of a third are on their way. */
const ITEMS_AT_ONCE = 3
/** A read that failed for now, or an item that another process is at, is tried again so soon. */
const SOON_MS = 2_000

/** Carries a retrieval to its end: thaws, waits, fetches, verifies, places. */
export async function retrieve(parts: RetrieveParts, id: string, options: RetrieveOptions): Promise<RetrievalRow> {
  const { catalog } = parts
  const { signal } = options
  const retrieval = await mustFind(catalog, id)
  const { overwrite, setuid } = retrieval.request as { overwrite: boolean; setuid: boolean }
  const threads = parts.placing && { threads: parts.placing }
  const placer = await openPlacer({ target: options.target, retrievalId: id, overwrite, setuid, ...threads })
  const tries = new Map<string, number>()
  const told = new Set<string>()
  const own: RetrieveOptions = {
    ...options,
    onItemFailed: (item, reason) => {
      told.add(item.id)
      options.onItemFailed?.(item, reason)
    },
    onFilesFailed: ({ id: itemId }) => told.add(itemId),
  }
  try {
    for (let first = true; ; first = false) {
      // A retriever that watches spares the vault a second look; without one the command looks for itself.
      const lookedAt = Date.now()
      const watched = await catalog.isOnDuty(RETRIEVER, parts.isGone)
      const round =
        watched && !first && !(await hasReady(catalog, id))
          ? undefined
          : await retrieveReady(parts, retrieval, placer, { ...own, watched, tries })
      if (round?.open === 0) break
      if (round) options.onWaiting?.(round.open, round.nextAt)
      await sleep(
        watched ? POLL_MS : untilNextLook(round?.nextAt, lookedAt, options.checkSeconds * 1000),
        undefined,
        signal ? { signal } : {},
      )
    }
    await placer.finish((paths) => directoriesAt(catalog, retrieval, paths), signal ? { signal } : {})
  } finally {
    await placer.close()
  }
  for await (const { item, reason } of failedItems(catalog, id)) if (!told.has(item.id)) options.onItemFailed?.(item, reason)
  return catalog.finishRetrieval(id)
}

/** What could not be brought back, and why: found out by this process, by an earlier one, or by the retriever. */
export async function* failedItems(
  catalog: Pick<Catalog, 'items'>,
  retrievalId: string,
): AsyncGenerator<{ readonly item: ItemRow; readonly reason: string }> {
  for await (const page of catalog.items(retrievalId)) {
    for (const item of page) {
      if (item.state === 'failed' || item.state === 'expired') yield { item, reason: item.reason ?? item.state }
    }
  }
}

/** Whether there is something to do: one cheap question, however many items wait. */
async function hasReady(catalog: Pick<Catalog, 'retrieval'>, id: string): Promise<boolean> {
  const { items } = await mustFind(catalog, id)
  return items.ready + items.fetching > 0 || items.requested + items.thawing === 0
}

export interface RoundOptions extends RetrieveEvents {
  readonly signal?: AbortSignal
  /** A retriever asks for thaws and watches them: only what it found ready is fetched. */
  readonly watched: boolean
  /** How often each item was read in vain. */
  readonly tries: Map<string, number>
}

/** One look at every open item: asks for thaws where nobody else does, and fetches what is ready. Says what is still open. */
export async function retrieveReady(
  parts: RetrieveParts,
  retrieval: RetrievalRow,
  placer: Placer,
  options: RoundOptions,
): Promise<{ open: number; nextAt: Date | undefined }> {
  let open = 0
  let nextAt: Date | undefined
  const expect = (at: Date | undefined) => {
    open++
    if (at && (nextAt === undefined || at < nextAt)) nextAt = at
  }
  for await (const page of parts.catalog.items(retrieval.id)) {
    const asked = page.filter((item) => isOpen(item.state))
    const thaws = options.watched
      ? asked.map(asTheRetrieverSays)
      : await thawItems(parts, () => retrieval, asked, { ...options, asksAgain: () => true })
    for (const { ready, readyAt } of thaws) if (!ready) expect(readyAt)
    const items = thaws.filter(({ ready }) => ready).map(({ item }) => item)
    await severalAtOnce(items, ITEMS_AT_ONCE, async (item) => {
      options.signal?.throwIfAborted()
      if (!(await restoreItem(parts, retrieval, item, placer, options))) expect(new Date(Date.now() + SOON_MS))
    })
  }
  return { open, nextAt }
}

const asTheRetrieverSays = (item: ItemRow) => ({
  item,
  ready: item.state === 'ready' || item.state === 'fetching' || item.bytes === 0,
  ...(item.readyAt && { readyAt: item.readyAt }),
})

/**
 * Milliseconds: the longest, or until a moment after something is expected. What had been expected before the look, and was not there,
 * says nothing of when it will be.
 */
export function untilNextLook(nextAt: Date | undefined, lookedAt: number, longestMs: number): number {
  if (nextAt === undefined || nextAt.getTime() <= lookedAt) return longestMs
  return Math.min(longestMs, Math.max(nextAt.getTime() - Date.now(), 0) + 50)
}

async function mustFind(catalog: Pick<Catalog, 'retrieval'>, id: string): Promise<RetrievalRow> {
  const retrieval = await catalog.retrieval(id)
  if (retrieval === undefined) throw new Error(`retrieval ${id} is not in the catalog`)
  return retrieval
}
