/** For suites: every real part of the story on a database, a vault and a tree of its own. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { openPacker } from '#libs/bundle/pack.js'
import type { BundleRow, Catalog, FileRow, Selection, SetRequest, SetRow } from '#libs/catalog/catalog.js'
import { migrate } from '#libs/catalog/migrate.js'
import { openCatalog } from '#libs/catalog/open-catalog.js'
import { rawFromText } from '#libs/os/raw.js'
import { openPostgresQueue } from '#libs/queue/postgres/postgres-queue.js'
import type { JobQueue } from '#libs/queue/queue.js'
import { openRedisQueue } from '#libs/queue/redis/redis-queue.js'
import { openSearchIndex } from '#libs/search/open-index.js'
import { openLocalVault } from '#libs/vault/local/local-vault.js'
import type { Vault } from '#libs/vault/vault.js'
import { openTreeSource } from '#libs/walk/tree/tree-source.js'
import { scratchDatabase } from '../../test/database.js'
import { type ArchiveRunOptions, archiveRun } from './archive-run.js'
import { checkVault, type Finding } from './check.js'
import { type CrawlOptions, optionsToJson } from './crawl-options.js'
import { consentTo, offerFor } from './offer.js'
import { claimVault } from './own-vault.js'
import { agree, openRetrieval, type RetrieveOptions, type RetrieveRequest, retrieve } from './retrieve.js'

export interface ScratchStory extends AsyncDisposable {
  readonly directory: string
  /** Of the story's own database. */
  readonly databaseUrl: string
  /** Where the vault's objects lie. */
  readonly vaultDirectory: string
  readonly catalog: Catalog
  /** The vault itself, unwrapped. */
  readonly vault: Vault
  readonly parts: ReturnType<typeof partsOf>
  /** What `vaults.open` gives from now on. */
  wrap(wrapper: (vault: Vault) => Vault): void
  /** As after a crash: this process is another now, and the one before is gone. */
  rebirth(): void
  path(...names: string[]): string
  /** Files of the tree by name and content; returns its root. */
  tree(name: string, files: Readonly<Record<string, string | Buffer>>): string
  /** As a run does before it makes a set: for tests that make sets themselves. */
  claim(): Promise<void>
  request(roots: readonly string[], more?: Partial<CrawlOptions>, facts?: { description?: string; tags?: string[] }): SetRequest
  archive(request: SetRequest, options?: Partial<ArchiveRunOptions>): Promise<SetRow>
  bundlesOf(set: Pick<SetRow, 'id'>): Promise<BundleRow[]>
  select(selection: Selection): Promise<FileRow[]>
  check(readData?: boolean): Promise<Finding[]>
  retrieve(wish: RetrieveWish, options?: Partial<RetrieveOptions>): ReturnType<typeof retrieve>
  /** Hidden files in the vault: what uploads left behind. */
  leftovers(): string[]
  tars(): string[]
}

/** What a suite leaves out of a request for files back is the command's default. */
export interface RetrieveWish extends Partial<RetrieveRequest> {
  readonly to: string
  readonly maxUsd?: number
}

export interface StoryOptions {
  /** Default: a local one in `vaultDirectory`. Closed with the story. */
  readonly vault?: Vault
  readonly vaultDirectory?: string
  readonly thawSeconds?: number
  readonly now?: () => number
  readonly packers?: number
  /** A Redis for the queue, instead of the story's own database. */
  readonly redisUrl?: string
  /** How long a job stays a silent worker's, in Redis. */
  readonly lockDurationMs?: number
}

