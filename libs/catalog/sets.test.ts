import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { PlannedEntry } from '#libs/bundle/entry.js'
import { rawFromBytes } from '#libs/os/raw.js'
import type { Catalog } from './catalog.js'
import {
  all,
  entry,
  newSet,
  nobodyIsGone,
  OWNER,
  planned,
  planOf,
  raw,
  type ScratchCatalog,
  scratchCatalog,
  storeBundle,
  storedOf,
  VAULT,
} from './scratch-catalog.js'

let scratch: ScratchCatalog
let catalog: Catalog
beforeAll(async () => {
  scratch = await scratchCatalog()
  catalog = scratch.catalog
})
afterAll(() => scratch.drop())

describe('a set', () => {
  test('keeps what it was asked to be', async () => {
    const roots = [raw('/data'), rawFromBytes(Buffer.from('/b\xff\n\\,"{}', 'latin1'))]
    const options = { olderThan: '2026-01-01T00:00:00.000Z', include: ['*.t\0xt', 'ü'], limits: { files: 10 } }
    const request = {
      host: 'beta',
      roots,
      description: 'one\0 two',
      tags: ['a,b', '"', ''],
      options,
      vaultUrl: VAULT.url,
      vaultId: VAULT.id,
    }
    const set = await catalog.createSet(request, OWNER)
    expect(set).toMatchObject({
      ...request,
      description: 'one two',
      options: { ...options, include: ['*.txt', 'ü'] },
      state: 'crawling',
    })
    expect(Math.abs(set.startedAt.getTime() - Date.now())).toBeLessThan(60_000)
    expect(await catalog.set(set.id)).toEqual(set)
    expect((await catalog.sets({ limit: 1 }))[0]).toEqual(set)
    expect(await catalog.set('nonsense')).toBeUndefined()
    expect(await catalog.knownVault(VAULT.id)).toEqual({ id: VAULT.id, url: VAULT.url })
  })

  test('has one crawler at a time', async () => {
    const set = await newSet(catalog)
    expect(await catalog.leaseSet(set.id, OWNER, nobodyIsGone)).toBe(true)
    expect(await catalog.leaseSet(set.id, 'other', nobodyIsGone)).toBe(false)
    expect((await catalog.interruptedSets('alpha', nobodyIsGone)).map(({ id }) => id)).not.toContain(set.id)
    expect((await catalog.interruptedSets('alpha', (owner) => owner === OWNER)).map(({ id }) => id)).toContain(set.id)
    expect(await catalog.leaseSet(set.id, 'heir', (owner) => owner === OWNER)).toBe(true)
    await expect(catalog.planBundle(set.id, OWNER, planOf([entry('/data/x')]))).rejects.toMatchObject({ code: 'lease-lost' })
    await expect(catalog.markCrawled(set.id, OWNER)).rejects.toMatchObject({ code: 'lease-lost' })
    await catalog.releaseSet(set.id, OWNER)
    expect(await catalog.leaseSet(set.id, OWNER, nobodyIsGone)).toBe(false)
    await catalog.releaseSet(set.id, 'heir')
    expect((await catalog.interruptedSets('alpha', nobodyIsGone)).map(({ id }) => id)).toContain(set.id)
    expect(await catalog.interruptedSets('elsewhere', nobodyIsGone)).toEqual([])
    const both = await Promise.all(['p', 'q'].map((owner) => catalog.leaseSet(set.id, owner, nobodyIsGone)))
    expect(both.sort()).toEqual([false, true])
  })

  test('counts the crawl anew when it begins again, and keeps of what packing found only what will not be found again', async () => {
    const set = await newSet(catalog)
    await catalog.countCrawled(set.id, { found: 10, unchanged: 4, waiting: 0 })
    await catalog.recordProblems(set.id, [
      { path: raw('/data/fifo'), kind: 'skipped', reason: 'a FIFO' },
      { path: raw('/data/secret'), kind: 'failed', reason: 'permission denied' },
    ])
    const id = await catalog.planBundle(set.id, OWNER, planOf([entry('/data/a')]))
    const lease = await catalog.leaseBundle(id, 'w', nobodyIsGone)
    if (lease.kind !== 'leased') throw new Error(lease.kind)
    const stored = { key: 'k', archiveId: 'k', tarBytes: 1, tarSha256: '00', archivedAt: new Date(), entries: [] }
    await catalog.markStored(id, lease.attempt, stored, [
      { path: raw('/data/a'), kind: 'failed', reason: 'vanished' },
      { path: raw('/data/b'), kind: 'changed', reason: 'changed while it was read' },
    ])
    expect((await catalog.set(set.id))?.counts).toMatchObject({ found: 10, unchanged: 4, skipped: 1, failed: 2 })
    await catalog.restartCrawl(set.id)
    expect((await catalog.set(set.id))?.counts).toMatchObject({ found: 0, unchanged: 0, skipped: 0, failed: 0, plannedFiles: 1 })
    expect((await all(catalog.problems(set.id))).map(({ kind }) => kind)).toEqual(['changed'])
  })

  test('finishes when no bundle is live any more: archived, partial or failed', async () => {
    const good = await newSet(catalog)
    await storeBundle(catalog, good, [entry('/data/good', { size: 7 })])
    expect(await catalog.finishSet(good.id)).toMatchObject({ state: 'crawling' })
    const late = await catalog.planBundle(good.id, OWNER, planOf([entry('/data/late')]))
    await catalog.markCrawled(good.id, OWNER)
    expect(await catalog.finishSet(good.id)).toMatchObject({ state: 'archiving' })
    await catalog.failBundle(late, 0, 'no room')
    const partial = await catalog.finishSet(good.id)
    expect(partial).toMatchObject({
      state: 'partial',
      counts: { archived: 1, failed: 1, bytes: 7, bundles: 2, bundlesStored: 1, bundlesFailed: 1 },
    })
    expect(await all(catalog.problems(good.id))).toEqual([
      { path: '/data/late', kind: 'failed', reason: 'its bundle was not stored: no room', bundle: expect.any(String) },
    ])
    expect(partial.finishedAt).toBeInstanceOf(Date)
    expect(await catalog.finishSet(good.id)).toEqual(partial)

    const empty = await newSet(catalog)
    await catalog.markCrawled(empty.id, OWNER)
    expect(await catalog.finishSet(empty.id)).toMatchObject({ state: 'archived' })

    const troubled = await newSet(catalog)
    await catalog.recordProblems(troubled.id, [{ path: raw('/x'), kind: 'skipped', reason: 'a socket' }])
    await catalog.markCrawled(troubled.id, OWNER)
    expect(await catalog.finishSet(troubled.id)).toMatchObject({ state: 'partial' })

    const bad = await newSet(catalog)
    await catalog.failBundle(await catalog.planBundle(bad.id, OWNER, planOf([entry('/data/bad')])), 0, 'no room')
    await catalog.markCrawled(bad.id, OWNER)
    expect(await catalog.finishSet(bad.id)).toMatchObject({ state: 'failed' })

    const ended = await newSet(catalog)
    await catalog.failSet(ended.id, 'the root is gone')
    expect(await catalog.set(ended.id)).toMatchObject({ state: 'failed', reason: 'the root is gone' })
    expect(await catalog.leaseSet(ended.id, OWNER, nobodyIsGone)).toBe(false)
  })
})

