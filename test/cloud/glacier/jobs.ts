/** Retrievals and inventories: asked for, done hours later on the virtual clock, readable for a day. */
import { readBlobs } from '../blobs.js'
import { DAY_MS } from '../clock.js'
import type { Payload } from '../payload.js'
import { Refusal } from '../refusal.js'
import type { Answer } from '../service.js'
import { checkDescription } from './multipart.js'
import { pageOf } from './page.js'
import { isTreeAligned, MIB, rootOf } from './tree-hash.js'
import { type Archive, arnOf, type EmulatedVault, invalid, type Job, newId, notFound } from './vaults.js'
import type { Within } from './within.js'

const TIERS = ['Expedited', 'Standard', 'Bulk'] as const

interface JobParameters {
  readonly Type?: string
  readonly ArchiveId?: string
  readonly Description?: string
  readonly Format?: string
  readonly RetrievalByteRange?: string
  readonly Tier?: string
}

export async function initiateJob(within: Within, payload: Payload): Promise<Answer> {
  const asked = JSON.parse((await payload.text()) || '{}') as JobParameters
  const { vault, base } = within
  const job = asked.Type === 'archive-retrieval' ? archiveJob(within, asked) : inventoryJob(within, asked)
  vault.jobs.set(job.id, job)
  return { status: 202, headers: { 'x-amz-job-id': job.id, location: `${base}/jobs/${job.id}` } }
}

function archiveJob({ vault, clock, limits, book }: Within, asked: JobParameters): Job {
  const tier = TIERS.find((one) => one === (asked.Tier ?? 'Standard'))
  if (tier === undefined) throw invalid(`Invalid tier: ${asked.Tier}`)
  const archive = vault.archives.get(asked.ArchiveId ?? '')
  if (!archive || archive.deletedAt) throw notFound(`The archive ID ${asked.ArchiveId} was`)
  let [first, last] = [0, archive.bytes - 1]
  if (asked.RetrievalByteRange !== undefined) {
    const [, from, to] = /^(\d+)-(\d+)$/.exec(asked.RetrievalByteRange) ?? []
    ;[first, last] = [Number(from), Number(to)]
    const isAligned = from !== undefined && first % MIB === 0 && ((last + 1) % MIB === 0 || last === archive.bytes - 1)
    if (!isAligned || last < first || last >= archive.bytes)
      throw invalid(`Invalid RetrievalByteRange: ${asked.RetrievalByteRange}`)
  }
  book.pay({
    at: clock.now(),
    service: 'glacier',
    operation: 'InitiateJob',
    target: `${vault.name}/${archive.id}`,
    tier,
    bytes: last - first + 1,
  })
  const createdAt = clock.now()
  return {
    id: newId(69),
    action: 'ArchiveRetrieval',
    description: checkDescription(asked.Description ?? ''),
    archive,
    first,
    last,
    tier,
    createdAt,
    doneAt: new Date(createdAt.getTime() + limits.jobMs[tier]),
  }
}

function inventoryJob({ vault, clock, limits, region, book }: Within, asked: JobParameters): Job {
  if (asked.Type !== 'inventory-retrieval') throw invalid(`Invalid job type: ${asked.Type}`)
  if (asked.Format !== undefined && asked.Format !== 'JSON')
    throw new Refusal(501, 'NotImplemented', 'This emulator knows inventories in JSON only.')
  const madeAt = lastInventory(vault, clock.now())
  if (madeAt === undefined) {
    throw new Refusal(
      404,
      'ResourceNotFoundException',
      'Inventory retrieval is not allowed until initial inventory has been generated for this vault',
    )
  }
  const createdAt = clock.now()
  book.pay({
    at: createdAt,
    service: 'glacier',
    operation: 'InitiateJob',
    target: `${vault.name}/inventory`,
    tier: 'Inventory',
    bytes: 0,
  })
  return {
    id: newId(69),
    action: 'InventoryRetrieval',
    description: checkDescription(asked.Description ?? ''),
    tier: 'Standard',
    createdAt,
    doneAt: new Date(createdAt.getTime() + limits.jobMs.Inventory),
    inventory: inventoryOf(vault, madeAt, region),
  }
}

/** One is made each day, the first a day after the vault. */
export function lastInventory(vault: EmulatedVault, now: Date): Date | undefined {
  const days = Math.floor((now.getTime() - vault.createdAt.getTime()) / DAY_MS)
  return days < 1 ? undefined : new Date(vault.createdAt.getTime() + days * DAY_MS)
}

function inventoryOf(vault: EmulatedVault, madeAt: Date, region: string): string {
  const wasThere = ({ createdAt, deletedAt }: Archive) => createdAt <= madeAt && (!deletedAt || deletedAt > madeAt)
  return JSON.stringify({
    VaultARN: arnOf(region, vault.name),
    InventoryDate: madeAt.toISOString(),
    ArchiveList: [...vault.archives.values()].filter(wasThere).map(({ id, description, createdAt, bytes, treeHash }) => ({
      ArchiveId: id,
      ArchiveDescription: description,
      CreationDate: createdAt.toISOString(),
      Size: bytes,
      SHA256TreeHash: treeHash,
    })),
  })
}

