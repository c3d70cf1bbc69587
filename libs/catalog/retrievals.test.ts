import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { BundleRow, Catalog, FileRow, RetrievalRequest, SetRow } from './catalog.js'
import { openDatabase } from './database.js'
import { openFileRows } from './file-row.js'
import { retrievalVerbs } from './retrievals.js'
import {
  all,
  directory,
  entry,
  newSet,
  nobodyIsGone,
  raw,
  type ScratchCatalog,
  scratchCatalog,
  storeBundle,
  VAULT,
} from './scratch-catalog.js'

let scratch: ScratchCatalog
let catalog: Catalog
let set: SetRow
let first: BundleRow
let second: BundleRow
beforeAll(async () => {
  scratch = await scratchCatalog()
  catalog = scratch.catalog
  set = await newSet(catalog)
  first = await storeBundle(catalog, set, [
    directory('/data'),
    entry('/data/a', { size: 10, offset: 1024 }),
    entry('/data/b', { size: 20, offset: 512 }),
    entry('/data/b-too', { type: 'hardlink', link: raw('/data/b'), size: 20, offset: 512 }),
    entry('/data/s', { type: 'symlink', link: raw('a') }),
  ])
  second = await storeBundle(catalog, set, [
    entry('/data/c', { size: 30, offset: 512 }),
    entry('/data/moved', { size: 10, offset: 1024, dataBundle: first.id }),
  ])
})
afterAll(() => scratch.drop())

const asked = (more: Partial<RetrievalRequest> & { query?: string } = {}): RetrievalRequest => ({
  request: { query: more.query ?? 'everything', days: 3, paths: [{ path: '/data' }] },
  target: raw('/restore/to'),
  detached: more.detached ?? false,
})
const everything = () => catalog.select({ directories: true })
const none = async function* (): AsyncGenerator<readonly FileRow[]> {}

describe('what a selection needs', () => {
  test('is grouped by the bundle with the bytes; names of one inode count their bytes once', async () => {
    const needed = await all(catalog.neededBundles(everything()))
    expect(needed.map(({ bundle, files, bytes }) => [bundle.id, files, bytes])).toEqual([
      [first.id, 5, 30],
      [second.id, 1, 30],
    ])
    expect(needed[0]?.bundle).toEqual(first)
    expect(await all(catalog.neededBundles(none()))).toEqual([])
  })

  test('a link alone needs the bytes of its inode', async () => {
    const needed = await all(catalog.neededBundles(catalog.select({ paths: [raw('/data/b-too')] })))
    expect(needed).toMatchObject([{ files: 1, bytes: 20 }])
  })
})

