/** A set from its record in a vault: what it was, and which of its bundles the vault has lost. */
import { parseKey, type RecordNames, recordKey } from '#libs/bundle/key.js'
import { type RecordBundle, type RecordHeader, type RecordPart, readRecord } from '#libs/bundle/set-record.js'
import type { Catalog, RestoredSet, RestoredSetPart, SetCounts } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { nearestOf, type Raw, shown } from '#libs/os/raw.js'
import type { Vault } from '#libs/vault/vault.js'
import { believedDate, type DateRules } from './believed-date.js'

export interface RecordsOfSet {
  readonly setId: string
  /** The last first. */
  readonly records: readonly RecordNames[]
  /** Manifests of bundles without a tar: their keys by the id of the bundle. */
  readonly strays: ReadonlyMap<string, string>
}

export interface RecordEvents extends DateRules {
  readonly signal?: AbortSignal
  readonly onTrouble?: (key: string, reason: string) => void
  readonly onLost?: (bundle: RecordBundle) => void
  readonly onStray?: (key: string) => void
}

/** `own`: the catalog has the set of its own, or there is no record of it. */
export interface RestoredFrom {
  readonly is: 'restored' | 'own' | 'unread'
  /** Bundles that are not in the vault. */
  readonly lost: number
}

/** By the last record that can be read. */
export async function restoreFromRecord(
  { catalog }: { catalog: Pick<Catalog, 'restoreSet'> },
  vault: Vault,
  vaultUrl: string,
  { records, strays }: RecordsOfSet,
  events: RecordEvents,
): Promise<RestoredFrom> {
  const left = new Map(strays)
  const tellStrays = () => {
    for (const key of left.values()) events.onStray?.(key)
  }
  for (const names of records) {
    const key = recordKey(names)
    try {
      const read = () => believed(vault, names, events)
      let header: RecordHeader | undefined
      let lost = 0
      // To its end before it counts; what is lost is told whoever has the set.
      const missing: RecordBundle[] = []
      for await (const part of read()) {
        if (part.kind === 'header') header = part.header
        if (part.kind !== 'bundle' || part.bundle.key === undefined) continue
        left.delete(part.bundle.bundle)
        if (await isThere(vault, part.bundle.key, events.signal)) continue
        lost++
        if (missing.length < MOST_NAMED) missing.push(part.bundle)
      }
      const set = restoredOf(header as RecordHeader, names.n, lost)
      const parts = async function* (): AsyncGenerator<RestoredSetPart> {
        for await (const part of read()) if (part.kind !== 'header') yield part
      }
      const isRestored = await catalog.restoreSet(set, { url: vaultUrl, id: vault.id }, parts)
      for (const bundle of missing) events.onLost?.(bundle)
      tellStrays()
      return { is: isRestored ? 'restored' : 'own', lost }
    } catch (error) {
      events.signal?.throwIfAborted()
      if (!isFirnError(error, 'damaged', 'vault-missing', 'vault-frozen', 'vault-failed')) throw error
      events.onTrouble?.(key, error.message)
    }
  }
  tellStrays()
  return { is: records.length > 0 ? 'unread' : 'own', lost: 0 }
}

/** Of more bundles of one set it is said how many they are. */
const MOST_NAMED = 100_000

const isThere = async (vault: Vault, key: string, signal: AbortSignal | undefined): Promise<boolean> =>
  (await vault.stat(key, signal ? { signal } : {})) !== undefined

/**
 * A record as far as it is believed: it may have been put there by somebody who may only add to the vault. It says nothing of another set's
 * bundles, of paths outside its roots, and of the future.
 */
async function* believed(vault: Vault, names: RecordNames, { signal, ...rules }: RecordEvents): AsyncGenerator<RecordPart> {
  const key = recordKey(names)
  const call = signal ? { signal } : {}
  let stored: Date | undefined
  const date = (time: Date) =>
    believedDate(time, 'it', rules, async () => {
      stored ??= (await vault.stat(key, call))?.modifiedAt ?? new Date()
      return stored
    })
  let roots: ReadonlySet<Raw> = new Set()
  for await (const part of readRecord(vault.read(key, undefined, call))) {
    if (part.kind === 'header') {
      const { header } = part
      roots = new Set(header.roots)
      if (header.set !== names.setId) throw new FirnError('damaged', `it is the record of set ${header.set}`)
      const { startedAt, finishedAt } = header
      yield {
        ...part,
        header: { ...header, startedAt: await date(startedAt), ...(finishedAt && { finishedAt: await date(finishedAt) }) },
      }
    } else if (part.kind === 'bundle') {
      const { bundle, key: tar } = part.bundle
      const of = tar === undefined ? undefined : parseKey(tar)
      if (tar !== undefined && (of?.bundleId !== bundle || of.setId !== names.setId)) {
        throw new FirnError('damaged', `it lists ${tar}, which is no bundle of this set`)
      }
      yield part
    } else if (part.kind === 'problem') yield part
    else {
      const { path, at } = part.gone
      if (nearestOf(path, roots) === undefined)
        throw new FirnError('damaged', `it says of ${shown(path)}, outside its roots, that it is gone`)
      yield { ...part, gone: { path, at: await date(at) } }
    }
  }
}

function restoredOf(header: RecordHeader, records: number, lost: number): RestoredSet {
  const { set: id, host, roots, options, description, tags, startedAt, finishedAt, state, reason, marks } = header
  const incomplete = `${lost} of its bundles ${lost === 1 ? 'is' : 'are'} not in the vault any more`
  return {
    id,
    host,
    roots,
    options,
    description,
    tags,
    startedAt,
    state: lost > 0 && state === 'archived' ? 'partial' : state,
    ...(finishedAt && { finishedAt }),
    ...(lost > 0 ? { reason: incomplete } : reason !== undefined && { reason }),
    ...(marks && { marks }),
    counts: countsOf(header.counts),
    records,
  }
}

function countsOf(counts: Readonly<Record<string, number>>): SetCounts {
  const count = (name: string) => counts[name] ?? 0
  return {
    found: count('found'),
    archived: count('archived'),
    unchanged: count('unchanged'),
    waiting: count('waiting'),
    gone: count('gone'),
    skipped: count('skipped'),
    failed: count('failed'),
    changed: count('changed'),
    bundles: count('bundles'),
    bundlesStored: count('bundles_stored'),
    bundlesFailed: count('bundles_failed'),
    bytes: count('bytes'),
    plannedBytes: count('planned_bytes'),
    plannedFiles: count('planned_files'),
  }
}
