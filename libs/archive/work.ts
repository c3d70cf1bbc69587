/** Who does which job: the handlers of the queue, for a worker process and for commands that run their own workers. */
import { isFirnError } from '#libs/errors/errors.js'
import type { JobQueue } from '#libs/queue/queue.js'
import { type IndexParts, indexBundle } from './index-bundle.js'
import { roomFor } from './room.js'
import { giveUpBundle, type StoreEvents, type StoreParts, storeBundle } from './store-bundle.js'

export interface WorkEvents extends StoreEvents {
  readonly onIndexed?: (bundleId: string) => void
  /** A stored bundle could not be made searchable; the reconciler, or whoever searches, does it later. */
  readonly onIndexFailed?: (bundleId: string, error: unknown) => void
  /** An attempt failed, and another one follows. */
  readonly onRetry?: (bundleId: string, error: unknown) => void
  /** A job failed for good, and why. */
  readonly onFailed?: (bundleId: string, error: unknown) => void
  /** The database has no room left: whatever is done now would not be recorded. */
  readonly onDatabaseFull?: (error: unknown) => void
  /** The vault as a whole cannot be written: every further bundle would fail alike. */
  readonly onVaultTrouble?: (error: unknown, bundleId: string) => Promise<void> | void
}

export interface Workers {
  stop(graceMs: number): Promise<void>
}

/** Of a bundle's time, about a half is packing; for the rest its worker waits for the disk and the catalog. */
const UNDER_WAY_PER_WORKER = 2

/**
 * `concurrency`: bundles packed at the same time. Where no other host could take them, more are under way, as far as there is room: while
 * some are packed, others are made durable and entered into the catalog.
 */
export async function startWorkers(
  parts: Omit<StoreParts, 'queue'> & IndexParts & { queue: Pick<JobQueue, 'add' | 'work'> },
  options: WorkEvents & { concurrency: number },
): Promise<Workers> {
  const { queue } = parts
  const { concurrency } = options
  const room = roomFor(concurrency)
  const isFull = (error: unknown): boolean => {
    if (!options.onDatabaseFull || !isFirnError(error, 'database-full')) return false
    options.onDatabaseFull(error)
    return true
  }
  const store = await queue.work(
    'store-bundle',
    async ({ bundleId }, { signal }) => storeBundle(parts, bundleId, { ...options, room, signal }),
    {
      concurrency: parts.alone ? concurrency * UNDER_WAY_PER_WORKER : concurrency,
      onFailed: async ({ bundleId }, error, final) => {
        if (options.onVaultTrouble && isFirnError(error, 'vault-full', 'vault-refused', 'vault-away')) {
          await options.onVaultTrouble(error, bundleId)
          return // told once, by whoever ends; the bundle stays planned
        }
        if (isFull(error)) return // told once, too
        if (!final) return options.onRetry?.(bundleId, error)
        await giveUpBundle(parts, bundleId, error)
        options.onFailed?.(bundleId, error)
      },
      onTrouble: isFull,
    },
  )
  const index = await queue.work(
    'index-bundle',
    async ({ bundleId }, { signal }) => {
      await indexBundle(parts, bundleId, { signal })
      options.onIndexed?.(bundleId)
    },
    // One at a time: the index is one database's work, and the packers need the cores.
    {
      concurrency: 1,
      onFailed: ({ bundleId }, error, final) => {
        if (!isFull(error) && final) options.onIndexFailed?.(bundleId, error)
      },
      onTrouble: isFull,
    },
  )
  return {
    async stop(graceMs) {
      await Promise.all([store.stop(graceMs), index.stop(graceMs)])
    },
  }
}
