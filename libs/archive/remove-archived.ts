/**
 * `--delete-after-archive`: sources go only when nothing can be lost by it. The tree is walked once more with the set's own filters;
 * a file is removed only if it is still the one that a stored bundle holds (never one marked changed), its bytes were read again and have
 * the stored SHA-256, the bundle's tar and manifest were verified again in this pass, by more than the tar's size, and, of an inode with
 * several names, every one of its names is among those found. A bundle that was found in the vault is first read back as a whole.
 */
import { createHash } from 'node:crypto'
import { read, readSync } from 'node:fs'
import { promisify } from 'node:util'
import { isFile, type PlannedEntry } from '#libs/bundle/entry.js'
import { parseKey } from '#libs/bundle/key.js'
import type { Catalog } from '#libs/catalog/catalog.js'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { holdsReadLease, takeReadLease } from '#libs/os/libc.js'
import { jsonName, type Raw } from '#libs/os/raw.js'
import type { Stat } from '#libs/os/stat.js'
import { step } from '#libs/os/steps.js'
import { TreeAccess } from '#libs/os/tree-access.js'
import type { Vault } from '#libs/vault/vault.js'
import type { Source } from '#libs/walk/source.js'
import { isReadBack } from './adopt-attempt.js'
import { readBundle } from './check.js'
import { compare } from './compare.js'
import { groupsOf, type PlannedSet, walkRequest } from './crawl.js'
import { crawledRoots, marksOf } from './root-sight.js'
import { readStoredSummary } from './stored-manifest.js'
import { sentence } from './thaw-items.js'

export interface RemoveParts {
  readonly catalog: Pick<
    Catalog,
    | 'openHeld'
    | 'openLinkStore'
    | 'bundle'
    | 'filesByOffset'
    | 'markReadBack'
    | 'noteRemoved'
    | 'forgetRemoved'
    | 'audit'
    | 'countAudited'
  >
  readonly source: Source
  /** Who removes them, for the audit. */
  readonly by: string
}

export interface RemoveEvents {
  readonly signal?: AbortSignal
  /** Name what a run would remove: what it would archive, and what is archived already. */
  readonly dryRun: boolean
  /** Removed, or, in a dry run, to be removed. */
  readonly onRemoved: (path: Raw, bytes: number) => Promise<void> | void
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
  const bundles = verifiedBundles(parts, vault, events)
  // One for the walk and for what is removed after it: the way to a root is found out once.
  const realRoots = set.realRoots ?? crawledRoots({ marks: marksOf(set.roots) })
  using tree = new TreeAccess(set.roots, realRoots)
  let removed = 0
  let bytes = 0
  let audited: bigint | undefined
  // Before the first is gone: what ends in between has left its mark.
  const audit = async () => {
    const detail = { roots: set.roots.map((root) => jsonName('path', root)), host: set.host, vault: set.vaultId }
    audited ??= await parts.catalog.audit({ kind: 'deletion', by: parts.by, subject: set.id ?? '', detail })
  }
  /** One after the other. `names`: of one inode. */
  const remove = async (entries: readonly PlannedEntry[], { names = false } = {}) => {
    const kept: Raw[] = []
    if (!events.dryRun && entries.length > 0) {
      await audit()
      await parts.catalog.noteRemoved(
        set.id as string,
        entries.map(({ path }) => path),
      )
    }
    let gone = false
    try {
      for (const entry of entries) {
        const reason = events.dryRun ? undefined : await removeIfSame(tree, entry, names && gone, signal)
        if (reason === undefined) {
          gone = true
          removed++
          bytes += entry.size
          await events.onRemoved(entry.path, entry.size)
        } else {
          kept.push(entry.path)
          events.onKept?.(entry.path, reason)
        }
      }
    } finally {
      if (!events.dryRun) await parts.catalog.forgetRemoved(set.id as string, kept)
    }
  }
  try {
    await using links = await parts.catalog.openLinkStore()
    await using held = await parts.catalog.openHeld({ host: set.host, vaultId: set.vaultId })
    const walk = parts.source.walk(walkRequest({ ...set, realRoots }, leaveOut), signal ? { signal } : {})
    for await (const page of walk) {
      signal?.throwIfAborted()
      const linked: PlannedEntry[] = []
      const single: PlannedEntry[] = []
      for (const found of await compare(held, page.entries, undefined, { hashed: true })) {
        const { entry } = found
        if (!isFile(entry.type)) continue
        const archived = found.is === 'unchanged'
        const trouble = archived
          ? await bundles.trouble(found.bundles)
          : events.dryRun
            ? undefined
            : 'it is not what the vault holds'
        // What it must hash to goes with it.
        const known = found.is === 'unchanged' && found.held ? { ...entry, held: found.held } : entry
        if (entry.nlink > 1 && entry.type === 'file') linked.push({ ...known, unchanged: trouble === undefined })
        else if (trouble !== undefined) events.onKept?.(entry.path, trouble)
        else single.push(known)
      }
      await remove(single)
      if (linked.length > 0) await links.add(linked)
    }
    for await (const group of groupsOf(links.groups())) {
      const whole = group.length === group[0]?.nlink && group.every((entry) => entry.unchanged)
      if (!whole) {
        for (const { path } of group) events.onKept?.(path, 'not every name of its inode is archived and unchanged')
        continue
      }
      await remove(group, { names: true })
    }
  } finally {
    if (audited !== undefined) await parts.catalog.countAudited(audited, { files: removed, bytes })
  }
  return removed
}

