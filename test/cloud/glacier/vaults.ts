/** What the emulated service holds: vaults, their archives, unfinished uploads and jobs. */
import { randomBytes } from 'node:crypto'
import { type Blob, dropBlobs, flipBit } from '../blobs.js'
import { type Clock, DAY_MS, HOUR_MS, MINUTE_MS } from '../clock.js'
import { Refusal } from '../refusal.js'

export interface Archive {
  readonly id: string
  readonly description: string
  readonly createdAt: Date
  readonly bytes: number
  readonly blobs: readonly Blob[]
  /** SHA-256 of each MiB. */
  readonly leaves: readonly Buffer[]
  readonly treeHash: string
  deletedAt?: Date
}

export interface Part {
  readonly first: number
  readonly blob: Blob
  readonly leaves: readonly Buffer[]
  readonly treeHash: string
}

export interface Multipart {
  readonly id: string
  readonly description: string
  readonly partBytes: number
  readonly createdAt: Date
  readonly parts: Map<number, Part>
  /** Complete may be repeated for a while. */
  completed?: { readonly at: Date; readonly archive: Archive }
}

export interface Job {
  readonly id: string
  readonly action: 'ArchiveRetrieval' | 'InventoryRetrieval'
  readonly description: string
  readonly archive?: Archive
  readonly first?: number
  readonly last?: number
  readonly tier: string
  readonly createdAt: Date
  readonly doneAt: Date
  readonly inventory?: string
  /** Says why it fails instead of succeeding. */
  failure?: string
  /** Its output went early: a test's doing. */
  expired?: boolean
}

export interface EmulatedVault {
  readonly name: string
  readonly createdAt: Date
  readonly archives: Map<string, Archive>
  readonly uploads: Map<string, Multipart>
  readonly jobs: Map<string, Job>
}

export interface GlacierLimits {
  /** How long a job takes, by tier. */
  readonly jobMs: Readonly<Record<'Expedited' | 'Standard' | 'Bulk' | 'Inventory', number>>
  /** How long the output of a job is there after it is done; jobs are listed for twice as long. */
  readonly outputMs: number
  /** What every listing returns at most. */
  readonly page: number
}

export const AS_THE_SERVICE: GlacierLimits = {
  jobMs: { Expedited: 3 * MINUTE_MS, Standard: 4 * HOUR_MS, Bulk: 8 * HOUR_MS, Inventory: 4 * HOUR_MS },
  outputMs: DAY_MS,
  page: 50,
}

export const newId = (bytes: number): string => randomBytes(bytes).toString('base64url')

export const arnOf = (region: string, vault: string): string => `arn:aws:glacier:${region}:111122223333:vaults/${vault}`

export const notFound = (what: string): Refusal => new Refusal(404, 'ResourceNotFoundException', `${what} not found`)
export const invalid = (message: string): Refusal => new Refusal(400, 'InvalidParameterValueException', message)

/** Flips one bit of the only archive with this description. */
export async function damageArchive(vault: EmulatedVault, isIt: (archive: Archive) => boolean, offset: number): Promise<void> {
  const [archive, ...more] = [...vault.archives.values()].filter((one) => !one.deletedAt && isIt(one))
  if (!archive || more.length > 0) throw new Error('there is no archive to damage, or more than one')
  await flipBit(archive.blobs, offset)
}

export async function deleteArchive(archive: Archive, clock: Clock): Promise<void> {
  archive.deletedAt = clock.now()
  await dropBlobs(archive.blobs)
}
