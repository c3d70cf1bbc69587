/** The long-running parts, as `firn worker`, `firn retriever` and `firn up` run them: until a signal comes. */
import { endSets, keepReconciling, reconcile } from '#libs/archive/reconcile.js'
import { runRetriever as keepRetrieving } from '#libs/archive/retriever.js'
import { watchRetrievals } from '#libs/archive/watch-retrievals.js'
import { startWorkers } from '#libs/archive/work.js'
import type { PlaceResult } from '#libs/bundle/place.js'
import type { BundleRow, Catalog, ItemRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { jsonName, type Raw, rawFromText } from '#libs/os/raw.js'
import { jobId } from '#libs/queue/jobs.js'
import type { CommandContext } from './command.js'
import type { Metrics } from './health/metrics.js'
import type { Runtime } from './runtime.js'

type Context = Pick<CommandContext<unknown>, 'config' | 'log' | 'signal' | 'reporter'>

/** So long after a bundle is stored it is asked whether its set is over: many are stored in that time. */
const FINISH_MS = 1_000

export async function runWorkers(
  runtime: Runtime,
  { config, log, signal, reporter }: Context,
  { graceMs, metrics }: { graceMs: number; metrics: Metrics },
): Promise<void> {
  const [catalog, queue, index] = await Promise.all([runtime.catalog(), runtime.queue(), runtime.index()])
  const parts = { ...runtime, catalog, queue, index, packer: runtime.packer() }
  const unseen = new Set<string>()
  // Who waits for a set finishes it; one that nobody waits for shall not stand unfinished until the next reconciling.
  let finishing: NodeJS.Timeout | undefined
  const finishSoon = () => {
    finishing ??= setTimeout(() => {
      finishing = undefined
      endSets(parts).catch((error) => log.debug({ error: String(error) }, 'sets not finished'))
    }, FINISH_MS)
  }
  const workers = await startWorkers(parts, {
    concurrency: config.workers,
    onBegun: (bundle) => {
      metrics.bundleBegun(bundle)
      log.info({ ...idsOf(bundle), attempt: bundle.attempt }, 'bundle begun')
    },
    onEnded: (bundle) => metrics.bundleEnded(bundle),
    onStored: (bundle, problems) => {
      metrics.bundleStored(bundle, problems)
      finishSoon()
      log.info({ ...idsOf(bundle), files: bundle.files, bytes: bundle.bytes, problems: problems.length }, 'bundle stored')
    },
    onIndexed: (bundle) => {
      metrics.bundleIndexed()
      log.debug({ bundle, job: jobId('index-bundle', { bundleId: bundle }) }, 'bundle indexed')
    },
    onIndexFailed: (bundle, error) =>
      log.warn({ bundle, job: jobId('index-bundle', { bundleId: bundle }), error: String(error) }, 'bundle not indexed'),
    onRetry: (bundle, error) => {
      metrics.bundleFailed(false)
      void namedIn(catalog, bundle).then((ids) => log.warn({ ...ids, error: String(error) }, 'attempt failed'))
    },
    onFailed: (bundle, error) => {
      metrics.bundleFailed(true)
      finishSoon()
      void namedIn(catalog, bundle).then((ids) => log.error({ ...ids, error: String(error) }, 'bundle failed'))
    },
    onUnseen: (bundle, reason) => {
      metrics.bundleUnseen()
      // A set may have ten thousand bundles: it is said once for each set, and for each bundle only to who looks closely.
      const first = !unseen.has(bundle.setId)
      unseen.add(bundle.setId)
      log[first ? 'warn' : 'debug']({ ...idsOf(bundle), reason }, 'left to a host that sees the tree')
    },
    onVaultTrouble: async (error, bundle) =>
      log.error({ ...(await namedIn(catalog, bundle)), error: String(error) }, 'the vault cannot be written'),
    onQueueTrouble: (error) => log.warn({ error: String(error) }, 'the queue does not take a job'),
  })
  const reconciler = keepReconciling(parts, (error) => log.warn({ error: String(error) }, 'reconciling failed'))
  await reconcile(parts, 0)
  reporter.note(`working, ${config.workers} bundles at a time; stop with ^C`)
  await untilAborted(signal)
  log.info({ graceSeconds: graceMs / 1000 }, 'stopping: no new bundle is begun')
  await reconciler.stop()
  await workers.stop(graceMs)
  clearTimeout(finishing)
}

export async function runRetriever(
  runtime: Runtime,
  { config, log, signal, reporter }: Context,
  { once, metrics }: { once: boolean; metrics?: Metrics },
): Promise<void> {
  const [catalog, index] = await Promise.all([runtime.catalog(), runtime.index()])
  const parts = { ...runtime, catalog, index }
  const options = {
    signal,
    checkSeconds: config.checkSeconds,
    restoreDir: rawFromText(config.restoreDir),
    permits: (target: Raw) => runtime.permits(target),
    onDone: ({ id: retrieval, filesRestored: restored, filesFailed: failed }: RetrievalRow) => {
      metrics?.retrievalDone(restored, failed)
      log.info({ retrieval, restored, failed }, 'retrieval done')
    },
    onItemFailed: (item: ItemRow, reason: string) => {
      metrics?.itemFailed()
      log.warn({ retrieval: item.retrievalId, bundle: item.bundle.id, reason }, 'item failed')
    },
    onResults: (results: readonly PlaceResult[]) => {
      for (const { entry, outcome, reason } of results)
        if (outcome === 'failed') log.warn({ ...jsonName('path', entry.path), reason }, 'file not restored')
    },
    onTrouble: (of: string, reason: string) => log.warn({ of, reason }, 'trouble; it is tried again'),
    onDuty: (mine: boolean) => log.info({}, mine ? 'on duty' : 'another retriever is on duty; standing by'),
  }
  reporter.note('watching retrievals; stop with ^C')
  if (once) await watchRetrievals(parts, options)
  else await keepRetrieving({ ...parts, queue: await runtime.queue() }, options)
}

/** What a line of the log is about, whoever looks for it: the set, the bundle, or the job. */
const idsOf = (bundle: Pick<BundleRow, 'id' | 'setId'>) => ({
  set: bundle.setId,
  bundle: bundle.id,
  job: jobId('store-bundle', { bundleId: bundle.id }),
})

/** The same where only the bundle is known. */
async function namedIn(catalog: Pick<Catalog, 'bundle'>, bundleId: string): Promise<Partial<ReturnType<typeof idsOf>>> {
  const bundle = await catalog.bundle(bundleId).catch(() => undefined)
  return bundle ? idsOf(bundle) : { bundle: bundleId, job: jobId('store-bundle', { bundleId }) }
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted ? Promise.resolve() : new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
