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
import { step } from '#libs/os/steps.js'
import { beginLife } from '../upload-life.js'
import type { PartMemory, UploadMemory } from '../upload-memory.js'
import type { CallOptions, Upload, Vault } from '../vault.js'
import { rangeText } from './aligned-range.js'
import { describeKey } from './description.js'
import { isNotFound } from './glacier-error.js'
import { type GlacierService, hashedBody } from './glacier-service.js'
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
  readonly memory: UploadMemory
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
  step('glacier-vault.upload-begun')
  const upload = { ...vault, uploadId }

  const whole = createHash('sha256')
  const partHashes: Buffer[] = []
  const inFlight = new Set<Promise<void>>()
  let part: ReturnType<typeof newPart> | undefined
  let offset = 0
  function newPart(memory: PartMemory) {
    return { memory, filled: 0, tree: treeHasher(), plain: createHash('sha256') }
  }

  const letGo = () => {
    part?.memory.give()
    part = undefined
  }

  const life = beginLife(key, signal, async () => {
    await Promise.allSettled(inFlight)
    letGo()
    await removeParts()
  })

  async function removeParts(): Promise<void> {
    try {
      await again(what, () => client.send(new AbortMultipartUploadCommand(upload)), { keep: isNotFound })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  /** Starts a part on its way; its failure is met by the next call. */
  async function send(full: NonNullable<typeof part>): Promise<void> {
    const { memory: held, filled, tree, plain } = full
    try {
      while (inFlight.size >= PARTS_IN_FLIGHT) await Promise.race(inFlight)
      life.checkUsable()
      if (partHashes.length >= MOST_PARTS) {
        throw new FirnError(
          'vault-refused',
          `${what}: it is larger than ${MOST_PARTS} parts of ${partBytes} bytes, and its size was not known when it began.`,
        )
      }
    } catch (error) {
      held.give()
      throw error
    }
    const body = hashedBody(held.buffer.subarray(0, filled), plain.digest('hex'))
    const hash = tree.digest()
    const range = rangeText({ offset, length: filled })
    partHashes.push(hash)
    offset += filled
    const sending = sendPart(body, hash.toString('hex'), range)
      .catch(life.note)
      .finally(() => {
        inFlight.delete(sending)
        held.give()
      })
    inFlight.add(sending)
  }

  async function sendPart(body: Buffer, checksum: string, range: string): Promise<void> {
    const command = () => new UploadMultipartPartCommand({ ...upload, checksum, range: `bytes ${range}/*`, body })
    await again(
      what,
      async () => {
        const answer = await client.send(command(), { abortSignal: life.stopped })
        if (answer.checksum !== undefined && answer.checksum !== checksum) {
          throw new FirnError('vault-failed', `${what}: the service received other bytes than were sent.`)
        }
        return true
      },
      // No answer came: the part may be there all the same, and is not sent twice then.
      { signal: life.stopped, settle: async () => ((await holdsPart(range, checksum)) ? true : undefined) },
    )
    step('glacier-vault.part-sent')
  }

  async function holdsPart(range: string, checksum: string): Promise<boolean> {
    for await (const { Parts = [] } of paginateListParts({ client, pageSize: 50 }, upload)) {
      const found = Parts.find(({ RangeInBytes }) => RangeInBytes === range)
      if (found) return found.SHA256TreeHash === checksum
    }
    return false
  }

  async function seal(): Promise<undefined> {
    life.checkUsable()
    if (life.state === 'sealed') return undefined
    try {
      if (part) {
        const last = part
        part = undefined
        await send(last)
      }
      await Promise.all(inFlight)
      life.checkUsable()
      life.becomes('sealed')
      return undefined // the service verified each part, and does not read back
    } catch (error) {
      return life.fail(error)
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
      life.checkWritable()
      whole.update(chunk)
      try {
        for (let from = 0; from < chunk.length; ) {
          if (!part) {
            part = newPart(await memory.take(partBytes, life.stopped))
            life.checkUsable()
          }
          const bytes = chunk.subarray(from, from + partBytes - part.filled)
          part.memory.buffer.set(bytes, part.filled)
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
        life.checkUsable()
      } catch (error) {
        await life.fail(error)
      }
    },

    seal: () => life.oneAtATime(seal),

    complete: () =>
      life.oneAtATime(async () => {
        await seal()
        life.checkUsable()
        const treeHash = treeHashOfParts(partHashes).toString('hex')
        const empty = offset === 0
        const archiveId = empty ? '' : await completeArchive(treeHash)
        if (empty) await removeParts()
        // From here on the archive is there, and nobody's signal keeps its pointer from being written.
        life.becomes('done')
        step('glacier-vault.archived')
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

    abort: life.abort,
  }
}

const sendOptions = (signal: AbortSignal | undefined) => (signal ? { abortSignal: signal } : {})