describe('a retrieval', () => {
  test('has one item for each bundle that holds its bytes, with the rows in the order of the tar', async () => {
    const created = await catalog.createRetrieval(asked(), everything())
    expect(created).toMatchObject({ ...asked(), state: 'requested', files: 6, bytes: 60, layout: 'path', filesRestored: 0 })
    expect(created.items).toEqual({ requested: 2, thawing: 0, ready: 0, fetching: 0, done: 0, failed: 0, expired: 0 })
    const items = await all(catalog.items(created.id))
    const keys = items.map(({ bundle }) => bundle.key)
    expect(keys).toEqual([...keys].sort()) // as they lie in the vault's listings
    const itemOf = ({ id }: BundleRow) => items.find(({ bundle }) => bundle.id === id)
    expect(itemOf(first)).toMatchObject({ files: 5, bytes: 30, state: 'requested' })
    expect(itemOf(second)).toMatchObject({ files: 1, bytes: 30, state: 'requested' })
    expect(await catalog.item(items[0]?.id as string)).toEqual(items[0])
    const rowsOf = (bundle: BundleRow) => all(catalog.itemRows(itemOf(bundle)?.id as string))
    expect((await rowsOf(first)).map(({ path, offset }) => `${path} ${offset}`)).toEqual([
      '/data/b 512',
      '/data/b-too 512',
      '/data/a 1024',
      '/data/moved 1024',
      '/data undefined',
      '/data/s undefined',
    ])
    expect((await rowsOf(second)).map(({ path }) => path)).toEqual(['/data/c'])
  })

  test('asked again it is the same one, until it is over', async () => {
    const offered = await catalog.createRetrieval(asked({ query: 'again' }), everything())
    expect(await catalog.openRetrieval(asked({ query: 'again' }))).toBeUndefined()
    const created = await catalog.agreeTo(offered.id, { thawLimitUsd: 0.5, usd: 0.2, offer: { usd: 1 } }, 'tester@here')
    expect(created).toMatchObject({ thawLimitUsd: 0.5, thawSpentUsd: 0, consent: { usd: 1 }, agreedAt: expect.any(Date) })
    expect(await catalog.openRetrieval(asked({ query: 'again' }))).toEqual(created)
    expect(await catalog.openRetrieval({ ...asked({ query: 'again' }), target: raw('/elsewhere') })).toBeUndefined()
    expect(await catalog.openRetrieval(asked({ query: 'again', detached: true }))).toBeUndefined()
    expect(await catalog.openRetrieval(asked({ query: 'another' }))).toBeUndefined()
    for (const item of await all(catalog.items(created.id)))
      await catalog.markItem(item.id, 'done', { filesRestored: item.files })
    expect(await catalog.finishRetrieval(created.id)).toMatchObject({ state: 'done', filesRestored: 6, filesFailed: 0 })
    expect(await catalog.openRetrieval(asked({ query: 'again' }))).toBeUndefined()
    expect((await catalog.retrieval(created.id))?.finishedAt).toBeInstanceOf(Date)
  })

  test('is carried to its end without Prisma, which takes longer to load than a small file to bring back', async () => {
    const database = openDatabase({ url: scratch.url, poolSize: 2 })
    const prisma = Object.assign(() => Promise.reject(new Error('Prisma was asked for')), { close: async () => {} })
    try {
      const verbs = retrievalVerbs(database, openFileRows(database), prisma)
      const request = asked({ query: 'without Prisma' })
      expect(await verbs.openRetrieval(request)).toBeUndefined()
      const { id } = await verbs.createRetrieval(request, everything())
      await verbs.setLayout(id, 'path', 'alpha')
      expect(await verbs.agreeTo(id, { thawLimitUsd: 0, usd: 0.2, offer: {} }, 'tester@here')).toEqual(await verbs.retrieval(id))
      for (const item of await all(verbs.items(id))) {
        await verbs.changeItems([{ id: item.id, seen: 'requested', state: 'ready' }])
        expect(await verbs.leaseItem(item.id, 'w', nobodyIsGone)).toBe(true)
        await all(verbs.itemRows(item.id))
        await verbs.markItem(item.id, 'done', { filesRestored: item.files })
      }
      expect(await verbs.finishRetrieval(id)).toMatchObject({ state: 'done', host: 'alpha', filesRestored: 6 })
    } finally {
      await database.close()
    }
  })

  test('that is not there is no success', async () => {
    const unknown = '0190c0de-0000-4000-8000-000000000000'
    await expect(catalog.setLayout(unknown, 'path', undefined)).rejects.toMatchObject({ code: 'failed' })
    await expect(catalog.markItem(unknown, 'done')).rejects.toMatchObject({ code: 'failed' })
    await expect(catalog.finishRetrieval(unknown)).rejects.toMatchObject({ code: 'failed' })
  })

  test('of nothing is over at once', async () => {
    const created = await catalog.createRetrieval(asked({ query: 'nothing' }), none())
    expect(created).toMatchObject({ state: 'done', files: 0, bytes: 0 })
    expect(await catalog.openRetrieval(asked({ query: 'nothing' }))).toBeUndefined()
  })

  test('one that failed while its rows were gathered leaves nothing', async () => {
    const before = (await catalog.retrievals()).length
    const failing = async function* () {
      yield* everything()
      throw new Error('the index went away')
    }
    await expect(catalog.createRetrieval(asked({ query: 'failing' }), failing())).rejects.toThrow('the index went away')
    expect(await catalog.retrievals()).toHaveLength(before)
  })

  test('follows its items: thawing with the last expected time, then fetching, then failed with its counts', async () => {
    const { id } = await catalog.createRetrieval(asked({ query: 'states' }), everything())
    const [a, b] = await all(catalog.items(id))
    const readyAt = new Date('2030-01-01T00:00:00.000Z')
    await catalog.markItem(a?.id as string, 'thawing', { readyAt })
    expect(await catalog.finishRetrieval(id)).toMatchObject({ state: 'thawing', expectedAt: readyAt })
    expect(await catalog.leaseItem(a?.id as string, 'w', nobodyIsGone)).toBe(true)
    expect(await catalog.finishRetrieval(id)).toMatchObject({ state: 'fetching' })
    await catalog.markItem(a?.id as string, 'failed', { reason: 'da\0maged', filesRestored: 3, filesFailed: 2 })
    await catalog.markItem(b?.id as string, 'expired', { reason: 'froze again', filesFailed: 1 })
    expect(await catalog.item(a?.id as string)).toMatchObject({ state: 'failed', reason: 'damaged' })
    const over = await catalog.finishRetrieval(id)
    expect(over).toMatchObject({ state: 'failed', filesRestored: 3, filesFailed: 3, items: { failed: 1, expired: 1 } })
    expect(await catalog.finishRetrieval(id)).toEqual(over)
  })

  test('an item is fetched by one at a time', async () => {
    const { id } = await catalog.createRetrieval(asked({ query: 'leases' }), everything())
    const [item] = await all(catalog.items(id))
    const itemId = item?.id as string
    const won = await Promise.all(['a', 'b', 'c'].map((owner) => catalog.leaseItem(itemId, owner, nobodyIsGone)))
    expect(won.filter(Boolean)).toHaveLength(1)
    const owner = ['a', 'b', 'c'][won.indexOf(true)] as string
    expect(await catalog.leaseItem(itemId, owner, nobodyIsGone)).toBe(true)
    expect(await catalog.leaseItem(itemId, 'heir', (gone) => gone === owner)).toBe(true)
    await catalog.markItem(itemId, 'requested', { filesRestored: 1 })
    expect(await catalog.leaseItem(itemId, 'another', nobodyIsGone)).toBe(true)
    await catalog.markItem(itemId, 'done')
    expect(await catalog.leaseItem(itemId, 'another', nobodyIsGone)).toBe(false)
  })

  test('keeps its layout, and is listed with the others, newest first', async () => {
    const { id } = await catalog.createRetrieval(asked({ query: 'layout', detached: true }), everything())
    expect(await all(catalog.openItems({ detached: true }))).toEqual([])
    await catalog.agreeTo(id, { thawLimitUsd: 0, usd: 0.2, offer: {} }, 'tester@here')
    await catalog.setLayout(id, 'host', 'alpha')
    const row = await catalog.retrieval(id)
    expect(row).toMatchObject({ layout: 'host', host: 'alpha', detached: true })
    expect((await catalog.retrievals({ limit: 1 }))[0]).toEqual(row)
    const open = await catalog.retrievals({ open: true })
    const over = await catalog.retrievals({ open: false })
    expect(open.map((r) => r.id)).toContain(id)
    expect(open.length + over.length).toBe((await catalog.retrievals()).length)
    const detached = await all(catalog.openItems({ detached: true }))
    expect(detached.map(({ retrievalId }) => retrievalId)).toEqual([id, id])
    expect((await all(catalog.openItems({ detached: false }))).length).toBe(2)
    expect(await catalog.retrieval('nonsense')).toBeUndefined()
    expect(await all(catalog.items('nonsense'))).toEqual([])
    expect(await catalog.item('nonsense')).toBeUndefined()
  })

  test('that nobody agreed to can be dropped; one that was agreed to cannot', async () => {
    const { id } = await catalog.createRetrieval(asked({ query: 'drop' }), everything())
    const { id: kept } = await catalog.createRetrieval(asked({ query: 'keep' }), everything())
    await catalog.agreeTo(kept, { thawLimitUsd: 0, usd: 0.2, offer: {} }, 'tester@here')
    for (const one of [id, kept]) await catalog.dropRetrieval(one)
    expect(await catalog.retrieval(id)).toBeUndefined()
    expect(await catalog.retrieval(kept)).toBeDefined()
    await expect(catalog.agreeTo(id, { thawLimitUsd: 0, usd: 0.2, offer: {} }, 'tester@here')).rejects.toMatchObject({
      code: 'try-again',
    })
  })

  test('is charged what was agreed to and no more, once for each thaw', async () => {
    const { id } = await catalog.createRetrieval(asked({ query: 'charge' }), everything())
    await catalog.agreeTo(id, { thawLimitUsd: 0.3, usd: 0.2, offer: {} }, 'tester@here')
    const [a, b] = (await all(catalog.items(id))).map((item) => item.id) as [string, string]
    const spent = async () => (await catalog.retrieval(id))?.thawSpentUsd
    const thaws = (item: string, seen: 'requested' | 'thawing', state: 'requested' | 'thawing') =>
      catalog.changeItems([{ id: item, seen, state }])
    expect(await Promise.all([catalog.charge(a, 0.1), catalog.charge(b, 0.1)])).toEqual([true, true])
    expect(await catalog.charge(a, 0.1)).toBe(true) // by the heir of one who was killed
    expect(await spent()).toBeCloseTo(0.2, 12)
    await thaws(a, 'requested', 'thawing')
    await thaws(a, 'thawing', 'requested')
    expect(await catalog.charge(a, 0.1)).toBe(true)
    await thaws(b, 'requested', 'thawing')
    expect(await catalog.charge(b, 0.1)).toBe(false)
    await catalog.uncharge(a)
    await catalog.uncharge(a)
    expect(await spent()).toBeCloseTo(0.2, 12)
    expect(await catalog.charge(b, 0.1)).toBe(true)
  })

  test('is changed where it is as it was seen, many items at once', async () => {
    const { id } = await catalog.createRetrieval(asked({ query: 'changes' }), everything())
    const [a, b] = (await all(catalog.items(id))).map((item) => item.id) as [string, string]
    await catalog.leaseItem(b, 'fetcher', nobodyIsGone)
    const readyAt = new Date('2031-01-01T00:00:00.000Z')
    await catalog.changeItems([a, b].map((item) => ({ id: item, seen: 'requested', state: 'thawing', readyAt })))
    expect(await catalog.item(a)).toMatchObject({ state: 'thawing', readyAt })
    expect(await catalog.item(b)).toMatchObject({ state: 'fetching' })
    expect(await catalog.leaseItem(b, 'other', nobodyIsGone)).toBe(false)
    await catalog.changeItems([])
  })
})