/** Removes the file, as a name in its opened parent, if it still is what the walk saw and holds what the vault does; else says why not. */
async function removeIfSame(
  tree: TreeAccess,
  entry: PlannedEntry,
  siblingsGone: boolean,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const isSame = (now: Stat) =>
    now.dev === entry.dev &&
    now.ino === entry.ino &&
    now.mtimeNs === entry.mtimeNs &&
    (entry.type === 'symlink' || now.size === entry.size) &&
    // Removing one name of an inode moves the ctime that the others share.
    (siblingsGone || now.ctimeNs === entry.ctimeNs)
  const changed = 'it changed meanwhile'
  try {
    using source = tree.hold(entry.path)
    if (!isSame(source.stat)) return changed
    if (entry.type === 'file') {
      const fd = source.read()
      // Times do not prove that nobody writes: they may be coarse, and pages that are mapped have none.
      const lease = takeReadLease(fd)
      if (lease === 'written') return 'a process has it open for writing'
      const sha256 = await hashOf(fd, entry.size, signal)
      if (entry.held === undefined || sha256 !== entry.held.sha256) return 'its bytes are not those that the vault holds'
      step('remove:hashed')
      if (lease === 'taken' && !holdsReadLease(fd)) return 'a process opened it for writing meanwhile'
    }
    if (!isSame(tree.stat(entry.path))) return changed
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

const READ_BYTES = 2 ** 20

/** Of the first `size` bytes, hex; undefined if there are not so many. */
async function hashOf(fd: number, size: number, signal: AbortSignal | undefined): Promise<string | undefined> {
  const hash = createHash('sha256')
  const buffer = Buffer.alloc(Math.min(size, READ_BYTES))
  for (let at = 0; at < size; ) {
    signal?.throwIfAborted()
    const length = Math.min(buffer.length, size - at)
    // A small file is read at once; a large one must not hold up everything else.
    const bytes =
      size <= READ_BYTES ? readSync(fd, buffer, 0, length, at) : (await readAsync(fd, buffer, 0, length, at)).bytesRead
    if (bytes === 0) return undefined
    hash.update(buffer.subarray(0, bytes))
    at += bytes
  }
  return hash.digest('hex')
}

const readAsync = promisify(read)

/** Verifies a bundle once per pass: its tar, and that the manifest beside it can be read and is that tar's. */
function verifiedBundles(parts: Pick<RemoveParts, 'catalog'>, vault: Vault, { signal, dryRun }: RemoveEvents) {
  const verdicts = new Map<string, string | undefined>()
  const call = signal ? { signal } : {}
  const verify = async (bundleId: string): Promise<string | undefined> => {
    const bundle = await parts.catalog.bundle(bundleId)
    const { key, tarBytes, tarSha256, checksum } = bundle ?? {}
    const names = key === undefined ? undefined : parseKey(key)
    if (
      bundle?.state !== 'stored' ||
      key === undefined ||
      tarBytes === undefined ||
      tarSha256 === undefined ||
      names === undefined
    ) {
      return `bundle ${bundleId} is not stored`
    }
    try {
      const shown = await vault.verify(key, { bytes: tarBytes, sha256: tarSha256, checksum }, call)
      const end = (await readStoredSummary(vault, names, signal))?.end
      if (end?.tarSha256 !== tarSha256) return `the manifest of bundle ${bundleId} is not there, or another tar's`
      if (bundle.adopted) {
        const finding = await readBundle(parts, vault, bundle, key, call)
        if (finding !== undefined) return `bundle ${bundleId} was found in the vault, and not read back: ${finding.reason}`
        if (!dryRun) await parts.catalog.markReadBack(bundleId)
      } else if (shown === 'size' && !(await isReadBack(vault, key, { tarBytes, tarSha256 }, signal))) {
        return `the vault gives no checksum of bundle ${bundleId}, and it must be thawed before it can be read back`
      }
      return undefined
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
