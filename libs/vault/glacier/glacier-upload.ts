/**
 * An archive on its way: parts with their tree hashes, held in memory until the service has them, then complete, then the pointer in
 * the companion vault, in the same step. A doubtful end is settled by asking: ListParts says which parts are there, and a
 * CompleteMultipartUpload may be repeated for a while and gives the same archive id.
 */
import { createHash } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  DeleteArchiveCommand,
  InitiateMultipartUploadCommand,
  paginateListParts,
  UploadMultipartPartCommand,
} from '@aws-sdk/client-glacier'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { CallOptions, Upload, Vault } from '../vault.js'
import { rangeText } from './aligned-range.js'
import { describeKey } from './description.js'
import { isNotFound } from './glacier-error.js'
import { type GlacierService, hashedBody } from './glacier-service.js'
import type { PartMemory } from './part-memory.js'
import { MOST_PARTS } from './part-size.js'
import { writePointer } from './pointer.js'
import { treeHasher, treeHashOfParts } from './tree-hash.js'

/** Parts of one upload that travel at once: enough to fill a line, and each is memory. */
const PARTS_IN_FLIGHT = 4

export interface UploadPlace {
  readonly key: string
  readonly vaultId: string
  readonly service: GlacierService
  readonly companion: Vault
  readonly partBytes: number
  readonly memory: PartMemory
  readonly now: () => number
}