describe('the thaw of a bundle', () => {
  test('is asked for by one at a time, also in one process, and taken over from who is gone', async () => {
    const bundles = [7n, 8n, 9n]
    const won = await Promise.all(['a', 'b', 'a'].map((owner) => catalog.claimThaws(bundles, owner, nobodyIsGone)))
    expect(won.flatMap((claimed) => [...claimed]).sort()).toEqual(bundles)
    const owner = (bundle: bigint) => ['a', 'b', 'a'][won.findIndex((claimed) => claimed.has(bundle))] as string
    expect([...(await catalog.claimThaws([7n], 'heir', (gone) => gone === owner(7n)))]).toEqual([7n])
    await catalog.releaseThaws([7n], owner(8n)) // not its own any more
    expect([...(await catalog.claimThaws([7n], 'late', nobodyIsGone))]).toEqual([])
    await catalog.releaseThaws([7n], 'heir')
    expect([...(await catalog.claimThaws([7n, 7n], 'late', nobodyIsGone))]).toEqual([7n])
    expect((await catalog.claimThaws([], 'late', nobodyIsGone)).size).toBe(0)
  })
})

test('a duty has one holder, who may keep it, leave it, or be gone', async () => {
  expect(await catalog.isOnDuty('watch', nobodyIsGone)).toBe(false)
  const taken = await Promise.all(['a', 'b'].map((owner) => catalog.takeDuty('watch', owner, nobodyIsGone)))
  expect(taken.filter(Boolean)).toHaveLength(1)
  const [holder, other] = taken[0] ? ['a', 'b'] : ['b', 'a']
  expect(await catalog.takeDuty('watch', holder as string, nobodyIsGone)).toBe(true)
  expect(await catalog.isOnDuty('watch', nobodyIsGone)).toBe(true)
  expect(await catalog.isOnDuty('watch', (gone) => gone === holder)).toBe(false)
  await catalog.leaveDuty('watch', other as string)
  expect(await catalog.takeDuty('watch', other as string, nobodyIsGone)).toBe(false)
  expect(await catalog.takeDuty('watch', other as string, (gone) => gone === holder)).toBe(true)
  await catalog.leaveDuty('watch', other as string)
  expect(await catalog.isOnDuty('watch', nobodyIsGone)).toBe(false)
})

// The last: it adds to what everything is.
test('a retrieval asks only of vaults that it needs bytes of whether they are there: another one’s trouble is not its own', async () => {
  const elsewhere = await newSet(catalog, { host: 'gamma', vaultId: 'local:/elsewhere' })
  await storeBundle(catalog, elsewhere, [entry('/data/far', { size: 5, offset: 512 })])
  const questions: (readonly string[])[] = []
  const awayOf = async (ids: readonly string[]) => {
    questions.push(ids)
    return []
  }
  for (const path of ['/data/a', '/data/s', '/data/far']) {
    const rows = catalog.select({ paths: [raw(path)] })
    await catalog.dropRetrieval((await catalog.createRetrieval(asked({ query: path }), rows, { awayOf })).id)
  }
  expect(questions).toEqual([[VAULT.id], [], ['local:/elsewhere']])
})
