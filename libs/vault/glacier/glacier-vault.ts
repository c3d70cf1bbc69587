/**
 * A vault of Amazon Glacier (the service with vaults and archives, not the storage classes of S3). It knows archives by ids alone and
 * is never readable at once, so a companion vault that needs no thaw holds, under the same keys, the small objects that are put, and
 * for each archive a pointer (pointer.ts). Everything else is the service's own: any process finds any archive and any thaw.
 */
import {
  AbortMultipartUploadCommand,
  CreateVaultCommand,
  DescribeJobCommand,
  DescribeVaultCommand,
  InitiateJobCommand,
  paginateListMultipartUploads,
} from '@aws-sdk/client-glacier'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { checkKey, checkPrefix } from '../object-key.js'
import { type UploadMemory, uploadMemory } from '../upload-memory.js'
import type { ByteRange, CallOptions, Thaw, ThawRequest, Vault } from '../vault.js'
import { rangeText, rangeToThaw } from './aligned-range.js'
import { describedKey, describeKey } from './description.js'
import { isNotFound } from './glacier-error.js'
import { openService, type ServiceOptions } from './glacier-service.js'
import { beginUpload } from './glacier-upload.js'
import { type InventoryFindings, readInventory, requestInventory } from './inventory.js'
import { readJobOutput } from './job-output.js'
import { listArchives, storedOf } from './list-archives.js'
import { LARGEST_ARCHIVE, partBytesFor } from './part-size.js'
import { checkArchiveKey, keyOfPointer, type Pointer, pointerKey, readPointer } from './pointer.js'
import { jobFor, openThawJobs, type ThawJob, thawJobOf, thawOf } from './thaw-jobs.js'

/** A list of jobs that is so old is good enough to begin a thaw: many are begun one after the other, and each is added to it. */
const JOBS_FOR_THAW_MS = 30_000
/** And so old to read: a job that is ready stays so for a day. */
const JOBS_FOR_READ_MS = 300_000
/** From so many keys on, directories of the companion are listed instead of asking for each key. */
const STATS_INSTEAD_OF_LIST = 20
const STATS_AT_ONCE = 16
const USUAL_MEMORY = 512 * 1024 * 1024

const TIERS = { expedited: 'Expedited', standard: 'Standard', bulk: 'Bulk' } as const

export interface GlacierVaultOptions extends ServiceOptions {
  /** Holds pointers and manifests; closed together with the vault. */
  readonly companion: Vault
  /** All parts in flight of this process. Default: 512 MiB for this vault. */
  readonly memory?: UploadMemory
  /** Default: nothing costs anything. */
  readonly quote?: Vault['quote']
  /** Milliseconds since 1970, for tests that cannot wait for days. Default `Date.now`. */
  readonly now?: () => number
}

