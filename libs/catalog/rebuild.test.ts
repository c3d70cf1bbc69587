import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Entry } from '#libs/bundle/entry.js'
import type { Raw } from '#libs/os/raw.js'
import type { BundleRow, Catalog, FileRow, ManifestFacts, SetRow } from './catalog.js'
import {
  all,
  directory,
  entry,
  newSet,
  nobodyIsGone,
  OWNER,
  planOf,
  raw,
  type ScratchCatalog,
  scratchCatalog,
  storeBundle,
  storedOf,
  VAULT,
} from './scratch-catalog.js'

let old: ScratchCatalog
let fresh: ScratchCatalog
beforeAll(async () => {
  old = await scratchCatalog()
  fresh = await scratchCatalog()
})
afterAll(async () => {
  await old.drop()
  await fresh.drop()
})

const factsOf = (set: SetRow, bundle: { id: string; attempt: number }): ManifestFacts => ({
  bundleId: bundle.id,
  attempt: bundle.attempt,
  setId: set.id,
  host: set.host,
  roots: set.roots,
  description: set.description,
  tags: set.tags,
  setStartedAt: set.startedAt,
  hasRecord: false,
})
const storedFrom = (bundle: BundleRow, entries: readonly Entry[]) => ({
  key: bundle.key as string,
  archiveId: bundle.archiveId as string,
  tarBytes: bundle.tarBytes as number,
  tarSha256: bundle.tarSha256 as string,
  archivedAt: bundle.archivedAt as Date,
  entries,
})
/** Numbers are a catalog's own. */
const withoutNumber = <T extends { bundleNumber?: bigint; number?: bigint }>({ bundleNumber: _b, number: _n, ...rest }: T) => rest
const rowsOf = async (catalog: Catalog): Promise<unknown[]> =>
  (await all(catalog.select({ allVersions: true, directories: true }))).map((row: FileRow) => withoutNumber(row))

