/** What a daemon counts, as Prometheus reads it. Numbers of this process only, but for the queue, which is everybody's. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Problem } from '#libs/bundle/entry.js'
import type { BundleRow } from '#libs/catalog/catalog.js'
import type { JobName } from '#libs/queue/queue.js'

export interface Metrics {
  bundleBegun(bundle: Pick<BundleRow, 'id'>): void
  /** The attempt is over, whatever became of it. */
  bundleEnded(bundle: Pick<BundleRow, 'id'>): void
  bundleStored(bundle: BundleRow, problems: readonly Problem[]): void
  bundleIndexed(): void
  /** `final`: no attempt follows. */
  bundleFailed(final: boolean): void
  bundleUnseen(): void
  retrievalDone(filesRestored: number, filesFailed: number): void
  itemFailed(): void
  /** Jobs that wait or run, asked for at a scrape, some seconds apart; a queue that does not answer is left out. */
  watchQueue(jobs: readonly JobName[], pending: (job: JobName) => Promise<number>): void
  read(): Promise<{ type: string; text: string }>
}

/** So long an answer of the queue counts. */
const KEEP_MS = 5_000

/** From a tenth of a second to the hours of a large file over a slow line. */
const SECONDS = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000]

export function createMetrics(now: () => number = () => performance.now()): Metrics {
  const register = new Registry()
  const registers = [register]
  collectDefaultMetrics({ register })
  const counter = (name: string, help: string) => new Counter({ name, help, registers })
  const stored = counter('firn_bundles_stored_total', 'Bundles stored, verified and in the catalog')
  const files = counter('firn_files_stored_total', 'Files in stored bundles')
  const bytes = counter('firn_bytes_stored_total', 'File bytes in stored bundles')
  const tarBytes = counter('firn_tar_bytes_stored_total', 'Bytes of stored tars, as the vault holds them')
  const indexed = counter('firn_bundles_indexed_total', 'Bundles made searchable')
  const failed = counter('firn_bundles_failed_total', 'Bundles given up after their last attempt')
  const retried = counter('firn_attempts_failed_total', 'Attempts that failed, with another one to follow')
  const unseen = counter('firn_bundles_unseen_total', 'Bundles handed back because this host does not see their tree')
  const problems = new Counter({
    name: 'firn_problems_total',
    help: 'Entries that were unreadable, vanished or changed while they were read',
    labelNames: ['kind'],
    registers,
  })
  const retrievals = counter('firn_retrievals_done_total', 'Retrievals completed here')
  const restored = counter('firn_files_restored_total', 'Files restored, verified and in place')
  const unrestored = counter('firn_files_restore_failed_total', 'Files that could not be restored')
  const items = counter('firn_items_failed_total', 'Bundles whose files could not be retrieved')
  const running = new Gauge({ name: 'firn_bundles_running', help: 'Bundles being packed and sent now', registers })
  const seconds = new Histogram({
    name: 'firn_bundle_store_seconds',
    help: 'From the beginning of an attempt until its bundle is stored and verified: packing and sending are one stream',
    buckets: SECONDS,
    registers,
  })
  const begun = new Map<string, number>()

  return {
    bundleBegun({ id }) {
      begun.set(id, now())
      running.set(begun.size)
    },
    bundleEnded({ id }) {
      begun.delete(id)
      running.set(begun.size)
    },
    bundleStored(bundle, its) {
      stored.inc()
      files.inc(bundle.files)
      bytes.inc(bundle.bytes)
      tarBytes.inc(bundle.tarBytes ?? 0)
      for (const { kind } of its) problems.inc({ kind })
      const since = begun.get(bundle.id)
      if (since !== undefined) seconds.observe((now() - since) / 1000)
    },
    bundleIndexed: () => indexed.inc(),
    bundleFailed: (final) => (final ? failed : retried).inc(),
    bundleUnseen: () => unseen.inc(),
    retrievalDone(filesRestored, filesFailed) {
      retrievals.inc()
      restored.inc(filesRestored)
      unrestored.inc(filesFailed)
    },
    itemFailed: () => items.inc(),
    watchQueue(jobs, pending) {
      let askedAt: number | undefined
      new Gauge({
        name: 'firn_queue_jobs',
        help: 'Jobs that wait, are delayed or run, of all workers together',
        labelNames: ['job'],
        registers,
        async collect() {
          // Kept for a while: whoever may scrape must not keep the queue busy.
          if (askedAt !== undefined && now() - askedAt < KEEP_MS) return
          askedAt = now()
          this.reset()
          for (const job of jobs) {
            const count = await pending(job).catch(() => undefined)
            if (count !== undefined) this.set({ job }, count)
          }
        },
      })
    },
    read: async () => ({ type: register.contentType, text: await register.metrics() }),
  }
}
