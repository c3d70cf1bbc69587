/**
 * Reads the output of a retrieval job, block by block. Each block is held until it is whole and its tree hash is that of the service,
 * where the service gives one; a connection that breaks is taken up where it broke.
 */
import { GetJobOutputCommand, type GetJobOutputCommandOutput } from '@aws-sdk/client-glacier'
import { FirnError } from '#libs/errors/errors.js'
import type { ByteRange, CallOptions } from '../vault.js'
import { holds, rangeText } from './aligned-range.js'
import { isNotFound } from './glacier-error.js'
import type { GlacierService } from './glacier-service.js'
import type { ThawJob } from './thaw-jobs.js'
import { MIB, treeHash } from './tree-hash.js'

/** A node of the archive's tree, wherever it begins at a multiple of itself. Two are held at a time. */
const BLOCK = 8 * MIB
/** How often a block is asked for that came with other bytes than the service says. */
const DAMAGED_TRIES = 3

export interface JobOutput {
  readonly service: GlacierService
  readonly job: ThawJob
  readonly vaultId: string
}

/** The bytes of `wanted`, which the job's range holds. `vault-frozen` where the output is not there any more. */
export async function* readJobOutput(output: JobOutput, wanted: ByteRange, options: CallOptions): AsyncGenerator<Uint8Array> {
  const { job } = output
  const end = wanted.offset + wanted.length
  const load = (position: number) => {
    const block = blockAt(position, end, job.range)
    const loading = loadBlock(output, block, options)
    loading.catch(() => {}) // met at the next turn, or of no interest when the reader leaves
    return { block, loading }
  }
  let next = wanted.length > 0 ? load(wanted.offset) : undefined
  let position = wanted.offset
  while (next) {
    const { block, loading } = next
    const bytes: Buffer = await loading
    options.signal?.throwIfAborted()
    const blockEnd = block.offset + block.length
    next = blockEnd < end ? load(blockEnd) : undefined
    const part = bytes.subarray(position - block.offset, Math.min(end, blockEnd) - block.offset)
    position = blockEnd
    yield part
  }
}

/**
 * Which bytes to load for those from `position`: whole MiB, as only they have a checksum, and no more than a block or what is wanted.
 * Blocks lie on a grid of the archive, as the nodes of its tree do.
 */
function blockAt(position: number, end: number, job: ByteRange): ByteRange {
  const limit = job.offset + job.length
  for (let size = BLOCK; ; size /= 2) {
    const offset = Math.max(Math.floor(position / size) * size, job.offset)
    const length = Math.min(Math.floor(position / size) * size + size, limit) - offset
    const block = { offset, length }
    // The smallest that still holds all that is wanted of it: a file of some KiB costs one MiB.
    const half = size / 2
    const fitsHalf = size > MIB && Math.floor(position / half) === Math.floor((Math.min(end, offset + length) - 1) / half)
    if (!fitsHalf) return block
  }
}

async function loadBlock(output: JobOutput, block: ByteRange, options: CallOptions): Promise<Buffer> {
  const { service, job, vaultId } = output
  const what = `The vault ${vaultId} cannot read ${job.key}`
  const bytes = Buffer.allocUnsafeSlow(block.length)
  for (let tries = 1; ; tries++) {
    const into = { bytes, filled: 0 }
    let checksum: string | undefined
    while (into.filled < bytes.length) {
      const from = into.filled
      await service.again(
        what,
        async () => {
          // Relative to what the job retrieved.
          const range = { offset: block.offset - job.range.offset + into.filled, length: block.length - into.filled }
          const answer = await send(output, range, options)
          // That of the rest of a block is of no use.
          if (into.filled === 0) checksum = answer.checksum
          await take(answer, into, options)
          return true
        },
        options,
      )
      if (into.filled === from) throw new FirnError('vault-failed', `${what}: the answer was empty.`)
    }
    if (checksum === undefined || treeHash(bytes).toString('hex') === checksum) return bytes
    if (tries === DAMAGED_TRIES) {
      throw new FirnError(
        'damaged',
        `${job.key} in the vault ${vaultId} is damaged: bytes ${rangeText(block)} do not have the tree hash that the service says.`,
      )
    }
  }
}

async function send(
  { service, job, vaultId }: JobOutput,
  range: ByteRange,
  { signal }: CallOptions,
): Promise<GetJobOutputCommandOutput> {
  const whole = holds(range, { offset: 0, length: job.range.length })
  try {
    return await service.client.send(
      new GetJobOutputCommand({ ...service.vault, jobId: job.id, ...(!whole && { range: `bytes=${rangeText(range)}` }) }),
      signal ? { abortSignal: signal } : {},
    )
  } catch (error) {
    if (!isNotFound(error)) throw error
    throw new FirnError(
      'vault-frozen',
      `The thawed copy of ${job.key} in the vault ${vaultId} has expired: it must be thawed again.`,
      { cause: error },
    )
  }
}

/** Copies what comes behind what is there. Bytes that came before the connection broke are kept. */
async function take(
  answer: GetJobOutputCommandOutput,
  into: { readonly bytes: Buffer; filled: number },
  { signal }: CallOptions,
): Promise<void> {
  for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
    signal?.throwIfAborted()
    const part = chunk.subarray(0, into.bytes.length - into.filled)
    into.bytes.set(part, into.filled)
    into.filled += part.length
  }
}
