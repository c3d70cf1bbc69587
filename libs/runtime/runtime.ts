/**
 * The one place where concrete adapters meet: everything the story needs, opened when it is first asked for and closed last first.
 * Nothing below asks whether this is embedded or distributed; only the values differ.
 */
import { hostname, userInfo } from 'node:os'
import { putBack } from '#libs/archive/aside.js'
import { RETRIEVER } from '#libs/archive/retriever-duty.js'
import { openPacker, type Packer } from '#libs/bundle/pack.js'
import { placingThreads } from '#libs/bundle/place.js'
import type { Catalog } from '#libs/catalog/catalog.js'
import { isOwnerGone, thisOwner } from '#libs/os/owner.js'
import { type Raw, rawFromText, shown } from '#libs/os/raw.js'
import { withSteps } from '#libs/os/steps.js'
import type { ThreadStarter } from '#libs/os/thread-starter.js'
import type { JobQueue } from '#libs/queue/queue.js'
import type { SearchIndex } from '#libs/search/search-index.js'
import { openTreeSource, type TreeSource } from '#libs/walk/tree/tree-source.js'
import type { Config } from './config.js'
import { reasonOf } from './home.js'
import type { Logger } from './logger.js'
import { provideNavigator } from './navigator.js'
import { once } from './once.js'
import { createReleasers } from './releasers.js'
import { permitting, type RememberedTarget, readRemembered, rememberTarget } from './remembered.js'
import type { Reporter } from './terminal/reporter.js'
import { type ConfiguredVaults, openVaults } from './vaults.js'
import { watchedQueue } from './watched.js'

export interface Runtime extends AsyncDisposable {
  /** Commands do the work themselves: nobody else would. */
  readonly embedded: boolean
  /** Nobody else could do it: what this machine does not see is not there. */
  readonly alone: boolean
  /** The name that this machine works under. */
  readonly host: string
  readonly owner: string
  /** Who runs it, for the audit: user@host. */
  readonly by: string
  readonly isGone: (owner: string) => boolean
  readonly source: TreeSource
  readonly placing: ThreadStarter
  readonly vaults: ConfiguredVaults
  /** What this host may read, of those who say it (FIRN_ROOTS). */
  readonly allowedRoots: readonly Raw[] | undefined
  /** FIRN_HOME, a local vault and the restore directory: never archived. */
  readonly leaveOut: readonly Raw[]
  /** What a detached retrieval may do in a target; undefined: nothing. */
  permits(target: Raw): Promise<Omit<RememberedTarget, 'path'> | undefined>
  /** A target that was given on the command line. */
  permitTarget(target: RememberedTarget): Promise<void>
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
  const vaults = openVaults({ config, remembers: embedded, onOpened: releasers.push, onNotice: (text) => reporter.note(text) })
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
    await putBack(
      { catalog, host: config.host, isGone: isOwnerGone },
      {
        onPutBack: ({ path }) => reporter.note(`${shown(path)} is back: a removal that was killed had moved it aside`),
        onBeside: ({ path, aside }) =>
          reporter.note(
            `${shown(aside)} is what ${shown(path)} was: a removal that was killed had moved it aside, and its name is taken now`,
          ),
      },
    )
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
    by: `${userName()}@${hostname()}`,
    isGone: isOwnerGone,
    source,
    placing,
    vaults,
    allowedRoots: config.roots?.map(rawFromText),
    leaveOut: leftOut(config),
    async permits(target) {
      const below = { path: rawFromText(config.restoreDir), overwrite: config.detachedOverwrite, setuid: config.detachedSetuid }
      const { targets } = embedded ? await readRemembered(config.home) : { targets: [] }
      return permitting([...targets.filter(({ path }) => path === target), below], target)
    },
    permitTarget: (target) => rememberTarget(config.home, target),
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

function userName(): string {
  try {
    return userInfo().username
  } catch {
    return `user ${process.getuid?.()}` // as in containers that are run under a bare number
  }
}

function leftOut(config: Config): Raw[] {
  const local = [config.vaultUrl, ...config.vaults].flatMap((url) => /^local:([^?]*)/.exec(url)?.[1] ?? [])
  return [...new Set([config.home, config.restoreDir, ...local])].map(rawFromText)
}