export function openGlacierVault(options: GlacierVaultOptions): Vault {
  const { vaultName, companion, now = Date.now, memory = uploadMemory(USUAL_MEMORY), quote = () => undefined } = options
  const id = `glacier://${vaultName}`
  const service = openService(options)
  const { client, again } = service
  const jobs = openThawJobs(service, id, now)
  const inventoryParts = { service, companion, jobs, vaultId: id, now }
  let inventory: InventoryFindings | undefined
  const thawing = new Map<string, Promise<Thaw>>()

  const missing = (key: string) => new FirnError('vault-missing', `The vault ${id} has no object ${key}.`)
  const sendOptions = (signal: AbortSignal | undefined) => (signal ? { abortSignal: signal } : {})

  /** The archive of a key; undefined where there is none, or where the inventory says that it is gone. */
  async function archiveOf(key: string, call: CallOptions): Promise<Pointer | undefined> {
    return inventory?.missing.has(key) ? undefined : readPointer(companion, key, call)
  }

  /** What the companion holds under this very key: never a pointer. */
  const smallObject = (key: string, call: CallOptions) =>
    keyOfPointer(key) === undefined ? companion.stat(key, call) : Promise.resolve(undefined)

  async function refuseTaken(key: string, call: CallOptions): Promise<void> {
    const [archive, small] = await Promise.all([companion.stat(pointerKey(key), call), companion.stat(key, call)])
    if (archive || small) throw new FirnError('vault-exists', `The vault ${id} has an object ${key} already.`)
  }

  /** Asks for a retrieval, unless one that covers the range runs or is ready. */
  async function retrieve(pointer: Pointer, request: ThawRequest, call: CallOptions): Promise<Thaw> {
    const { key, archiveId, bytes } = pointer
    const asked = rangeToThaw(request.range, bytes)
    const existing = async (maxAgeMs: number) => {
      const job = jobFor((await jobs.list(maxAgeMs, call)).thaws.get(key), request.range, now())
      return job && job.state !== 'failed' && job.archiveId === archiveId ? job : undefined
    }
    const known = await existing(JOBS_FOR_THAW_MS)
    if (known) return thawOf(known)
    const started = await again(
      `The vault ${id} cannot thaw ${key}`,
      async (): Promise<ThawJob> => {
        const { jobId } = await client.send(
          new InitiateJobCommand({
            ...service.vault,
            jobParameters: {
              Type: 'archive-retrieval',
              ArchiveId: archiveId,
              Tier: TIERS[request.tier],
              Description: describeKey(key),
              ...(asked && { RetrievalByteRange: rangeText(asked) }),
            },
          }),
          sendOptions(call.signal),
        )
        // Its time is the service's, so that whoever looks later is told the same.
        const job = await again(`The vault ${id} cannot say what thaws`, async () =>
          thawJobOf(await client.send(new DescribeJobCommand({ ...service.vault, jobId }))),
        )
        if (job) return job
        throw new FirnError('vault-failed', `The vault ${id} does not describe the retrieval of ${key} as it was asked for.`)
      },
      {
        ...call,
        // No answer came: it may have begun all the same, and is not paid twice.
        settle: () => existing(0),
        keep: isNotFound,
      },
    ).catch((error) => {
      jobs.forget()
      throw isNotFound(error)
        ? new FirnError('vault-missing', `The vault ${id} has no archive any more for ${key}, though its pointer is there.`, {
            cause: error,
          })
        : error
    })
    jobs.add(started)
    return thawOf(started)
  }

  /** Which of the keys are archives or small objects, for those that no job names. */
  async function kindsOf(keys: readonly string[], call: CallOptions): Promise<Map<string, 'archive' | 'empty' | 'small'>> {
    const kinds = new Map<string, 'archive' | 'empty' | 'small'>()
    if (keys.length <= STATS_INSTEAD_OF_LIST) {
      await eachAtOnce(keys, async (key) => {
        const pointer = await archiveOf(key, call)
        if (pointer) kinds.set(key, pointer.bytes === 0 ? 'empty' : 'archive')
        else if (await smallObject(key, call)) kinds.set(key, 'small')
      })
      return kinds
    }
    const wanted = new Set(keys)
    const directories = new Set(keys.map((key) => key.slice(0, key.lastIndexOf('/') + 1)))
    for (const directory of directories) {
      for await (const { key: name } of companion.list(directory, call)) {
        const archive = keyOfPointer(name)
        if (archive !== undefined && wanted.has(archive) && !inventory?.missing.has(archive)) kinds.set(archive, 'archive')
        else if (wanted.has(name) && !kinds.has(name)) kinds.set(name, 'small')
      }
    }
    return kinds
  }

  return {
    id,
    thawsRanges: true,
    maxObjectBytes: LARGEST_ARCHIVE,

    async prepare({ signal, make = true } = {}) {
      signal?.throwIfAborted()
      await companion.prepare(signal ? { signal, make } : { make })
      const what = `The vault ${id} cannot be used`
      try {
        await again(what, () => client.send(new DescribeVaultCommand(service.vault), sendOptions(signal)), {
          ...(signal && { signal }),
          keep: isNotFound,
        })
      } catch (error) {
        if (!isNotFound(error)) throw error
        if (!make) throw new FirnError('vault-away', `The vault ${id} is not there.`, { cause: error })
        await again(what, () => client.send(new CreateVaultCommand(service.vault), sendOptions(signal)), signal ? { signal } : {})
      }
    },

    async upload(key, { signal, expectedBytes, warm } = {}) {
      signal?.throwIfAborted()
      checkArchiveKey(key)
      const call = signal ? { signal } : {}
      if (warm) {
        await refuseTaken(key, call)
        return companion.upload(key, { ...call, warm })
      }
      const partBytes = partBytesFor(expectedBytes)
      await refuseTaken(key, call)
      return beginUpload({ key, vaultId: id, service, companion, partBytes, memory, now }, call)
    },

    async put(key, bytes, call = {}) {
      call.signal?.throwIfAborted()
      checkArchiveKey(key)
      if (await companion.stat(pointerKey(key), call)) {
        throw new FirnError('vault-exists', `The vault ${id} has an object ${key} already.`)
      }
      await companion.put(key, bytes, call)
    },

    async stat(key, call = {}) {
      call.signal?.throwIfAborted()
      checkKey(key)
      const archive = inventory?.missing.has(key) ? undefined : await storedOf(companion, key, call)
      return archive ?? smallObject(key, call)
    },

    async verify(key, expected, call = {}) {
      call.signal?.throwIfAborted()
      checkKey(key)
      const pointer = await archiveOf(key, call)
      if (!pointer) {
        if (!(await smallObject(key, call))) throw missing(key)
        return companion.verify(key, expected, call)
      }
      const damaged = (what: string) => new FirnError('damaged', `${key} in the vault ${id} is damaged: ${what}.`)
      if (pointer.bytes !== expected.bytes) throw damaged(`it has ${pointer.bytes} bytes instead of ${expected.bytes}`)
      // One from the inventory knows no plain SHA-256; its tree hash is that of the bytes which were sent, or it were not there.
      if (pointer.sha256 !== undefined && pointer.sha256 !== expected.sha256.toLowerCase()) {
        throw damaged(`its SHA-256 is ${pointer.sha256} instead of ${expected.sha256}`)
      }
      return pointer.sha256 === undefined ? 'size' : 'checksum'
    },

    async *list(prefix, call = {}) {
      checkPrefix(prefix)
      call.signal?.throwIfAborted()
      // Who looks at everything (check, rebuild-catalog) is told what the service's own list knows, too.
      if (prefix === '') {
        const found = await readInventory(inventoryParts, call)
        if (found) inventory = found
        else await requestInventory(inventoryParts, call)
      }
      for await (const stored of listArchives(companion, prefix, call)) if (!inventory?.missing.has(stored.key)) yield stored
    },

    async *read(key, range, call = {}) {
      call.signal?.throwIfAborted()
      checkKey(key)
      checkRange(key, range)
      const pointer = await archiveOf(key, call)
      if (!pointer) {
        if (!(await smallObject(key, call))) throw missing(key)
        yield* companion.read(key, range, call)
        return
      }
      const wanted = range ?? { offset: 0, length: pointer.bytes }
      if (wanted.offset + wanted.length > pointer.bytes) {
        throw new FirnError(
          'damaged',
          `${key} in the vault ${id} has ${pointer.bytes} bytes; byte ${wanted.offset + wanted.length} of it was asked for.`,
        )
      }
      if (wanted.length === 0) return
      const readable = async (maxAgeMs: number) => {
        const job = jobFor((await jobs.list(maxAgeMs, call)).thaws.get(key), wanted, now())
        return job?.state === 'done' && job.archiveId === pointer.archiveId ? job : undefined
      }
      const job = (await readable(JOBS_FOR_READ_MS)) ?? (await readable(0))
      if (!job) throw new FirnError('vault-frozen', `${key} in the vault ${id} is cold: it must be thawed before it can be read.`)
      try {
        yield* readJobOutput({ service, job, vaultId: id }, wanted, call)
      } catch (error) {
        if (isFirnError(error, 'vault-frozen')) jobs.forget()
        throw error
      }
    },

    async thaw(key, request, call = {}) {
      call.signal?.throwIfAborted()
      checkKey(key)
      checkRange(key, request.range)
      const pointer = await archiveOf(key, call)
      if (!pointer) {
        if (!(await smallObject(key, call))) throw missing(key)
        return { state: 'ready' }
      }
      if (pointer.bytes === 0 || request.range?.length === 0) return { state: 'ready' }
      // One after the other for each key: two that ask at once would both find no job.
      const before = thawing.get(key)
      const mine = (before ?? Promise.resolve()).then(
        () => retrieve(pointer, request, call),
        () => retrieve(pointer, request, call),
      )
      thawing.set(key, mine)
      try {
        return await mine
      } finally {
        if (thawing.get(key) === mine) thawing.delete(key)
      }
    },

    quote,

    async thawStates(keys, { signal, ranges } = {}) {
      signal?.throwIfAborted()
      const call = signal ? { signal } : {}
      const states = new Map<string, Thaw>()
      const { thaws } = await jobs.list(0, call)
      const unknown: string[] = []
      for (const key of keys) {
        checkKey(key)
        const job = jobFor(thaws.get(key), ranges?.get(key), now())
        if (job) states.set(key, thawOf(job))
        else unknown.push(key)
      }
      const kinds = unknown.length > 0 ? await kindsOf(unknown, call) : new Map<string, never>()
      for (const key of unknown) {
        const kind = kinds.get(key)
        if (kind === undefined) states.set(key, { state: 'failed', reason: `The vault ${id} has no object ${key}.` })
        else states.set(key, kind === 'archive' ? { state: 'cold' } : { state: 'ready' })
      }
      return states
    },

    async sweep(isDead, { signal } = {}) {
      const call = signal ? { signal } : {}
      const removed = new Set<string>()
      const what = `The vault ${id} cannot be tidied`
      const uploads = await again(
        what,
        async () => {
          const found: { key: string; uploadId: string }[] = []
          for await (const { UploadsList = [] } of paginateListMultipartUploads(
            { client, pageSize: 50 },
            service.vault,
            sendOptions(signal),
          )) {
            for (const { ArchiveDescription, MultipartUploadId: uploadId } of UploadsList) {
              const key = describedKey(ArchiveDescription)
              if (key !== undefined && uploadId !== undefined) found.push({ key, uploadId })
            }
          }
          return found
        },
        call,
      )
      for (const { key, uploadId } of uploads) {
        signal?.throwIfAborted()
        if (!(await isDead(key))) continue
        try {
          await again(what, () => client.send(new AbortMultipartUploadCommand({ ...service.vault, uploadId })), {
            ...call,
            keep: isNotFound,
          })
          removed.add(key)
        } catch (error) {
          if (!isNotFound(error)) throw error
        }
      }
      for (const name of await companion.sweep((name) => isDead(keyOfPointer(name) ?? name), call))
        removed.add(keyOfPointer(name) ?? name)
      return [...removed]
    },

    async close() {
      service.close()
      await companion.close()
    },
  }
}

function checkRange(key: string, range: ByteRange | undefined): void {
  if (!range) return
  const { offset, length } = range
  if (!(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0)) {
    throw new FirnError('failed', `The range ${offset}+${length} of ${key} is none.`)
  }
}

async function eachAtOnce<T>(items: readonly T[], step: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += STATS_AT_ONCE) {
    await Promise.all(items.slice(start, start + STATS_AT_ONCE).map(step))
  }
}
