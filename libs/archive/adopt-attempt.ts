/**
 * An earlier attempt that ended after its tar was whole, and before the catalog knew: its bytes are not sent again. Whoever may add to the
 * vault may have put it there; so it counts only if its manifest proves that a worker of this catalog wrote it, all that it has was planned,
 * and the vault's own checksum, or reading it back, shows that its tar is the one that was sent.
 */
import { createHash } from 'node:crypto'
import type { Problem } from '#libs/bundle/entry.js'
import { isFile } from '#libs/bundle/entry.js'
import { decodePlan } from '#libs/bundle/plan.js'
import { isProved, type SidecarPart } from '#libs/bundle/sidecar.js'
import type { LeaseAnswer, StoredBundle } from '#libs/catalog/catalog.js'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { Raw } from '#libs/os/raw.js'
import type { Vault } from '#libs/vault/vault.js'
import { entriesOf, findStoredManifest, type StoredManifest, summarise } from './stored-manifest.js'

type Leased = Extract<LeaseAnswer, { kind: 'leased' }>

/** The newest attempt that may be adopted. `problems`: what it would have said, to be read when the bundle's rows were written. */
export async function adoptEarlier(
  vault: Vault,
  leased: Leased,
  signal: AbortSignal,
): Promise<{ stored: StoredBundle; problems: Problem[] } | undefined> {
  for (let attempt = leased.attempt - 1; attempt > 0; attempt--) {
    const names = { startedAt: leased.set.startedAt, setId: leased.set.id, bundleId: leased.bundle.id, attempt }
    try {
      const found = await findStoredManifest(vault, names, signal)
      const adopted = found && (await adoptOne(vault, found, leased, attempt, signal))
      if (adopted !== undefined) return adopted
    } catch (error) {
      if (!isFirnError(error, 'damaged', 'vault-missing')) throw error
    }
  }
  return undefined
}

async function adoptOne(vault: Vault, found: StoredManifest, leased: Leased, attempt: number, signal: AbortSignal) {
  const whose = { secret: leased.secret, bundle: leased.bundle.id, attempt }
  const problems: Problem[] = []
  // Once before anything else is asked, and once more while its rows are written: it may be another by then.
  const look = () => {
    const merge = mergeWithPlan(leased.plan)
    return (part: SidecarPart) => {
      if (part.kind === 'entries') merge.add(part.entries)
      if (part.kind !== 'end') return
      if (!isProved(part, whose)) throw new FirnError('damaged', `attempt ${attempt} does not prove that this catalog made it`)
      problems.splice(0, problems.length, ...merge.problems())
    }
  }
  const { header, end } = await summarise(watched(found.parts(), look()))
  const { key, archiveId, tarBytes } = found
  const { tarSha256, checksum } = end
  const shown = await vault.verify(key, { bytes: tarBytes, sha256: tarSha256, checksum }, { signal })
  const isRead = shown === 'read' || (shown === 'size' && (await isReadBack(vault, key, end, signal)))
  if (!isRead && shown !== 'checksum') return undefined
  const stored: StoredBundle = {
    key,
    archiveId,
    tarBytes,
    tarSha256,
    checksum,
    adopted: !isRead,
    archivedAt: header.createdAt,
    entries: () => entriesOf(found, look())(),
  }
  return { stored, problems }
}

async function* watched(parts: AsyncIterable<SidecarPart>, look: (part: SidecarPart) => void): AsyncGenerator<SidecarPart> {
  for await (const part of parts) {
    look(part)
    yield part
  }
}

/** Where nothing else shows what the vault holds. False if it cannot be read for now. */
export async function isReadBack(
  vault: Vault,
  key: string,
  expected: { readonly tarBytes: number; readonly tarSha256: string },
  signal?: AbortSignal,
): Promise<boolean> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const chunk of vault.read(key, undefined, signal ? { signal } : {})) {
      hash.update(chunk)
      bytes += chunk.byteLength
    }
  } catch (error) {
    if (isFirnError(error, 'vault-frozen')) return false
    throw error
  }
  if (bytes === expected.tarBytes && hash.digest('hex') === expected.tarSha256) return true
  throw new FirnError('damaged', `${key} was read back, and is not what its manifest says`)
}

/**
 * The entries of a manifest against the plan, which they follow in its order: first those that were read at once, then those that were tried
 * again. Keeps only what is missing so far, which is as much as there are problems.
 */
function mergeWithPlan(plan: Uint8Array) {
  const planned = decodePlan(plan)[Symbol.iterator]()
  const missing = new Map<Raw, 'counts' | 'does not'>()
  const changed: Raw[] = []
  const advanceTo = (path: Raw) => {
    for (let next = planned.next(); !next.done; next = planned.next()) {
      if (next.value.path === path) return next.value
      missing.set(next.value.path, isFile(next.value.type) ? 'counts' : 'does not')
    }
    throw new FirnError('damaged', 'a manifest has an entry that was not planned')
  }
  return {
    add(entries: readonly { readonly path: Raw; readonly state: string }[]): void {
      for (const { path, state } of entries) {
        const kind = missing.get(path) ?? (isFile(advanceTo(path).type) ? 'counts' : 'does not')
        if (state === 'void') missing.set(path, kind)
        else missing.delete(path)
        if (state === 'changed') changed.push(path)
      }
    },
    problems(): Problem[] {
      for (let next = planned.next(); !next.done; next = planned.next()) {
        missing.set(next.value.path, isFile(next.value.type) ? 'counts' : 'does not')
      }
      const lost = [...missing].filter(([, kind]) => kind === 'counts')
      return [
        ...changed.map((path): Problem => ({ path, kind: 'changed', reason: 'changed while it was read' })),
        ...lost.map(([path]): Problem => ({ path, kind: 'failed', reason: 'could not be read when its bundle was packed' })),
      ]
    },
  }
}
