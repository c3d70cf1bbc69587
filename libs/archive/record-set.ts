/** Writes the record of a set beside its bundles: when its crawl has ended, and when it is over. What nobody wrote then is written later. */
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { recordKey } from '#libs/bundle/key.js'
import { type RecordPart, recordLines } from '#libs/bundle/set-record.js'
import type { Catalog, SetRow } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { Vault } from '#libs/vault/vault.js'
import { mustBeThere } from './own-vault.js'
import type { Vaults } from './vaults.js'

export interface RecordParts {
  readonly catalog: Pick<Catalog, 'bundlesOf' | 'problems' | 'goneNames' | 'markRecorded'>
}

/** So much is sent in one step; of more, as much is held at a time. */
const SMALL_BYTES = 4 * 2 ** 20

/** The next record of a set, as the set is now. Returns its key. */
export async function recordSet(
  parts: RecordParts,
  vault: Vault,
  set: SetRow,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<string> {
  for (let n = set.records + 1; ; n++) {
    const key = recordKey({ setId: set.id, startedAt: set.startedAt, n })
    try {
      await store(vault, key, recordLines(partsOf(parts, set)), signal ? { signal } : {})
    } catch (error) {
      // Another process was faster, or this one was stopped before the catalog knew.
      if (isFirnError(error, 'vault-exists')) continue
      throw error
    }
    await parts.catalog.markRecorded(set.id, n, set.state)
    return key
  }
}

async function store(vault: Vault, key: string, lines: AsyncIterable<Uint8Array>, call: { signal?: AbortSignal }): Promise<void> {
  const gzip = createGzip({ level: 6 })
  const packing = pipeline(joined(lines), gzip)
  packing.catch(() => {}) // met by whoever reads from it
  let held: Buffer[] = []
  let bytes = 0
  let upload: Awaited<ReturnType<Vault['upload']>> | undefined
  try {
    for await (const chunk of gzip as AsyncIterable<Buffer>) {
      held.push(chunk)
      bytes += chunk.length
      if (bytes < SMALL_BYTES) continue
      upload ??= await vault.upload(key, { ...call, warm: true })
      for (const piece of held) await upload.write(piece)
      held = []
      bytes = 0
    }
    if (upload === undefined) return await vault.put(key, Buffer.concat(held), call)
    for (const piece of held) await upload.write(piece)
    await upload.seal()
    await upload.complete()
  } catch (error) {
    await upload?.abort()
    throw error
  } finally {
    gzip.destroy()
  }
}

const CHUNK_BYTES = 64 * 1024

/** Lines are short, and each piece that is packed costs a turn of its own. */
async function* joined(lines: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let chunk: Uint8Array[] = []
  let bytes = 0
  for await (const line of lines) {
    chunk.push(line)
    bytes += line.length
    if (bytes < CHUNK_BYTES) continue
    yield Buffer.concat(chunk)
    chunk = []
    bytes = 0
  }
  if (bytes > 0) yield Buffer.concat(chunk)
}

async function* partsOf({ catalog }: RecordParts, set: SetRow): AsyncGenerator<RecordPart> {
  const { id, host, roots, options, description, tags, vaultId, startedAt, finishedAt, state, reason, counts, marks } = set
  const { bundles, bundlesStored, bundlesFailed, plannedBytes, plannedFiles, ...plain } = counts
  yield {
    kind: 'header',
    header: {
      set: id,
      host,
      roots,
      options,
      description,
      tags,
      vault: vaultId,
      startedAt,
      ...(finishedAt && { finishedAt }),
      state,
      ...(reason !== undefined && { reason }),
      counts: {
        ...plain,
        bundles,
        bundles_stored: bundlesStored,
        bundles_failed: bundlesFailed,
        planned_bytes: plannedBytes,
        planned_files: plannedFiles,
      },
      ...(marks && { marks }),
    },
  }
  for await (const page of catalog.bundlesOf(id)) {
    for (const bundle of page) {
      const { key, tarBytes, tarSha256 } = bundle
      yield {
        kind: 'bundle',
        bundle: {
          bundle: bundle.id,
          attempt: bundle.attempt,
          state: bundle.state,
          ...(key !== undefined &&
            tarBytes !== undefined &&
            tarSha256 !== undefined && { key, bytes: tarBytes, sha256: tarSha256 }),
          files: bundle.files,
          entries: bundle.entries,
          fileBytes: bundle.bytes,
          ...(bundle.reason !== undefined && { reason: bundle.reason }),
        },
      }
    }
  }
  for await (const page of catalog.problems(id)) for (const problem of page) yield { kind: 'problem', problem }
  for await (const page of catalog.goneNames(id)) {
    for (const { path, at, removed } of page) yield { kind: removed ? 'removed' : 'gone', gone: { path, at } }
  }
}

/** What a vault does not take now is written by whoever comes next; trouble of the catalog is trouble. */
export const canWait = (error: unknown): boolean => error instanceof FirnError && !isFirnError(error, 'database', 'database-full')

export interface RecordEndedParts extends RecordParts {
  readonly catalog: RecordParts['catalog'] & Pick<Catalog, 'catalogId' | 'knownVault' | 'unrecordedSets'>
  readonly vaults: Vaults
  readonly isGone: (owner: string) => boolean
}

/**
 * Records of sets that ended while nobody wrote them: by another process, by force. `vaultId`: only of that vault. A vault that is away or is
 * not ours to write is left for another time.
 */
export async function recordEnded(
  parts: RecordEndedParts,
  { vaultId, setId, signal }: { vaultId?: string; setId?: string; signal?: AbortSignal } = {},
): Promise<void> {
  const { catalog, vaults } = parts
  const away = new Set<string>()
  for (const set of await catalog.unrecordedSets(parts.isGone)) {
    if ((vaultId !== undefined && set.vaultId !== vaultId) || (setId !== undefined && set.id !== setId) || away.has(set.vaultId))
      continue
    try {
      const known = await catalog.knownVault(set.vaultId)
      if (known === undefined) continue // nothing was ever written there
      const vault = await vaults.open(known.url)
      const note = await mustBeThere(catalog, vault, known, { signal })
      if (note.catalog !== catalog.catalogId) away.add(set.vaultId)
      else await recordSet(parts, vault, set, { signal })
    } catch (error) {
      signal?.throwIfAborted()
      if (!canWait(error)) throw error
      away.add(set.vaultId)
    }
  }
}
