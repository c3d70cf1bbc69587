/**
 * The one place where concrete adapters meet: everything the story needs, opened when it is first asked for and closed last first.
 * Nothing below asks whether this is embedded or distributed; only the values differ.
 */
import { existsSync } from 'node:fs'
import { RETRIEVER } from '#libs/archive/retriever-duty.js'
import type { Vaults } from '#libs/archive/vaults.js'
import { openPacker, type Packer } from '#libs/bundle/pack.js'
import { placingThreads } from '#libs/bundle/place.js'
import type { Catalog } from '#libs/catalog/catalog.js'
import { isOwnerGone, thisOwner } from '#libs/os/owner.js'
import { type Raw, rawFromText } from '#libs/os/raw.js'
import { withSteps } from '#libs/os/steps.js'
import type { ThreadStarter } from '#libs/os/thread-starter.js'
import type { JobQueue } from '#libs/queue/queue.js'
import type { SearchIndex } from '#libs/search/search-index.js'
import { openVault } from '#libs/vault/open-vault.js'
import type { Vault } from '#libs/vault/vault.js'
import { openTreeSource, type TreeSource } from '#libs/walk/tree/tree-source.js'
import type { Config } from './config.js'
import { reasonOf } from './home.js'
import type { Logger } from './logger.js'
import { provideNavigator } from './navigator.js'
import { createReleasers } from './releasers.js'
import type { Reporter } from './terminal/reporter.js'
import { whyPathIsNotTrusted } from './trusted.js'
import { watchedQueue, watchedVault } from './watched.js'

export interface Runtime extends AsyncDisposable {
  /** Commands do the work themselves: nobody else would. */
  readonly embedded: boolean
  /** Nobody else could do it: what this machine does not see is not there. */
  readonly alone: boolean
  /** The name that this machine works under. */
  readonly host: string
  readonly owner: string
  readonly isGone: (owner: string) => boolean
  readonly source: TreeSource
  readonly placing: ThreadStarter
  readonly vaults: Vaults
  /** FIRN_HOME, a local vault and the restore directory: never archived. */
  readonly leaveOut: readonly Raw[]
  catalog(): Promise<Catalog>
  queue(): Promise<JobQueue>
  index(): Promise<SearchIndex>
  packer(): Packer
  /** Tells the retriever that there is something new, where one is on duty. */
  wakeRetriever(): Promise<void>
}

export interface RuntimeOptions {
  readonly config: Config
  readonly log: Logger
  /** Tables are made and updated at the start; without it an old database is an error that says what to do. Default: embedded. */
  readonly migrate?: boolean
  readonly reporter: Pick<Reporter, 'note'>
  /** Told what a part that was opened has to say of itself and is no error. Default: the log. */
  readonly onNotice?: (text: string) => void
}

