/**
 * Retrieval jobs: who asked for which bytes of which key, and how far that is. They are found by their descriptions, in the service's
 * own list, so that every process sees them, and none is paid for twice.
 */
import { type GlacierJobDescription, paginateListJobs } from '@aws-sdk/client-glacier'
import type { ByteRange, CallOptions, Thaw, ThawTier } from '../vault.js'
import { holds, parseRange } from './aligned-range.js'
import { describedKey } from './description.js'
import type { GlacierService } from './glacier-service.js'

/** The service keeps the output of a job at least so long. */
export const OUTPUT_KEPT_MS = 24 * 3_600_000
/** A failed job is told for so long; after that its key is cold, and may be asked for again. */
const FAILURE_TOLD_MS = 3_600_000
/** What the service takes at most: 10,000 jobs are 200 pages. */
const PAGE = 50

/** At the latest, as documented: what `readyAt` says. */
const LONGEST_MS: Record<ThawTier, number> = { expedited: 300_000, standard: 5 * 3_600_000, bulk: 12 * 3_600_000 }

export interface ThawJob {
  readonly id: string
  readonly key: string
  readonly archiveId: string
  readonly range: ByteRange
  readonly archiveBytes: number
  readonly tier: ThawTier
  readonly createdAt: Date
  readonly state: 'running' | 'done' | 'failed'
  readonly endedAt?: Date
  readonly reason?: string
}

export interface InventoryJob {
  readonly id: string
  readonly state: 'running' | 'done' | 'failed'
  readonly createdAt: Date
  readonly endedAt?: Date
}

export interface JobList {
  readonly thaws: ReadonlyMap<string, readonly ThawJob[]>
  readonly inventories: readonly InventoryJob[]
}

export interface ThawJobs {
  /** The service's list, not older than `maxAgeMs`; those who ask at the same time share one. */
  list(maxAgeMs: number, options?: CallOptions): Promise<JobList>
  /** A job that was just started is known at once. */
  add(job: ThawJob): void
  /** Nobody knows what happened: the next look asks the service. */
  forget(): void
}

export function openThawJobs(service: GlacierService, vaultId: string, now: () => number): ThawJobs {
  let known: { at: number; list: JobList } | undefined
  let asking: { at: number; list: Promise<JobList> } | undefined
  const what = `The vault ${vaultId} cannot say what thaws`

  async function ask(signal: AbortSignal | undefined): Promise<JobList> {
    return service.again(
      what,
      async () => {
        const thaws = new Map<string, ThawJob[]>()
        const inventories: InventoryJob[] = []
        const options = signal ? { abortSignal: signal } : {}
        for await (const { JobList = [] } of paginateListJobs(
          { client: service.client, pageSize: PAGE },
          service.vault,
          options,
        )) {
          for (const found of JobList) {
            const thaw = thawJobOf(found)
            if (thaw) thaws.set(thaw.key, [...(thaws.get(thaw.key) ?? []), thaw])
            else if (found.Action === 'InventoryRetrieval') {
              const { state, endedAt } = endOf(found)
              inventories.push({
                id: found.JobId ?? '',
                createdAt: new Date(found.CreationDate ?? 0),
                state,
                ...(endedAt && { endedAt }),
              })
            }
          }
        }
        return { thaws, inventories }
      },
      signal ? { signal } : {},
    )
  }

  return {
    async list(maxAgeMs, { signal } = {}) {
      signal?.throwIfAborted()
      if (known && now() - known.at < maxAgeMs) return known.list
      const at = now()
      if (asking && maxAgeMs > 0 && at - asking.at < maxAgeMs) {
        // Whoever began it may be called off; this caller is not.
        const shared = await asking.list.catch(() => undefined)
        if (shared) return shared
      }
      const mine = { at, list: ask(signal) }
      asking = mine
      try {
        const list = await mine.list
        if (!known || known.at < at) known = { at, list }
        return list
      } finally {
        if (asking === mine) asking = undefined
      }
    },
    add(job) {
      if (!known) return
      const thaws = new Map(known.list.thaws)
      known = { at: known.at, list: { ...known.list, thaws: thaws.set(job.key, [...(thaws.get(job.key) ?? []), job]) } }
    },
    forget() {
      known = undefined
    },
  }
}

/** A job of ours, from what the service says of it. */
export function thawJobOf(found: GlacierJobDescription): ThawJob | undefined {
  const key = describedKey(found.JobDescription)
  const { JobId: id, ArchiveId: archiveId, ArchiveSizeInBytes: bytes } = found
  if (found.Action !== 'ArchiveRetrieval' || key === undefined || id === undefined || archiveId === undefined) return undefined
  const range = found.RetrievalByteRange ? parseRange(found.RetrievalByteRange) : { offset: 0, length: bytes ?? 0 }
  if (range === undefined) return undefined
  const tier = (found.Tier ?? 'Standard').toLowerCase() as ThawTier
  const { state, endedAt } = endOf(found)
  return {
    id,
    key,
    archiveId,
    range,
    archiveBytes: bytes ?? 0,
    tier: tier in LONGEST_MS ? tier : 'standard',
    createdAt: new Date(found.CreationDate ?? 0),
    state,
    ...(endedAt && { endedAt }),
    ...(found.StatusMessage && { reason: found.StatusMessage }),
  }
}

function endOf({ StatusCode, CompletionDate }: GlacierJobDescription): Pick<ThawJob, 'state' | 'endedAt'> {
  const state = StatusCode === 'Succeeded' ? 'done' : StatusCode === 'Failed' ? 'failed' : 'running'
  return CompletionDate ? { state, endedAt: new Date(CompletionDate) } : { state }
}

/** The job that gives `wanted` (the whole archive where that is undefined): one whose output can be read before one that still runs before one that failed. */
export function jobFor(jobs: readonly ThawJob[] | undefined, wanted: ByteRange | undefined, now: number): ThawJob | undefined {
  const order = { done: 0, running: 1, failed: 2 } satisfies Record<ThawJob['state'], number>
  return jobs
    ?.filter((job) => holds(job.range, wanted ?? { offset: 0, length: job.archiveBytes }) && isAlive(job, now))
    .sort((a, b) => order[a.state] - order[b.state] || latest(b) - latest(a))[0]
}

const isAlive = ({ state, endedAt }: ThawJob, now: number): boolean =>
  state === 'running' ||
  (endedAt !== undefined && now < endedAt.getTime() + (state === 'done' ? OUTPUT_KEPT_MS : FAILURE_TOLD_MS))

const latest = ({ endedAt, createdAt }: ThawJob): number => (endedAt ?? createdAt).getTime()

export function thawOf(job: ThawJob | undefined): Thaw {
  if (job === undefined) return { state: 'cold' }
  switch (job.state) {
    case 'running':
      return { state: 'thawing', readyAt: new Date(job.createdAt.getTime() + LONGEST_MS[job.tier]) }
    case 'done':
      return { state: 'ready', expiresAt: new Date((job.endedAt ?? job.createdAt).getTime() + OUTPUT_KEPT_MS) }
    case 'failed':
      return { state: 'failed', reason: `The retrieval failed: ${job.reason ?? 'the service does not say why'}` }
  }
}