const isDone = (job: Job, { clock }: Within): boolean => clock.now() >= job.doneAt

/** A job that is over is forgotten at twice the age of its output. */
const isKnown = (job: Job, { clock, limits }: Within): boolean =>
  clock.now().getTime() < job.doneAt.getTime() + 2 * limits.outputMs

function findJob(within: Within, id: string): Job {
  const job = within.vault.jobs.get(id)
  if (!job || !isKnown(job, within)) throw notFound(`The job ID ${id} was`)
  return job
}

export const describeJob = (within: Within, id: string): Answer => ({
  status: 200,
  body: JSON.stringify(description(within, findJob(within, id))),
})

export function listJobs(within: Within): Answer {
  const { query } = within.call
  const [completed, status] = [query.get('completed'), query.get('statuscode')]
  const all = [...within.vault.jobs.values()]
    .filter((job) => isKnown(job, within))
    .sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime())
    .filter((job) => completed === undefined || String(isDone(job, within)) === completed)
    .filter((job) => status === undefined || statusOf(within, job) === status)
  const page = pageOf(all, within, ({ id }) => id)
  return {
    status: 200,
    body: JSON.stringify({ JobList: page.items.map((job) => description(within, job)), Marker: page.marker }),
  }
}

const statusOf = (within: Within, job: Job): string =>
  !isDone(job, within) ? 'InProgress' : job.failure === undefined ? 'Succeeded' : 'Failed'

function description(within: Within, job: Job): object {
  const { archive, first = 0, last = 0 } = job
  const done = isDone(job, within)
  const whole = archive !== undefined && first === 0 && last === archive.bytes - 1
  const aligned = archive !== undefined && isTreeAligned(first, last, archive.bytes) && (done || !whole)
  return {
    JobId: job.id,
    Action: job.action,
    JobDescription: job.description || null,
    VaultARN: arnOf(within.region, within.vault.name),
    CreationDate: job.createdAt.toISOString(),
    Completed: done,
    CompletionDate: done ? job.doneAt.toISOString() : null,
    StatusCode: statusOf(within, job),
    StatusMessage: !done ? null : (job.failure ?? 'Succeeded'),
    Tier: archive ? job.tier : null,
    ArchiveId: archive?.id ?? null,
    ArchiveSizeInBytes: archive?.bytes ?? null,
    ArchiveSHA256TreeHash: archive?.treeHash ?? null,
    RetrievalByteRange: archive ? `${first}-${last}` : null,
    SHA256TreeHash: archive && aligned ? hashOf(archive, first, last) : null,
    InventorySizeInBytes: job.inventory !== undefined && done ? job.inventory.length : null,
    SNSTopic: null,
  }
}

const hashOf = ({ leaves }: Archive, first: number, last: number): string =>
  rootOf(leaves.slice(first / MIB, Math.floor(last / MIB) + 1))

export function jobOutput(within: Within, id: string): Answer {
  const { call, clock, limits } = within
  const job = findJob(within, id)
  if (!isDone(job, within) || job.failure !== undefined) throw invalid(`The job is not currently available for download: ${id}`)
  if (job.expired || clock.now().getTime() >= job.doneAt.getTime() + limits.outputMs) throw notFound(`The job ID ${id} was`)
  const { archive, first = 0 } = job
  const bytes = archive ? (job.last ?? 0) - first + 1 : Buffer.byteLength(job.inventory ?? '')
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(call.headers['range'] ?? '') ?? []
  if (call.headers['range'] !== undefined && from === undefined) throw invalid(`Invalid Range: ${call.headers['range']}`)
  const start = Number(from ?? 0)
  const end = Math.min(to ? Number(to) : bytes - 1, bytes - 1)
  if (start > end) throw invalid(`Invalid Range: ${call.headers['range']}`)
  const ranged = from === undefined ? {} : { 'content-range': `bytes ${start}-${end}/${bytes}` }
  const headers = { ...ranged, 'accept-ranges': 'bytes' }
  const status = from === undefined ? 200 : 206
  if (!archive)
    return {
      status,
      headers: { ...headers, 'content-type': 'application/json' },
      body: (job.inventory ?? '').slice(start, end + 1),
    }
  // Both what was retrieved and what is downloaded must be nodes of the archive's tree.
  const aligned = isTreeAligned(first, job.last ?? 0, archive.bytes) && isTreeAligned(first + start, first + end, archive.bytes)
  return {
    status,
    headers: {
      ...headers,
      'content-type': 'application/octet-stream',
      'x-amz-archive-description': archive.description,
      ...(aligned && { 'x-amz-sha256-tree-hash': hashOf(archive, first + start, first + end) }),
    },
    body: { bytes: end - start + 1, chunks: readBlobs(archive.blobs, first + start, end - start + 1) },
    expire: () => {
      job.expired = true
    },
  }
}
