/**
 * One bundle from its plan to the vault and into the catalog. The order is the promise: every byte durable but invisible, the manifest
 * beside it, the tar visible, verified, and only then one transaction that makes it known. May run twice, and on two hosts at once:
 * each attempt writes under names of its own, and the catalog takes the result of whoever still holds the lease.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Problem } from '#libs/bundle/entry.js'
import { bundleKey, manifestKey } from '#libs/bundle/key.js'
import type { ManifestHeader } from '#libs/bundle/manifest.js'
import type { Packer } from '#libs/bundle/pack.js'
import { encodeSidecar } from '#libs/bundle/sidecar.js'
import type { BundleRow, Catalog, LeaseAnswer, StoredBundle } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError, Postpone } from '#libs/errors/errors.js'
import { type Raw, shown } from '#libs/os/raw.js'
import type { JobQueue } from '#libs/queue/queue.js'
import type { Vault } from '#libs/vault/vault.js'
import { adoptEarlier } from './adopt-attempt.js'
import { optionsFromJson } from './crawl-options.js'
import { keepLease } from './keep-lease.js'
import { openToWrite } from './own-vault.js'
import type { Room } from './room.js'
import { crawledRoots, forbiddenRoot, type Looker, realRoots, sightOf } from './root-sight.js'
import type { Vaults } from './vaults.js'
import { type WakeEvents, wake } from './wake.js'

export interface StoreParts extends Looker {
  readonly catalog: Pick<
    Catalog,
    'leaseBundle' | 'renewBundle' | 'markStored' | 'releaseBundle' | 'failBundle' | 'bundle' | 'knownVault' | 'catalogId'
  >
  readonly queue: Pick<JobQueue, 'add'>
  readonly vaults: Vaults
  readonly packer: Packer
  /** What this host may read; undefined: everything. */
  readonly allowedRoots?: readonly Raw[] | undefined
  readonly owner: string
  readonly isGone: (owner: string) => boolean
}

export interface StoreEvents extends WakeEvents {
  readonly onBegun?: (bundle: BundleRow) => void
  readonly onStored?: (bundle: BundleRow, problems: readonly Problem[]) => void
  /** This host does not see the tree: another one shall take the bundle. */
  readonly onUnseen?: (bundle: BundleRow, reason: string) => void
  /** An attempt that was begun is over, however it ended. */
  readonly onEnded?: (bundle: BundleRow) => void
}

/** A bundle that this host cannot pack comes back so much later, here or elsewhere. */
const UNSEEN_MS = 10_000
/** For so long a job that finds nothing to see keeps its slot. */
const BLIND_MS = 500

type Leased = Extract<LeaseAnswer, { kind: 'leased' }>

export async function storeBundle(
  parts: StoreParts,
  bundleId: string,
  options: StoreEvents & { signal?: AbortSignal; room?: Room } = {},
): Promise<void> {
  const { catalog, queue } = parts
  const answer = await catalog.leaseBundle(bundleId, parts.owner, parts.isGone)
  if (answer.kind === 'busy') throw new Postpone(answer.afterMs)
  if (answer.kind === 'over') {
    if (answer.state === 'stored') await wake(queue, 'index-bundle', { bundleId }, options)
    return
  }
  const { attempt } = answer
  await using lease = keepLease(async () => {
    await catalog.renewBundle(bundleId, attempt)
    return true
  }, options.signal)
  let begun = false
  try {
    const look = () => mustSee(parts, answer, options)
    look()
    const roots = mustBeAllowed(parts, answer, options)
    begun = true
    options.onBegun?.(answer.bundle)
    const vault = await openToWrite(parts, answer.set.vaultId, lease)
    const { stored, problems } =
      (await adoptEarlier(vault, answer, lease.signal)) ??
      (await within(vault.readsBack ? options.room : undefined, answer, lease.signal, () =>
        packAndStore(parts.packer, vault, answer, roots, look, lease.signal),
      ))
    // A disk may have gone away between: what was written to the directory that it was mounted on is not stored.
    if (vault.readsBack) await openToWrite(parts, answer.set.vaultId, lease)
    const bundle = await catalog.markStored(bundleId, attempt, stored, problems)
    options.onStored?.(bundle, problems)
  } catch (error) {
    // Only this attempt's lease is given up: the catalog's may well be held though the queue gave the job away, or forgot it.
    const unused = !begun
    await catalog.releaseBundle(bundleId, attempt, { unused }).catch(() => {})
    // A host that sees nothing of a large set must not spend its time, and the catalog's, on looking at each bundle again and again.
    if (error instanceof Postpone) await sleep(BLIND_MS, undefined, { signal: lease.signal }).catch(() => {})
    throw lease.signal.aborted ? lease.signal.reason : error
  } finally {
    if (begun) options.onEnded?.(answer.bundle)
  }
  await wake(queue, 'index-bundle', { bundleId }, options)
}

/**
 * After the last try: `failed` with the reason, unless the vault as a whole or the database is the trouble, which is no fault of the
 * bundle's: it stays planned, and the reconciler wakes it again.
 */