describe('rebuild', () => {
  test('from manifests alone, in any order and twice: the same sets, bundles and files', async () => {
    const set = await newSet(old.catalog, { description: 'to be rebuilt', tags: ['x', 'y'] })
    const entries: Entry[][] = [
      [
        directory('/data'),
        entry('/data/a', { size: 5 }),
        entry('/data/void', { state: 'void' }),
        entry('/data/b\xff', { xattrs: { 'user.a': 'AA==' } }),
      ],
      [entry('/data/a', { size: 6, state: 'changed' }), entry('/data/s', { type: 'symlink', link: raw('a') })],
    ]
    const one = await storeBundle(old.catalog, set, entries[0] as Entry[], { archivedAt: new Date('2026-01-01') })
    const two = await storeBundle(old.catalog, set, [
      ...(entries[1] as Entry[]),
      entry('/data/p', { dataBundle: one.id, offset: 512 }),
    ])
    entries[1]?.push(entry('/data/p', { dataBundle: one.id, offset: 512 }))
    await old.catalog.markCrawled(set.id, OWNER)
    await old.catalog.finishSet(set.id)

    for (const expected of [true, false]) {
      expect(await fresh.catalog.adoptBundle(factsOf(set, two), VAULT, storedFrom(two, entries[1] as Entry[]))).toBe(expected)
      expect(await fresh.catalog.adoptBundle(factsOf(set, one), VAULT, storedFrom(one, entries[0] as Entry[]))).toBe(expected)
    }
    expect(await rowsOf(fresh.catalog)).toEqual(await rowsOf(old.catalog))
    const rebuilt = (await fresh.catalog.set(set.id)) as SetRow
    const { host, roots, description, tags, startedAt, vaultId } = set
    expect(rebuilt).toMatchObject({
      host,
      roots,
      description,
      tags,
      startedAt,
      vaultId,
      state: 'archived',
      finishedAt: two.archivedAt,
    })
    const { counts } = (await old.catalog.set(set.id)) as SetRow
    expect(rebuilt.counts).toMatchObject({
      archived: counts.archived,
      bytes: counts.bytes,
      bundles: 2,
      bundlesStored: 2,
      found: counts.archived,
    })
    for (const bundle of [one, two]) {
      expect(withoutNumber((await fresh.catalog.bundle(bundle.id)) as BundleRow)).toEqual({
        ...withoutNumber(bundle),
        adopted: true,
      })
    }
    const { databaseBytes: _a, ...totals } = await fresh.catalog.totals()
    const { databaseBytes: _b, ...oldTotals } = await old.catalog.totals()
    expect(totals).toEqual(oldTotals)
    const vaults = await fresh.catalog.vaults()
    expect(vaults).toEqual([{ ...VAULT, bundles: 2, bytes: 20_480 }])

    // The next crawl finds everything unchanged.
    const held = async (catalog: Catalog) => {
      await using session = await catalog.openHeld({ host: 'alpha', vaultId: VAULT.id })
      return session.lookup(['/data/a', '/data/b\xff', '/data/p', '/data/s', '/data/void'].map((path) => path as Raw))
    }
    expect(await held(fresh.catalog)).toEqual(await held(old.catalog))
  })

  test('a catalog restored from before the bundle was stored learns of it, without counting it twice', async () => {
    const set = await newSet(old.catalog)
    const entries = [entry('/late/a', { size: 3 })]
    const id = await old.catalog.planBundle(set.id, OWNER, planOf(entries))
    const lease = await old.catalog.leaseBundle(id, 'dead', nobodyIsGone)
    const stored = storedOf(id, entries)
    expect(await old.catalog.adoptBundle(factsOf(set, { id, attempt: 1 }), VAULT, stored)).toBe(false) // a worker has it in hand
    await old.catalog.releaseBundle(id, lease.kind === 'leased' ? lease.attempt : 0)
    expect(await old.catalog.adoptBundle(factsOf(set, { id, attempt: 1 }), VAULT, stored)).toBe(true)
    expect(await old.catalog.adoptBundle(factsOf(set, { id, attempt: 1 }), VAULT, stored)).toBe(false)
    expect(await old.catalog.leaseBundle(id, 'w', nobodyIsGone)).toEqual({ kind: 'over', state: 'stored' })
    const { counts, state } = (await old.catalog.set(set.id)) as SetRow
    expect(state).toBe('crawling')
    expect(counts).toMatchObject({ archived: 1, bytes: 3, bundles: 1, bundlesStored: 1, found: 0, plannedFiles: 1 })

    const failed = await old.catalog.planBundle(set.id, OWNER, planOf(entries))
    await old.catalog.failBundle(failed, 0, 'no answer from the vault')
    await old.catalog.adoptBundle(factsOf(set, { id: failed, attempt: 1 }), VAULT, storedOf(failed, entries))
    expect((await old.catalog.set(set.id))?.counts).toMatchObject({
      bundles: 2,
      bundlesStored: 2,
      bundlesFailed: 0,
      archived: 2,
      failed: 0,
    })
  })

  test('two that adopt the same bundle at once: one does', async () => {
    const set = await newSet(old.catalog)
    const id = '6f1c1b1e-0000-4000-8000-00000000abcd'
    const entries = Array.from({ length: 500 }, (_, i) => entry(`/twice/${i % 20}/${i}`))
    const adopt = () => fresh.catalog.adoptBundle(factsOf(set, { id, attempt: 1 }), VAULT, storedOf(id, entries))
    expect((await Promise.all([adopt(), adopt(), adopt()])).sort()).toEqual([false, false, true])
    expect((await fresh.catalog.set(set.id))?.counts).toMatchObject({ archived: 500, bundles: 1 })
  })

  test('a manifest that names no bundle of ours is damaged', async () => {
    const set = await newSet(old.catalog)
    const facts = { ...factsOf(set, { id: 'bundle-7', attempt: 1 }) }
    await expect(fresh.catalog.adoptBundle(facts, VAULT, storedOf('bundle-7', []))).rejects.toMatchObject({ code: 'damaged' })
  })
})
