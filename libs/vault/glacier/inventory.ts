/**
 * The service's own list of archives, about a day old. A crash between the end of an upload and its pointer leaves an archive that
 * nobody finds; its description in the inventory says its key, so its pointer is written again. What the inventory does not list is
 * missing only where it should be there: an archive that is younger than two days says nothing.
 */
import { GetJobOutputCommand, InitiateJobCommand } from '@aws-sdk/client-glacier'
import { isFirnError } from '#libs/errors/errors.js'
import type { CallOptions, Vault } from '../vault.js'
import { describedKey } from './description.js'
import { isNotFound } from './glacier-error.js'
import type { GlacierService } from './glacier-service.js'
import { type InventoryArchive, parseInventory } from './inventory-json.js'
import { keyOfPointer, readPointer, writePointer } from './pointer.js'
import { OUTPUT_KEPT_MS, type ThawJobs } from './thaw-jobs.js'

/** An inventory is made about once a day, and may need as long again to know an archive. */
export const FRESH_MS = 2 * 24 * 3_600_000

export interface InventoryParts {
  readonly service: GlacierService
  readonly companion: Vault
  readonly jobs: ThawJobs
  readonly vaultId: string
  readonly now: () => number
}

export interface InventoryFindings {
  /** Of when it is. */
  readonly madeAt: Date
  /** Keys whose pointers were written again. */
  readonly mended: readonly string[]
  /** Keys whose archives it does not list, though they are old enough. */
  readonly missing: ReadonlySet<string>
}

/** Asks for an inventory unless one is on its way or ready. It takes hours, and costs one retrieval request. */
export async function requestInventory({ service, jobs, vaultId, now }: InventoryParts, options: CallOptions): Promise<void> {
  const isThere = async () => {
    const { inventories } = await jobs.list(0, options)
    return inventories.some((job) => job.state === 'running' || isReady(job, now())) || undefined
  }
  if (await isThere()) return
  await service
    .again(
      `The vault ${vaultId} cannot be asked for its inventory`,
      async () => {
        await service.client.send(
          new InitiateJobCommand({
            ...service.vault,
            jobParameters: { Type: 'inventory-retrieval', Format: 'JSON', Description: '{"firn":1}' },
          }),
        )
        return true
      },
      // A lost answer is no reason to pay for another one.
      { ...options, settle: isThere, keep: isNotFound },
    )
    .catch((error) => {
      if (!isNotFound(error)) throw error // a new vault has none yet
    })
  jobs.forget()
}

/** What the latest inventory that is ready says; undefined where none is. Writes the pointers that are lacking. */
export async function readInventory(parts: InventoryParts, options: CallOptions): Promise<InventoryFindings | undefined> {
  const { service, companion, jobs, vaultId, now } = parts
  const { inventories } = await jobs.list(0, options)
  const job = inventories.filter((one) => isReady(one, now())).sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime())[0]
  if (job === undefined) return undefined

  const pointers = new Set<string>()
  for await (const { key: name } of companion.list('', options)) {
    const key = keyOfPointer(name)
    if (key !== undefined) pointers.add(key)
  }

  const what = `The inventory of the vault ${vaultId} cannot be read`
  const mended: string[] = []
  const lacking = new Set(pointers)
  let madeAt: Date | undefined
  try {
    await service.again(
      what,
      async () => {
        const { body } = await service.client.send(
          new GetJobOutputCommand({ ...service.vault, jobId: job.id }),
          options.signal ? { abortSignal: options.signal } : {},
        )
        madeAt = await parseInventory(body as AsyncIterable<Uint8Array>, async (archive) => {
          const key = describedKey(archive.description)
          if (key === undefined) return
          lacking.delete(key)
          if (pointers.has(key)) return
          pointers.add(key)
          if (await mend(companion, service.vault.vaultName, key, archive)) mended.push(key)
        })
        return true
      },
      { ...options, keep: isNotFound },
    )
  } catch (error) {
    if (isNotFound(error)) return undefined // expired since
    throw error
  }
  if (madeAt === undefined) return undefined

  const missing = new Set<string>()
  for (const key of lacking) {
    const pointer = await readPointer(companion, key, options)
    if (pointer && pointer.archiveId !== '' && pointer.createdAt.getTime() + FRESH_MS < madeAt.getTime()) missing.add(key)
  }
  return { madeAt, mended, missing }
}

async function mend(companion: Vault, vault: string, key: string, archive: InventoryArchive): Promise<boolean> {
  const { archiveId, bytes, treeHash, createdAt } = archive
  try {
    await writePointer(companion, { key, archiveId, bytes, treeHash, vault, createdAt })
    return true
  } catch (error) {
    // Written meanwhile; or a description whose key is none of ours after all.
    if (isFirnError(error, 'vault-exists', 'usage')) return false
    throw error
  }
}

const isReady = ({ state, endedAt }: { state: string; endedAt?: Date }, now: number): boolean =>
  state === 'done' && endedAt !== undefined && now < endedAt.getTime() + OUTPUT_KEPT_MS