export function openRuntime({
  config,
  log,
  migrate,
  reporter,
  onNotice = (text) => log.warn({}, text),
}: RuntimeOptions): Runtime {
  provideNavigator()
  const releasers = createReleasers()
  const embedded = config.databaseUrl === 'embedded:'
  const vaults = openVaults(config, releasers.push, (text) => reporter.note(text))
  let starting = () => {}
  const started = new Promise<void>((resolve) => {
    starting = resolve
  })
  const database = once(async () => {
    let url = config.databaseUrl
    if (embedded) {
      const { openEmbeddedPostgres } = await import('./postgres/embedded-postgres.js')
      const debug = (text: string) => log.debug({}, text)
      const postgres = await openEmbeddedPostgres({ home: config.home, log: debug, onStarting: starting }).finally(starting)
      releasers.push(() => postgres.close())
      url = postgres.url
    }
    const migrations = await import('#libs/catalog/migrate.js')
    if (migrate ?? embedded) await migrations.migrate(url)
    else await migrations.assertMigrated(url)
    return url
  })
  /** Loads modules while the embedded server starts: their code keeps this thread busy, and before that it would keep the server waiting. */
  const meanwhile = async <T>(load: () => Promise<T>): Promise<T> => {
    if (embedded) {
      database().catch(() => {}) // thrown to whoever needs it
      await started
    }
    return load()
  }
  /** Queue and index may lie in the catalog's database. */
  const inDatabaseOr = (url: string) => (url === 'postgres:' ? database() : url)
  const catalog = once(async () => {
    const [url, { openCatalog }] = await Promise.all([database(), meanwhile(() => import('#libs/catalog/open-catalog.js'))])
    const catalog = await openCatalog({ url, poolSize: config.workers + 6 })
    releasers.push(() => catalog.close())
    return withSteps('catalog', catalog)
  })
  const queue = once(async () => {
    const load = async () => (await import('#libs/queue/open-queue.js')).loadQueue(config.queueUrl)
    const [url, openQueue] = await Promise.all([inDatabaseOr(config.queueUrl), meanwhile(load)])
    const onError = (error: unknown) => log.warn({ error: String(error) }, 'queue')
    const queue = await openQueue(url, { onError, onNotice, traced: config.telemetry === 'opentelemetry' })
    releasers.push(() => queue.close())
    return watchedQueue(queue)
  })
  const source = openTreeSource()
  const placing = placingThreads()
  releasers.push(() => source.close())
  releasers.push(() => placing.close())
  return {
    embedded,
    alone: embedded,
    host: config.host,
    owner: thisOwner(),
    isGone: isOwnerGone,
    source,
    placing,
    vaults,
    leaveOut: leftOut(config),
    catalog,
    queue,
    index: once(async () => {
      const load = async () => (await import('#libs/search/open-index.js')).loadSearchIndex(config.searchUrl)
      const [url, openSearchIndex] = await Promise.all([inDatabaseOr(config.searchUrl), meanwhile(load)])
      const index = await openSearchIndex(url)
      releasers.push(() => index.close())
      return withSteps('index', index)
    }),
    packer: once(() => {
      const packer = openPacker({ threads: config.workers })
      releasers.push(() => packer.close())
      return packer
    }),
    async wakeRetriever() {
      if (await (await catalog()).isOnDuty(RETRIEVER, isOwnerGone)) await (await queue()).add('watch-retrievals', {})
    },
    async [Symbol.asyncDispose]() {
      try {
        await releasers[Symbol.asyncDispose]()
      } catch (error) {
        // Whatever was said to be done was made to last before: the outcome stands, and the summary may have told it already.
        const reason = error instanceof AggregateError ? error.errors.map(reasonOf).join('; ') : reasonOf(error)
        log.warn({ error: String(error) }, 'not everything could be closed')
        reporter.note(`not everything could be closed: ${reason}`)
      }
    },
  }
}

/** One vault for each place, whatever options its URLs have: those of the configuration count where it is the configured one. */
function openVaults(config: Config, onOpened: (release: () => Promise<void>) => void, notice: (text: string) => void): Vaults {
  const opened = new Map<string, Promise<Vault>>()
  const placeOf = (url: string) => url.replace(/\?.*$/s, '')
  const prices = once(async () => (await import('#libs/vault/prices/price-list.js')).readPrices(config.pricesFile))
  return {
    open(url) {
      const place = placeOf(url)
      let vault = opened.get(place)
      if (vault === undefined) {
        const { uploadMemoryBytes } = config
        const asked = place === placeOf(config.vaultUrl) ? config.vaultUrl : url
        vault = openVault(asked, { prices, uploadMemoryBytes }).then(watchedVault)
        opened.set(place, vault)
        sayShared(place, notice)
        void vault.then(
          (open) => onOpened(() => open.close()),
          () => opened.delete(place),
        )
      }
      return vault
    },
  }
}

/** A share of a NAS may be written by others: that is said, and no reason to refuse it. What is read back is verified, whoever wrote it. */
function sayShared(place: string, notice: (text: string) => void): void {
  const directory = /^local:(.*)$/s.exec(place)?.[1]
  if (directory === undefined || !existsSync(directory)) return
  const why = whyPathIsNotTrusted(directory)
  if (why !== undefined) notice(`the vault ${place} is not yours alone: ${why}`)
}

function leftOut(config: Config): Raw[] {
  const local = /^local:([^?]*)/.exec(config.vaultUrl)?.[1]
  return [...new Set([config.home, config.restoreDir, ...(local ? [local] : [])])].map(rawFromText)
}

function once<T>(open: () => T): () => T {
  let value: { is: T } | undefined
  return () => {
    value ??= { is: open() }
    return value.is
  }
}