export async function beginUpload(place: UploadPlace, { signal }: CallOptions): Promise<Upload> {
  const { key, vaultId, service, companion, partBytes, memory } = place
  const { client, vault, again } = service
  const what = `The vault ${vaultId} cannot take ${key}`
  const { uploadId } = await again(
    what,
    () =>
      client.send(
        new InitiateMultipartUploadCommand({ ...vault, partSize: String(partBytes), archiveDescription: describeKey(key) }),
        sendOptions(signal),
      ),
    signal ? { signal } : {},
  )
  const upload = { ...vault, uploadId }

  // Ends everything of this upload that is under way: the caller's signal, an abort, a failed part.
  const stop = new AbortController()
  const whole = createHash('sha256')
  const partHashes: Buffer[] = []
  const inFlight = new Set<Promise<void>>()
  let held = 0
  let part: ReturnType<typeof newPart> | undefined
  let offset = 0
  let state: 'writing' | 'sealed' | 'done' | 'gone' = 'writing'
  let failure: { error: unknown } | undefined
  let ending: Promise<unknown> = Promise.resolve()

  function newPart(buffer: Buffer) {
    return { buffer, filled: 0, tree: treeHasher(), plain: createHash('sha256') }
  }

  /** One ending after another: an abort during `complete` waits, and finds either a whole archive or nothing. */
  function oneAtATime<T>(step: () => Promise<T>): Promise<T> {
    const next = ending.then(step)
    ending = next.catch(() => {})
    return next
  }

  const onAbort = () => {
    stop.abort(signal?.reason)
    void oneAtATime(discard).catch(() => {})
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  const release = () => signal?.removeEventListener('abort', onAbort)

  async function discard(): Promise<void> {
    if (state === 'done' || state === 'gone') return
    state = 'gone'
    stop.abort(new FirnError('failed', `The upload of ${key} was aborted.`))
    await Promise.allSettled(inFlight)
    if (part) giveBack(part.buffer)
    part = undefined
    try {
      await again(what, () => client.send(new AbortMultipartUploadCommand(upload)), { keep: isNotFound })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  function giveBack(buffer: Buffer): void {
    held--
    memory.giveBack(buffer)
  }

  function checkUsable(): void {
    if (failure) throw failure.error
    signal?.throwIfAborted()
    if (state === 'done') throw new FirnError('failed', `The upload of ${key} is complete already.`)
    if (state === 'gone') throw new FirnError('failed', `The upload of ${key} was aborted.`)
  }

  function fail(error: unknown): void {
    failure ??= { error: signal?.aborted ? signal.reason : error }
    stop.abort(failure.error)
  }

  /** Starts a part on its way; its failure is met by the next call. */
  async function send(full: NonNullable<typeof part>): Promise<void> {
    const { buffer, filled, tree, plain } = full
    try {
      while (inFlight.size >= PARTS_IN_FLIGHT) await Promise.race(inFlight)
      checkUsable()
      if (partHashes.length >= MOST_PARTS) {
        throw new FirnError(
          'vault-refused',
          `${what}: it is larger than ${MOST_PARTS} parts of ${partBytes} bytes, and its size was not known when it began.`,
        )
      }
    } catch (error) {
      giveBack(buffer)
      throw error
    }
    const body = hashedBody(buffer.subarray(0, filled), plain.digest('hex'))
    const hash = tree.digest()
    const range = rangeText({ offset, length: filled })
    partHashes.push(hash)
    offset += filled
    const sending = sendPart(body, hash.toString('hex'), range)
      .catch(fail)
      .finally(() => {
        inFlight.delete(sending)
        giveBack(buffer)
      })
    inFlight.add(sending)
  }

  async function sendPart(body: Buffer, checksum: string, range: string): Promise<void> {
    const command = () => new UploadMultipartPartCommand({ ...upload, checksum, range: `bytes ${range}/*`, body })
    await again(
      what,
      async () => {
        const answer = await client.send(command(), { abortSignal: stop.signal })
        if (answer.checksum !== undefined && answer.checksum !== checksum) {
          throw new FirnError('vault-failed', `${what}: the service received other bytes than were sent.`)
        }
        return true
      },
      // No answer came: the part may be there all the same, and is not sent twice then.
      { signal: stop.signal, settle: async () => ((await holdsPart(range, checksum)) ? true : undefined) },
    )
  }

  async function holdsPart(range: string, checksum: string): Promise<boolean> {
    for await (const { Parts = [] } of paginateListParts({ client, pageSize: 50 }, upload)) {
      const found = Parts.find(({ RangeInBytes }) => RangeInBytes === range)
      if (found) return found.SHA256TreeHash === checksum
    }
    return false
  }

  async function seal(): Promise<undefined> {
    checkUsable()
    if (state === 'sealed') return undefined
    try {
      if (part) {
        const last = part
        part = undefined
        await send(last)
      }
      await Promise.all(inFlight)
      checkUsable()
      state = 'sealed'
      return undefined // the service verified each part, and does not read back
    } catch (error) {
      fail(error)
      throw failure!.error
    }
  }

  /** The archive id, also where an answer was lost. */
  async function completeArchive(treeHash: string): Promise<string> {
    const command = new CompleteMultipartUploadCommand({ ...upload, archiveSize: String(offset), checksum: treeHash })
    let tries = 0
    try {
      const { archiveId, checksum } = await again(
        what,
        () => {
          tries++
          return client.send(command)
        },
        { keep: isNotFound },
      )
      if (checksum !== undefined && checksum !== treeHash) {
        throw new FirnError('damaged', `${what}: the service holds it with the tree hash ${checksum} instead of ${treeHash}.`)
      }
      if (archiveId) return archiveId
      throw new FirnError('vault-failed', `${what}: the service named no archive id.`)
    } catch (error) {
      if (!isNotFound(error)) throw error
      if (tries === 1)
        throw new FirnError('vault-failed', `${what}: the upload is not there any more; it was removed by somebody else.`)
      throw new FirnError(
        'vault-failed',
        `${what}: no answer came to the end of the upload, and the upload is not there any more. Whether the archive is there, the inventory will say (firn check reads it, a day later).`,
        { cause: error },
      )
    }
  }

  return {
    async write(chunk) {
      checkUsable()
      if (state === 'sealed') throw new FirnError('failed', `The upload of ${key} is sealed already.`)
      whole.update(chunk)
      try {
        for (let from = 0; from < chunk.length; ) {
          if (!part) {
            const buffer = await memory.take(partBytes, held++)
            try {
              checkUsable()
            } catch (error) {
              giveBack(buffer)
              throw error
            }
            part = newPart(buffer)
          }
          const bytes = chunk.subarray(from, from + partBytes - part.filled)
          part.buffer.set(bytes, part.filled)
          part.tree.update(bytes)
          part.plain.update(bytes)
          part.filled += bytes.length
          from += bytes.length
          if (part.filled === partBytes) {
            const full = part
            part = undefined
            await send(full)
          }
        }
        checkUsable()
      } catch (error) {
        fail(error)
        throw failure!.error
      }
    },

    seal: () => oneAtATime(seal),

    complete: () =>
      oneAtATime(async () => {
        await seal()
        checkUsable()
        const treeHash = treeHashOfParts(partHashes).toString('hex')
        const empty = offset === 0
        const archiveId = empty ? '' : await completeArchive(treeHash)
        if (empty) await discard()
        // From here on the archive is there, and nobody's signal keeps its pointer from being written.
        state = 'done'
        release()
        const pointer = {
          key,
          archiveId,
          bytes: offset,
          treeHash,
          sha256: whole.digest('hex'),
          vault: vault.vaultName,
          createdAt: new Date(place.now()),
        }
        try {
          await again(what, () => writePointer(companion, pointer))
        } catch (error) {
          // Another upload of this key was faster: this archive would never be found, and was never promised to anybody.
          if (isFirnError(error, 'vault-exists') && !empty)
            await client.send(new DeleteArchiveCommand({ ...vault, archiveId })).catch(() => {})
          throw error
        }
        return { archiveId: archiveId || key }
      }),

    abort: () =>
      oneAtATime(async () => {
        release()
        await discard()
      }),
  }
}

const sendOptions = (signal: AbortSignal | undefined) => (signal ? { abortSignal: signal } : {})
