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
import type { Aside, Catalog } from '#libs/catalog/catalog.js'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { holdsReadLease, takeReadLease } from '#libs/os/libc.js'
import { jsonName, nameOf, type Raw, shown } from '#libs/os/raw.js'
import type { Stat } from '#libs/os/stat.js'
import { step } from '#libs/os/steps.js'
import { TreeAccess } from '#libs/os/tree-access.js'
import type { Vault } from '#libs/vault/vault.js'
import type { Source } from '#libs/walk/source.js'
import { isReadBack } from './adopt-attempt.js'
import { asideOf } from './aside.js'
import { readBundle } from './check.js'
import { compare } from './compare.js'
import { groupsOf, type PlannedSet, walkRequest } from './crawl.js'
import { moreThanKept } from './kept-less.js'
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
    | 'noteAside'
    | 'forgetAside'
    | 'audit'
    | 'countAudited'
  >
  readonly source: Source
  /** Who removes them, for the audit. */
  readonly by: string
  /** This process, as leases name it. */
  readonly owner: string
  /** For tests: as on a file system that gives no leases. */
  readonly withoutLeases?: boolean
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
  const hasMore = moreThanKept(tree, set.options.keep)
  let removed = 0
  let bytes = 0
  let audited: bigint | undefined
  // Before the first is gone: what ends in between has left its mark.
  const audit = async () => {
    const detail = { roots: set.roots.map((root) => jsonName('path', root)), host: set.host, vault: set.vaultId }
    audited ??= await parts.catalog.audit({ kind: 'deletion', by: parts.by, subject: set.id ?? '', detail })
  }
  const aside: AsideNotes = {
    lease: parts.withoutLeases ? () => undefined : takeReadLease,
    note: (file) => parts.catalog.noteAside(set.host, parts.owner, file),
    forget: (name) => parts.catalog.forgetAside(set.host, name),
  }
  /** One after the other. `names`: of one inode. */
  const remove = async (entries: readonly PlannedEntry[], { names = false } = {}) => {
    /** Those that are still there, whatever ends this. */
    const left = new Set(entries.map(({ path }) => path))
    if (!events.dryRun && entries.length > 0) {
      await audit()
      await parts.catalog.noteRemoved(set.id as string, [...left])
    }
    let gone = false
    try {
      for (const entry of entries) {
        const reason = events.dryRun ? undefined : await removeIfSame(tree, entry, names && gone, aside, signal)
        if (reason === undefined) {
          gone = true
          left.delete(entry.path)
          removed++
          bytes += entry.size
          await events.onRemoved(entry.path, entry.size)
        } else events.onKept?.(entry.path, reason)
      }
    } finally {
      if (!events.dryRun) await parts.catalog.forgetRemoved(set.id as string, [...left])
    }
  }
  try {
    await using links = await parts.catalog.openLinkStore()
    await using held = await parts.catalog.openHeld({ host: set.host, vaultId: set.vaultId, keep: set.options.keep })
    const walk = parts.source.walk(walkRequest({ ...set, realRoots }, leaveOut), signal ? { signal } : {})
    for await (const page of walk) {
      signal?.throwIfAborted()
      const linked: PlannedEntry[] = []
      const single: PlannedEntry[] = []
      for (const found of await compare(held, page.entries, undefined, { hashed: true, hasMore })) {
        const { entry } = found
        if (!isFile(entry.type)) continue
        const archived = found.is === 'unchanged'
        const trouble = archived
          ? await bundles.trouble(found.bundles)
          : events.dryRun
            ? undefined
            : found.is === 'new' && found.more
              ? 'it has xattrs or ACLs that the vault does not hold'
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

interface AsideNotes {
  readonly lease: typeof takeReadLease
  note(file: Aside): Promise<void>
  forget(aside: Raw): Promise<void>
}

const WHY_KEPT: Readonly<Record<string, string>> = {
  ENOENT: 'it is gone already',
  ENOTDIR: 'it is gone already',
  ELOOP: 'it lies behind a symlink now, which is not followed',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'its file system is read-only',
}
const CHANGED = 'it changed meanwhile'
const OTHER_BYTES = 'its bytes are not those that the vault holds'

/** Removes the file, as a name in its opened parent, if it still is what the walk saw and holds what the vault does; else says why not. */
async function removeIfSame(
  tree: TreeAccess,
  entry: PlannedEntry,
  siblingsGone: boolean,
  aside: AsideNotes,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const isSame = (now: Stat) => isUntouched(now, entry) && (siblingsGone || now.ctimeNs === entry.ctimeNs)
  try {
    using source = tree.hold(entry.path)
    if (!isSame(source.stat)) return CHANGED
    if (entry.type === 'file') {
      const fd = source.read()
      // Times do not prove that nobody writes: they may be coarse, and pages that are mapped have none.
      const lease = aside.lease(fd)
      if (lease === 'written') return 'a process has it open for writing'
      if (lease === undefined) return await removeAside(tree, entry, fd, aside, signal)
      const sha256 = await hashOf(fd, entry.size, signal)
      if (entry.held === undefined || sha256 !== entry.held.sha256) return OTHER_BYTES
      step('remove:hashed')
      if (!holdsReadLease(fd)) return 'a process opened it for writing meanwhile'
    }
    if (!isSame(tree.stat(entry.path))) return CHANGED
    step('remove:before')
    tree.unlink(entry.path)
    step('remove:after')
    return undefined
  } catch (error) {
    const code = errnoOf(error)
    return (code && WHY_KEPT[code]) ?? sentence(error)
  }
}

/** But for the ctime: that moves when another name of the inode is removed, and with a name. */
const isUntouched = (now: Stat, entry: PlannedEntry): boolean =>
  now.dev === entry.dev &&
  now.ino === entry.ino &&
  now.mtimeNs === entry.mtimeNs &&
  (entry.type === 'symlink' || now.size === entry.size)

/** The same without a lease, under another name. */
async function removeAside(
  tree: TreeAccess,
  entry: PlannedEntry,
  fd: number,
  notes: AsideNotes,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { path } = entry
  const aside = asideOf(path)
  await notes.note({ path, aside })
  try {
    tree.rename(path, nameOf(aside))
  } catch (error) {
    await notes.forget(aside)
    const code = errnoOf(error)
    if (code !== 'EINVAL' && code !== 'ENOSYS') throw error
    return 'nobody can be kept from writing to it: there is no lease to be had, and no renaming that replaces nothing'
  }
  step('remove:aside')
  const putBackFor = async (reason: string): Promise<string> => {
    try {
      tree.rename(aside, nameOf(path))
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      await notes.forget(aside)
      return `${reason}; its name was taken by then, so it is called ${shown(nameOf(aside))} now`
    }
    await notes.forget(aside)
    return reason
  }
  let sha256: string | undefined
  try {
    sha256 = await hashOf(fd, entry.size, signal)
  } catch (error) {
    await putBackFor('')
    throw error
  }
  if (entry.held === undefined || sha256 !== entry.held.sha256) return putBackFor(OTHER_BYTES)
  step('remove:hashed')
  if (!isUntouched(tree.stat(aside), entry)) return putBackFor(CHANGED)
  step('remove:before')
  tree.unlink(aside)
  step('remove:after')
  await notes.forget(aside)
  return undefined
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