export async function giveUpBundle(parts: Pick<StoreParts, 'catalog'>, bundleId: string, error: unknown): Promise<void> {
  if (isFirnError(error, 'vault-full', 'vault-refused', 'vault-away', 'database-full', 'lease-lost', 'try-again')) return
  const bundle = await parts.catalog.bundle(bundleId)
  if (bundle === undefined) return
  await parts.catalog.failBundle(bundleId, bundle.attempt, error instanceof Error ? error.message : String(error))
}

/** Hands the bundle back where this host does not see the tree that it is of. */
function mustSee(parts: StoreParts, { bundle, set, plan }: Leased, events: StoreEvents): void {
  const sight = sightOf(set, parts, plan)
  if (sight.is === 'seen') return
  if (parts.alone) throw new FirnError('failed', `The tree cannot be read: ${sight.reason}.`)
  events.onUnseen?.(bundle, sight.reason)
  throw new Postpone(UNSEEN_MS)
}

/** Where the roots really are; hands the bundle back where this host may not read one of them, whatever the row says. */
function mustBeAllowed(parts: StoreParts, { bundle, set }: Leased, events: StoreEvents): (Raw | undefined)[] {
  const crawled = crawledRoots(set)
  // What is not there now may be there when it is read: then nothing but what was judged here, and no symlink, leads to it.
  const roots = realRoots(set.roots).map((root, index) => crawled[index] ?? root ?? (parts.allowedRoots && set.roots[index]))
  const forbidden = forbiddenRoot(roots, parts.allowedRoots)
  if (forbidden === undefined) return roots
  const reason = `${shown(forbidden)} lies outside FIRN_ROOTS`
  if (parts.alone) throw new FirnError('usage', `The tree may not be read: ${reason}.`)
  events.onUnseen?.(bundle, reason)
  throw new Postpone(UNSEEN_MS)
}

async function within<T>(room: Room | undefined, leased: Leased, signal: AbortSignal, step: () => Promise<T>): Promise<T> {
  const { bundleBytes } = optionsFromJson(leased.set.options)
  const leave = await room?.enter({ bytes: leased.bundle.bytes, limit: bundleBytes }, signal)
  try {
    return await step()
  } finally {
    leave?.()
  }
}

interface Storing {
  readonly stored: StoredBundle
  readonly problems: readonly Problem[]
}

/** Head, padding and line in the manifest of a file and its share of directories, about. */
const AROUND_FILE_BYTES = 4_096

async function packAndStore(
  packer: Packer,
  vault: Vault,
  leased: Leased,
  realRoots: readonly (Raw | undefined)[],
  look: () => void,
  signal: AbortSignal,
): Promise<Storing> {
  const { bundle, set, attempt, plan, secret, leasedAt: archivedAt } = leased
  const header: ManifestHeader = {
    bundle: bundle.id,
    attempt,
    set: set.id,
    setStartedAt: set.startedAt,
    ...(set.recorded !== undefined && { setRecord: true }),
    host: set.host,
    roots: set.roots,
    createdAt: archivedAt,
    description: set.description,
    tags: set.tags,
    vault: set.vaultId,
    ...(set.recorded !== undefined && { setRecord: true }),
  }
  const names = { startedAt: set.startedAt, setId: set.id, bundleId: bundle.id, attempt }
  const key = bundleKey(names)
  const { keep } = optionsFromJson(set.options)
  const packing = packer.pack({ header, realRoots, plan, keep, hashTar: !vault.readsBack }, { signal })
  packing.result.catch(() => {}) // awaited below; keeps Node from calling it unhandled meanwhile
  const expectedBytes = bundle.bytes + (bundle.files + 1) * AROUND_FILE_BYTES
  const upload = await vault.upload(key, { signal, expectedBytes })
  try {
    for await (const chunk of packing.chunks) await upload.write(chunk)
    const { manifest, entries, tarBytes, tarSha256: packedSha256, problems } = await packing.result
    // Before a file is called vanished: the tree may be gone since, and the files with it.
    if (problems.some(({ kind }) => kind === 'failed')) look()
    const sealed = await held(vault, () => upload.seal())
    const tarSha256 = sealed?.sha256 ?? packedSha256
    if (tarSha256 === undefined) throw new FirnError('failed', `${vault.id} did not say what it read back of ${key}.`)
    const checksum = upload.checksum?.()
    const sidecar = await encodeSidecar(manifest, { tarBytes, tarSha256, checksum }, { secret, bundle: bundle.id, attempt })
    await vault.put(manifestKey(names), sidecar, { signal })
    const { archiveId } = await upload.complete()
    if (!sealed) await held(vault, () => vault.verify(key, { bytes: tarBytes, sha256: tarSha256, checksum }, { signal }))
    return { stored: { key, archiveId, tarBytes, tarSha256, checksum, archivedAt, entries }, problems }
  } catch (error) {
    await upload.abort().catch(() => {})
    throw error
  }
}

/** What is not as it was sent is sent once more, under the name of another attempt: the sources are still there. */
async function held<T>(vault: Vault, look: () => Promise<T>): Promise<T> {
  try {
    return await look()
  } catch (error) {
    if (!isFirnError(error, 'damaged', 'vault-missing')) throw error
    throw new FirnError('vault-failed', `${vault.id} does not hold what was sent: ${error.message}`, { cause: error })
  }
}