test('a set is cancelled with all of it that is not stored, whoever works at it; again and again', async () => {
  const set = await newSet(catalog)
  const { id: stored } = await storeBundle(catalog, set, [entry('/data/cancel-1')])
  const packing = await catalog.planBundle(set.id, OWNER, planOf([entry('/data/cancel-2')]))
  const waiting = await catalog.planBundle(set.id, OWNER, planOf([entry('/data/cancel-3')]))
  await catalog.leaseBundle(packing, 'another/host', nobodyIsGone)

  expect(await catalog.cancelSet(set.id, 'a mistake')).toBe(2)
  expect(await catalog.set(set.id)).toMatchObject({ state: 'cancelled', reason: 'a mistake', counts: { bundlesStored: 1 } })
  const states = await Promise.all([stored, packing, waiting].map(async (id) => (await catalog.bundle(id))?.state))
  expect(states).toEqual(['stored', 'cancelled', 'cancelled'])
  expect(await catalog.pendingBundles(set.id)).toMatchObject({ cancelled: true })
  // Nobody goes on with it.
  await expect(catalog.renewBundle(packing, 1)).rejects.toMatchObject({ code: 'lease-lost' })
  const late = catalog.markStored(packing, 1, storedOf(packing, [entry('/data/cancel-2')]), [])
  await expect(late).rejects.toMatchObject({ code: 'lease-lost' })
  expect(await catalog.leaseBundle(waiting, OWNER, nobodyIsGone)).toEqual({ kind: 'over', state: 'cancelled' })
  await expect(catalog.planBundle(set.id, OWNER, planOf([entry('/data/late')]))).rejects.toMatchObject({ code: 'lease-lost' })
  expect(await catalog.leaseSet(set.id, OWNER, nobodyIsGone)).toBe(false)
  expect(await catalog.finishSet(set.id)).toMatchObject({ state: 'cancelled' })
  expect(await catalog.strandedBundles(0, nobodyIsGone, set.id)).toEqual([])

  expect(await catalog.cancelSet(set.id, 'again')).toBe(0)
  expect(await catalog.set(set.id)).toMatchObject({ reason: 'a mistake' })
})

test('a set that is over is not cancelled', async () => {
  const set = await newSet(catalog)
  await catalog.markCrawled(set.id, OWNER)
  await catalog.finishSet(set.id)
  expect(await catalog.cancelSet(set.id, 'too late')).toBe(0)
  expect(await catalog.set(set.id)).toMatchObject({ state: 'archived' })
})

describe('the link store', () => {
  test('gives entries back by inode and path, with all they had', async () => {
    const entries: PlannedEntry[] = []
    for (let i = 0; i < 2500; i++) {
      const dev = i % 3 === 0 ? 2n ** 63n + 1n : 5n
      entries.push({
        ...planned(entry(`/data/${(i * 7919) % 2500}\xff`, { dev, ino: BigInt(i % 100), nlink: 25, mtimeNs: -5n })),
        ...(i % 2 === 0 && { unchanged: true }),
        ...(i % 5 === 0 && { held: { bundle: 'b', offset: 512, sha256: 'ab' } }),
      })
    }
    const store = await catalog.openLinkStore()
    await store.add(entries.slice(0, 1000))
    await store.add([])
    await store.add(entries.slice(1000))
    const found = await all(store.groups())
    const key = (e: PlannedEntry) => `${e.dev}/${e.ino}`
    const groups = found.map(key).filter((k, i, keys) => k !== keys[i - 1])
    expect(new Set(groups).size).toBe(groups.length)
    for (let i = 1; i < found.length; i++) {
      const [a, b] = [found[i - 1] as PlannedEntry, found[i] as PlannedEntry]
      if (key(a) === key(b)) expect(a.path < b.path).toBe(true)
    }
    const byPath = (a: PlannedEntry, b: PlannedEntry) => (a.path < b.path ? -1 : 1)
    expect([...found].sort(byPath)).toEqual([...entries].sort(byPath))
    await store[Symbol.asyncDispose]()
    await using empty = await catalog.openLinkStore()
    expect(await all(empty.groups())).toEqual([])
  })
})
