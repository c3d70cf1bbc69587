/** For suites: a catalog in a database of its own, and entries to fill it with. */
import { createHash } from 'node:crypto'
import type { Entry, PlannedEntry } from '#libs/bundle/entry.js'
import { encodePlan } from '#libs/bundle/plan.js'
import { type Raw, rawFromText } from '#libs/os/raw.js'
import { scratchDatabase } from '../../test/database.js'
import type { Catalog, FileRow, SetRow, StoredBundle } from './catalog.js'
import { migrate } from './migrate.js'
import { openCatalog } from './open-catalog.js'

export interface ScratchCatalog {
  readonly url: string
  readonly catalog: Catalog
  drop(): Promise<void>
}

export async function scratchCatalog(): Promise<ScratchCatalog> {
  const { url, drop } = await scratchDatabase()
  await migrate(url)
  const catalog = await openCatalog({ url, poolSize: 6 })
  return {
    url,
    catalog,
    async drop() {
      await catalog.close()
      await drop()
    },
  }
}

export const nobodyIsGone = () => false
export const raw = (path: string) => rawFromText(path)
export const hashOf = (text: string) => createHash('sha256').update(text).digest('hex')

export const VAULT = { url: 'local:/vault?thaw=5', id: 'local:/vault' }

/** An entry like those of real trees; `more` says what is special about it. */
export function entry(path: string | Raw, more: Partial<Entry> = {}): Entry {
  return {
    path: path as Raw,
    type: 'file',
    size: 100,
    mtimeNs: 1_700_000_000_123_456_789n,
    ctimeNs: 1_700_000_001_000_000_001n,
    atimeNs: 1_700_000_002_000_000_002n,
    dev: 64769n,
    ino: 4711n,
    nlink: 1,
    mode: 0o644,
    uid: 1000,
    gid: 100,
    uname: 'ann',
    gname: 'users',
    state: 'ok',
    ...(more.type === undefined || more.type === 'file' || more.type === 'hardlink'
      ? { sha256: hashOf(path), offset: 512 }
      : { size: 0 }),
    ...more,
  }
}

export const directory = (path: string, more: Partial<Entry> = {}) => entry(path, { type: 'directory', mode: 0o755, ...more })

export const planned = ({
  path,
  type,
  size,
  mtimeNs,
  ctimeNs,
  atimeNs,
  dev,
  ino,
  nlink,
  mode,
  uid,
  gid,
  link,
}: Entry): PlannedEntry => ({
  path,
  type,
  size,
  mtimeNs,
  ctimeNs,
  atimeNs,
  dev,
  ino,
  nlink,
  mode,
  uid,
  gid,
  ...(link !== undefined && { link }),
})

export const OWNER = 'crawler-1'

export const newSet = (catalog: Catalog, more: { host?: string; description?: string; tags?: string[]; vaultId?: string } = {}) =>
  catalog.createSet(
    {
      host: more.host ?? 'alpha',
      roots: [raw('/data')],
      description: more.description ?? 'a test',
      tags: more.tags ?? [],
      options: { filesPerBundle: 1000 },
      vaultUrl: VAULT.url,
      vaultId: more.vaultId ?? VAULT.id,
    },
    OWNER,
  )

export const planOf = (entries: readonly Entry[]) => ({
  plan: encodePlan(entries.map(planned)),
  files: entries.filter(({ type }) => type !== 'directory').length,
  entries: entries.length,
  bytes: entries.reduce((sum, { type, size }) => sum + (type === 'file' ? size : 0), 0),
})

export const storedOf = (id: string, entries: readonly Entry[], more: Partial<StoredBundle> = {}): StoredBundle => ({
  key: `2026/11/set/${id}.1.tar`,
  archiveId: `2026/11/set/${id}.1.tar`,
  tarBytes: 10_240,
  tarSha256: hashOf(id),
  archivedAt: new Date(),
  entries,
  ...more,
})

/** Plans, leases and stores a bundle. */
export async function storeBundle(catalog: Catalog, set: SetRow, entries: readonly Entry[], more: Partial<StoredBundle> = {}) {
  const id = await catalog.planBundle(set.id, OWNER, planOf(entries))
  const answer = await catalog.leaseBundle(id, 'worker-1', nobodyIsGone)
  if (answer.kind !== 'leased') throw new Error(`bundle is ${answer.kind}`)
  return catalog.markStored(id, answer.attempt, storedOf(id, entries, more), [])
}

/** A row as the entry that it was written from. */
export function entryOf(row: FileRow): Entry {
  const {
    bundleNumber: _n,
    seq: _s,
    bundleId: _b,
    setId: _i,
    host: _h,
    vaultId: _v,
    archiveId: _a,
    archivedAt: _t,
    ...rest
  } = row
  return rest
}

export async function all<T>(pages: AsyncIterable<readonly T[]>): Promise<T[]> {
  const found: T[] = []
  for await (const page of pages) found.push(...page)
  return found
}
