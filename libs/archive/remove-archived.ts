/**
 * `--delete-after-archive`: sources go only when nothing can be lost by it. The tree is walked once more with the set's own filters;
 * a file is removed only if it is still the one that a stored bundle holds (never one marked changed), the bundle's tar and manifest
 * were verified again in this pass, and, of an inode with several names, every one of its names is among those found.
 */
import { isFile, type PlannedEntry } from '#libs/bundle/entry.js'
import { manifestKey, parseKey } from '#libs/bundle/key.js'
import { decodeSidecar } from '#libs/bundle/sidecar.js'
import type { Catalog } from '#libs/catalog/catalog.js'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import type { Raw } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'
import { TreeAccess } from '#libs/os/tree-access.js'
import type { Vault } from '#libs/vault/vault.js'
import type { Source } from '#libs/walk/source.js'
import { compare } from './compare.js'
import { groupsOf, type PlannedSet, walkRequest } from './crawl.js'
import { crawledRoots, marksOf } from './root-sight.js'
import { isOf, readObject } from './stored-manifest.js'
import { sentence } from './thaw-items.js'

export interface RemoveParts {
  readonly catalog: Pick<Catalog, 'openHeld' | 'openLinkStore' | 'bundle'>
  readonly source: Source
}

export interface RemoveEvents {
  readonly signal?: AbortSignal
  /** Name what a run would remove: what it would archive, and what is archived already. */
  readonly dryRun: boolean
  /** Removed, or, in a dry run, to be removed. */
  readonly onRemoved: (path: Raw) => Promise<void> | void
  /** Kept although it was selected, and why. */
  readonly onKept?: (path: Raw, reason: string) => void
}

/** Returns how many files were removed. */
export async function removeArchived(
  parts: RemoveParts,
  vault: Vault,
  set: PlannedSet,
  leaveOut: readonly Raw[],
  events: RemoveEvents,
): Promise<number> {
  const { signal } = events
  const bundles = verifiedBundles(parts, vault, signal)
  // One for the walk and for what is removed after it: the way to a root is found out once.
  const realRoots = set.realRoots ?? crawledRoots({ marks: marksOf(set.roots) })
  using tree = new TreeAccess(set.roots, realRoots)
  let removed = 0
  const remove = async (entry: PlannedEntry, siblingsGone: boolean) => {
    const reason = events.dryRun ? undefined : removeIfSame(tree, entry, siblingsGone)
    if (reason === undefined) {
      removed++
      await events.onRemoved(entry.path)
    } else events.onKept?.(entry.path, reason)
    return reason === undefined
  }
  await using links = await parts.catalog.openLinkStore()
  await using held = await parts.catalog.openHeld({ host: set.host, vaultId: set.vaultId })
  const walk = parts.source.walk(walkRequest({ ...set, realRoots }, leaveOut), signal ? { signal } : {})
  for await (const page of walk) {
    signal?.throwIfAborted()
    const linked: PlannedEntry[] = []
    for (const found of await compare(held, page.entries)) {
      const { entry } = found
      if (!isFile(entry.type)) continue
      const archived = found.is === 'unchanged'
      const trouble = archived
        ? await bundles.trouble(found.bundles)
        : events.dryRun
          ? undefined
          : 'it is not what the vault holds'
      if (entry.nlink > 1 && entry.type === 'file') linked.push({ ...entry, unchanged: trouble === undefined })
      else if (trouble !== undefined) events.onKept?.(entry.path, trouble)
      else await remove(entry, false)
    }
    if (linked.length > 0) await links.add(linked)
  }
  for await (const group of groupsOf(links.groups())) {
    const whole = group.length === group[0]?.nlink && group.every((entry) => entry.unchanged)
    if (!whole) {
      for (const { path } of group) events.onKept?.(path, 'not every name of its inode is archived and unchanged')
      continue
    }
    let gone = false
    for (const entry of group) gone = (await remove(entry, gone)) || gone
  }
  return removed
}

/** Removes the file, as a name in its opened parent, if it still is what the walk saw; else the reason why not. */
function removeIfSame(tree: TreeAccess, entry: PlannedEntry, siblingsGone: boolean): string | undefined {
  try {
    const now = tree.stat(entry.path)
    const same =
      now.dev === entry.dev &&
      now.ino === entry.ino &&
      now.mtimeNs === entry.mtimeNs &&
      (entry.type === 'symlink' || now.size === entry.size) &&
      // Removing one name of an inode moves the ctime that the others share.
      (siblingsGone || now.ctimeNs === entry.ctimeNs)
    if (!same) return 'it changed meanwhile'
    step('remove:before')
    tree.unlink(entry.path)
    step('remove:after')
    return undefined
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'it is gone already'
    return code === 'ELOOP' ? 'it lies behind a symlink now, which is not followed' : sentence(error)
  }
}

/** Verifies a bundle once per pass: its tar byte by byte, and that the manifest beside it can be read and is that tar's. */
function verifiedBundles(parts: Pick<RemoveParts, 'catalog'>, vault: Vault, signal: AbortSignal | undefined) {
  const verdicts = new Map<string, string | undefined>()
  const call = signal ? { signal } : {}
  const verify = async (bundleId: string): Promise<string | undefined> => {
    const bundle = await parts.catalog.bundle(bundleId)
    const { key, tarBytes: bytes, tarSha256: sha256 } = bundle ?? {}
    const names = key === undefined ? undefined : parseKey(key)
    if (bundle?.state !== 'stored' || key === undefined || bytes === undefined || sha256 === undefined || names === undefined) {
      return `bundle ${bundleId} is not stored`
    }
    try {
      await vault.verify(key, { bytes, sha256 }, call)
      const sidecar = await decodeSidecar(await readObject(vault, manifestKey(names), call))
      if (sidecar.tarSha256 === sha256 && sidecar.tarBytes === bytes && isOf(names, sidecar.header)) return undefined
      return `the manifest of bundle ${bundleId} is another tar's`
    } catch (error) {
      if (error instanceof FirnError) return error.message
      throw error
    }
  }
  return {
    async trouble(bundleIds: readonly string[]): Promise<string | undefined> {
      for (const id of bundleIds) {
        if (!verdicts.has(id)) verdicts.set(id, await verify(id))
        const verdict = verdicts.get(id)
        if (verdict !== undefined) return verdict
      }
      return undefined
    },
  }
}
