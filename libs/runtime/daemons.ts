/** The long-running parts, as `firn worker`, `firn retriever` and `firn up` run them: until a signal comes. */
import { setTimeout as sleep } from 'node:timers/promises'
import { keepReconciling, reconcile } from '#libs/archive/reconcile.js'
import { watchRetrievals } from '#libs/archive/watch-retrievals.js'
import { startWorkers } from '#libs/archive/work.js'
import { rawFromText } from '#libs/os/raw.js'
import type { CommandContext } from './command.js'
import type { Runtime } from './runtime.js'

type Context = Pick<CommandContext<unknown>, 'config' | 'log' | 'signal' | 'reporter'>

export async function runWorkers(runtime: Runtime, { config, log, signal, reporter }: Context, graceMs: number): Promise<void> {
  const [catalog, queue, index] = await Promise.all([runtime.catalog(), runtime.queue(), runtime.index()])
  const parts = { ...runtime, catalog, queue, index, packer: runtime.packer() }
  const workers = await startWorkers(parts, {
    concurrency: config.workers,
    onStored: (bundle) =>
      log.info({ set: bundle.setId, bundle: bundle.id, files: bundle.files, bytes: bundle.bytes }, 'bundle stored'),
    onIndexed: (bundle) => log.debug({ bundle }, 'bundle indexed'),
    onFailed: (bundle, error) => log.error({ bundle, error: String(error) }, 'bundle failed'),
    onVaultTrouble: (error, bundle) => log.error({ bundle, error: String(error) }, 'the vault cannot be written'),
  })
  const reconciler = keepReconciling(parts, (error) => log.warn({ error: String(error) }, 'reconciling failed'))
  await reconcile(parts, 0)
  reporter.note(`working, ${config.workers} bundles at a time; stop with ^C`)
  await untilAborted(signal)
  await reconciler.stop()
  await workers.stop(graceMs)
}

/** New retrievals are seen this soon, however far away the next thaw is. */
const LOOK_MS = 2_000

export async function runRetriever(
  runtime: Runtime,
  { config, log, signal, reporter }: Context,
  { once }: { once: boolean },
): Promise<void> {
  const [catalog, index] = await Promise.all([runtime.catalog(), runtime.index()])
  const parts = { ...runtime, catalog, index }
  reporter.note('watching retrievals; stop with ^C')
  let known = ''
  let nextLook = 0
  while (!signal.aborted) {
    const open = (await catalog.retrievals({ open: true })).map(({ id }) => id).join()
    if (open !== known || Date.now() >= nextLook) {
      known = open
      const round = await watchRetrievals(parts, {
        signal,
        restoreDir: rawFromText(config.restoreDir),
        onDone: (retrieval) =>
          log.info(
            { retrieval: retrieval.id, restored: retrieval.filesRestored, failed: retrieval.filesFailed },
            'retrieval done',
          ),
        onItemFailed: (item, reason) => log.warn({ retrieval: item.retrievalId, bundle: item.bundle.id, reason }, 'item failed'),
        onTrouble: (retrieval, reason) => log.warn({ retrieval: retrieval.id, reason }, 'retrieval in trouble'),
      })
      const latest = Date.now() + config.checkSeconds * 1000
      nextLook = round.nextAt ? Math.min(latest, round.nextAt.getTime() + 50) : latest
    }
    if (once) return
    await sleep(Math.max(50, Math.min(LOOK_MS, nextLook - Date.now())), undefined, { signal }).catch(() => {})
  }
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted ? Promise.resolve() : new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
