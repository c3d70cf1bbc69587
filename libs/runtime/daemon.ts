/** What every long-running part does beside its work: it shows in the catalog that it lives, and answers who asks for its health. */
import { knownNote } from '#libs/archive/own-vault.js'
import type { Catalog, WorkerRole } from '#libs/catalog/catalog.js'
import type { CommandContext } from './command.js'
import type { Config } from './config.js'
import { openHealthServer } from './health/health-server.js'
import { createMetrics, type Metrics } from './health/metrics.js'
import { type Check, openReadiness } from './health/readiness.js'
import { prepareHomeOf } from './home.js'
import type { Logger } from './logger.js'
import { createReleasers } from './releasers.js'
import type { Runtime } from './runtime.js'

/** Of `--health-port`, wherever it is an option. */
export const HEALTH_PORT_TEXT = 'answer /healthz, /readyz and /metrics over HTTP there; a port alone: on this machine only'

/** Four times a minute: one that was not seen for a whole one is gone. */
const SHOW_MS = 15_000

/** Looking whether a vault can be written costs requests. */
const VAULT_KEEP_MS = 60_000

type Context = Pick<CommandContext<unknown>, 'config' | 'log' | 'signal'>

/** Runs `work` as a daemon with these roles, until it returns. */
export async function asDaemon(
  runtime: Runtime,
  { config, log, signal }: Context,
  roles: readonly WorkerRole[],
  work: (metrics: Metrics) => Promise<void>,
): Promise<void> {
  await using releasers = createReleasers()
  const metrics = createMetrics()
  if (config.healthPort !== '') {
    const readiness = openReadiness(checksOf(runtime, config, roles, signal))
    if (roles.includes('worker')) {
      metrics.watchQueue(['store-bundle', 'index-bundle'], async (job) => (await runtime.queue()).pending(job))
    }
    const server = await openHealthServer({ address: config.healthPort, readiness, metrics: () => metrics.read() })
    releasers.push(() => server.close())
    log.info({ port: server.port }, 'answering /healthz, /readyz and /metrics')
  }
  const shown = await keepShowing(await runtime.catalog(), { owner: runtime.owner, host: config.host, roles }, log)
  releasers.push(() => shown.stop())
  await work(metrics)
}

function checksOf(runtime: Runtime, config: Config, roles: readonly WorkerRole[], signal: AbortSignal): Record<string, Check> {
  const vault = openReadiness({ vault: () => mustWrite(runtime, config, signal) }, { keepMs: VAULT_KEEP_MS, timeoutMs: 4_000 })
  return {
    process: async () => {
      if (signal.aborted) throw new Error('is being stopped')
    },
    database: async () => (await runtime.catalog()).workers(runtime.isGone),
    ...(roles.includes('worker') && {
      queue: async () => (await runtime.queue()).pending('store-bundle'),
      vault: async () => {
        const { ready, checks } = await vault()
        if (!ready) throw new Error(checks['vault'])
      },
    }),
  }
}

/** `prepare` makes what is not there, also where a disk is not mounted: a vault that was used must be there, and be ours, before. */
async function mustWrite(runtime: Runtime, { vaultUrl, home }: Config, signal: AbortSignal): Promise<void> {
  const [vault, catalog] = await Promise.all([runtime.vaults.open(vaultUrl), runtime.catalog()])
  const note = await knownNote(catalog, vault, { signal })
  if (note !== undefined && note.catalog !== catalog.catalogId) {
    throw new Error(`${vault.id} is written by another catalog (${note.catalog})`)
  }
  await prepareHomeOf(vaultUrl, home)
  await vault.prepare({ signal, make: note === undefined })
}

async function keepShowing(
  catalog: Pick<Catalog, 'showWorker' | 'forgetWorker'>,
  worker: Parameters<Catalog['showWorker']>[0],
  log: Logger,
): Promise<{ stop(): Promise<void> }> {
  await catalog.showWorker(worker)
  let showing: Promise<void> | undefined
  const timer = setInterval(() => {
    // One at a time: what waits for a slow database must not pile up.
    showing ??= catalog
      .showWorker(worker)
      .catch((error) => log.warn({ error: String(error) }, 'the catalog does not hear that this worker lives'))
      .finally(() => {
        showing = undefined
      })
  }, SHOW_MS)
  return {
    async stop() {
      clearInterval(timer)
      await showing
      await catalog.forgetWorker(worker.owner).catch(() => {}) // else it is forgotten by itself
    },
  }
}