export async function openStory(options: StoryOptions = {}): Promise<ScratchStory> {
  const directory = mkdtempSync(join(tmpdir(), 'firn-story-'))
  const vaultDirectory = options.vaultDirectory ?? join(directory, 'vault')
  const { url, drop } = await scratchDatabase()
  await migrate(url)
  const catalog = await openCatalog({ url, poolSize: 10 })
  const { redisUrl, lockDurationMs } = options
  const queue = redisUrl
    ? await openRedisQueue({ url: redisUrl, onError: () => {}, ...(lockDurationMs !== undefined && { lockDurationMs }) })
    : await openPostgresQueue({ url, onError: () => {}, retryDelayMs: 20 })
  const index = await openSearchIndex(url)
  const { thawSeconds, now } = options
  const vault =
    options.vault ??
    openLocalVault({
      directory: vaultDirectory,
      ...(thawSeconds !== undefined && { thawSeconds }),
      ...(now && { now }),
    })
  const packer = openPacker({ threads: options.packers ?? 2 })
  const parts = partsOf({ catalog, queue, index, packer, vault })

  const story: ScratchStory = {
    directory,
    databaseUrl: url,
    vaultDirectory,
    catalog,
    vault,
    parts,
    wrap: parts.wrap,
    rebirth: parts.rebirth,
    path: (...names) => join(directory, ...names),
    tree(name, files) {
      const root = join(directory, name)
      mkdirSync(root, { recursive: true })
      for (const [file, content] of Object.entries(files)) {
        mkdirSync(dirname(join(root, file)), { recursive: true })
        writeFileSync(join(root, file), content)
      }
      return root
    },
    async claim() {
      await vault.prepare()
      await claimVault(vault, { catalog })
    },
    request: (roots, more = {}, facts = {}) => ({
      host: 'alpha',
      roots: roots.map(rawFromText),
      description: facts.description ?? '',
      tags: facts.tags ?? [],
      options: optionsToJson({
        filesPerBundle: 1000,
        bundleBytes: 500_000_000,
        force: false,
        keep: { xattrs: 'none', cifs: false },
        walk: { recursive: true, oneFileSystem: false, include: [], exclude: [] },
        ...more,
      }),
      vaultUrl: vault.id,
      vaultId: vault.id,
    }),
    archive: (request, more = {}) =>
      archiveRun(parts, request, {
        signal: new AbortController().signal,
        workers: 2,
        leaveOut: [rawFromText(vaultDirectory)],
        detach: false,
        ...more,
      }),
    async bundlesOf(set) {
      const rows = await all(catalog.storedBundles(vault.id))
      return rows.filter(({ setId }) => setId === set.id)
    },
    select: (selection) => all(catalog.select(selection)),
    async check(readData = true) {
      const found: Finding[] = []
      for await (const finding of checkVault({ catalog }, vault, { readData })) found.push(finding)
      return found
    },
    retrieve: (wish, more) => retrieveWith(parts, wish, more),
    leftovers: () => vaultFiles(vaultDirectory).filter((name) => /(^|\/)\.[^/]*$/.test(name) && !name.endsWith('.thaw')),
    tars: () => vaultFiles(vaultDirectory).filter((name) => /(^|\/)[^./][^/]*\.tar$/.test(name)),
    async [Symbol.asyncDispose]() {
      await queue.close()
      await packer.close()
      await index.close()
      await vault.close()
      await catalog.close()
      await drop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
  return story
}

interface Opened {
  readonly catalog: Catalog
  readonly queue: JobQueue
  readonly index: Awaited<ReturnType<typeof openSearchIndex>>
  readonly packer: ReturnType<typeof openPacker>
  readonly vault: Vault
}

function partsOf({ vault, ...opened }: Opened) {
  let lives = 1
  let wrapped = vault
  return {
    ...opened,
    source: openTreeSource(),
    vaults: { open: async (_url: string): Promise<Vault> => wrapped },
    wakeRetriever: async () => {},
    get owner() {
      return `process-${lives}`
    },
    isGone: (owner: string) => /^process-\d+$/.test(owner) && owner !== `process-${lives}`,
    host: 'alpha',
    by: 'tester@alpha',
    alone: true,
    wrap(wrapper: (vault: Vault) => Vault) {
      wrapped = wrapper(vault)
    },
    rebirth() {
      lives++
    },
  }
}

/** What `find-and-retrieve --to` does from the selection to the restored files, with the command's defaults. */
export async function retrieveWith(
  parts: ScratchStory['parts'],
  { to, maxUsd, ...wish }: RetrieveWish,
  more: Partial<RetrieveOptions> = {},
): ReturnType<typeof retrieve> {
  const target = rawFromText(to)
  const retrieval = await openRetrieval(parts, { ...REQUEST, target, ...wish })
  if (retrieval === undefined) throw new Error('nothing matches')
  if (retrieval.agreedAt === undefined) await agree(parts, retrieval.id, consentTo(await offerFor(parts, retrieval), maxUsd))
  return retrieve(parts, retrieval.id, { target, checkSeconds: 1, ...more })
}

/** What the command asks for when no option says otherwise. */
export const REQUEST: Omit<RetrieveRequest, 'target'> = {
  selection: {},
  overwrite: false,
  setuid: false,
  wholeBundles: false,
  tier: 'standard',
  days: 1,
  detached: false,
}

export const never = (): boolean => false

export async function all<T>(pages: AsyncIterable<readonly T[]>): Promise<T[]> {
  const found: T[] = []
  for await (const page of pages) found.push(...page)
  return found
}

function vaultFiles(directory: string): string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' })
  } catch {
    return []
  }
}

/** So many small files, each with content of its own. */
export const smallFiles = (count: number, bytes = 100): Record<string, string> =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`d${Math.floor(i / 50)}/file-${i}.txt`, `${i} `.padEnd(bytes, `content of ${i} `)]),
  )

/** What must hold of every set that is over. */
export const isAccounted = ({ counts }: SetRow): boolean =>
  counts.found === counts.archived + counts.unchanged + counts.skipped + counts.failed
