import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Raw } from '#libs/os/raw.js'
import type { BundleRow, Catalog, FileRow, LocatedRow, Selection, SetRow } from './catalog.js'
import { all, directory, entry, newSet, raw, type ScratchCatalog, scratchCatalog, storeBundle, VAULT } from './scratch-catalog.js'

let scratch: ScratchCatalog
let catalog: Catalog
let january: { set: SetRow; bundle: BundleRow }
let february: { set: SetRow; bundle: BundleRow }
let other: { set: SetRow; bundle: BundleRow }

/** Two sets of one host and one of another, with names that sort badly. */
beforeAll(async () => {
  scratch = await scratchCatalog()
  catalog = scratch.catalog
  const store = async (more: Parameters<typeof newSet>[1], at: string, entries: Parameters<typeof storeBundle>[2]) => {
    const set = await newSet(catalog, more)
    return {
      set,
      bundle: await storeBundle(catalog, set, entries, {
        archivedAt: new Date(at),
        ...(at.includes('-03') && { archiveId: 'AWS=id' }),
      }),
    }
  }
  february = await store({ tags: ['new'] }, '2026-02-01', [
    directory('/'),
    directory('/data', { mode: 0o700 }),
    entry('/data/a', { size: 2 }),
    entry('/data-b/x'),
    entry('/data/sub/y'),
    entry('/data\xff/z'),
  ])
  january = await store({}, '2026-01-01', [
    directory('/data'),
    entry('/data/a', { size: 1 }),
    entry('/data/b\n'),
    entry('/data/sub/y', { type: 'symlink', link: raw('x') }),
  ])
  other = await store({ host: 'beta' }, '2026-03-01', [directory('/data'), entry('/data/a', { size: 9 })])
})
afterAll(() => scratch.drop())

const select = (selection: Selection) => all(catalog.select(selection))
const told = (rows: readonly FileRow[]) => rows.map((row) => `${row.host} ${row.path} ${row.archivedAt.getUTCMonth() + 1}`)

describe('select', () => {
  test('everything: of each host and path the newest, in order of directory and name', async () => {
    expect(told(await select({}))).toEqual([
      'alpha /data/a 2',
      'alpha /data/b\n 1',
      'alpha /data-b/x 2',
      'alpha /data/sub/y 2',
      'alpha /data\xff/z 2',
      'beta /data/a 3',
    ])
  })

  test('with directories, "/" among them', async () => {
    expect(told(await select({ directories: true, host: 'alpha' })).slice(0, 3)).toEqual([
      'alpha / 2',
      'alpha /data 2',
      'alpha /data/a 2',
    ])
  })

  test('all versions, newest first', async () => {
    expect(told(await select({ allVersions: true, paths: [raw('/data/a')] }))).toEqual([
      'alpha /data/a 2',
      'alpha /data/a 1',
      'beta /data/a 3',
    ])
  })

  test('as of a time: the newest that was there then', async () => {
    expect(told(await select({ asOf: new Date('2026-01-15') }))).toEqual([
      'alpha /data/a 1',
      'alpha /data/b\n 1',
      'alpha /data/sub/y 1',
    ])
    expect(told(await select({ asOf: new Date('2025-01-15') }))).toEqual([])
  })

  test('by set: the newest of that set', async () => {
    expect(told(await select({ setIds: [january.set.id] }))).toEqual([
      'alpha /data/a 1',
      'alpha /data/b\n 1',
      'alpha /data/sub/y 1',
    ])
    expect(told(await select({ setIds: [january.set.id, other.set.id.toUpperCase()], host: 'beta' }))).toEqual(['beta /data/a 3'])
    expect(await select({ setIds: ['nonsense'] })).toEqual([])
  })

  test("by archive: bundle ids and the vault's own ids", async () => {
    expect(told(await select({ archiveIds: [january.bundle.id, 'AWS=id'] }))).toEqual([
      'alpha /data/a 1',
      'alpha /data/b\n 1',
      'alpha /data/sub/y 1',
      'beta /data/a 3',
    ])
    expect(told(await select({ archiveIds: [february.bundle.id], setIds: [january.set.id] }))).toEqual([])
    expect(await select({ archiveIds: ['unknown'] })).toEqual([])
  })

  test('at or below paths, given twice or within each other: each row once', async () => {
    const paths = ['/data/sub', '/data', '/data', '/data/a'].map(raw)
    expect(told(await select({ paths, host: 'alpha' }))).toEqual(['alpha /data/a 2', 'alpha /data/b\n 1', 'alpha /data/sub/y 2'])
    expect(told(await select({ paths: [raw('/')], host: 'beta' }))).toEqual(['beta /data/a 3'])
    expect(told(await select({ paths: ['/data\xff' as Raw] }))).toEqual(['alpha /data\xff/z 2'])
    expect(told(await select({ paths: [raw('/dat'), raw('/data/nothing')] }))).toEqual([])
    expect(told(await select({ paths: [raw('/data')], setIds: [january.set.id], directories: true }))).toEqual([
      'alpha /data 1',
      'alpha /data/a 1',
      'alpha /data/b\n 1',
      'alpha /data/sub/y 1',
    ])
    const rows = await select({ paths: [raw('/')], directories: true, host: 'alpha' })
    expect(new Set(rows.map(({ path }) => path)).size).toBe(rows.length)
    expect(rows[0]?.path).toBe('/')
  })

  test('bundles that check found missing are still listed', async () => {
    await catalog.markChecked(other.bundle.id, 'missing')
    expect(told(await select({ host: 'beta' }))).toEqual(['beta /data/a 3'])
    expect(told(await select({ archiveIds: [other.bundle.id] }))).toEqual(['beta /data/a 3'])
    await catalog.markChecked(other.bundle.id, 'stored')
  })

  test('the catalogued directories of paths', async () => {
    const found = await catalog.directories('alpha', [raw('/data'), raw('/'), raw('/data/sub'), raw('/data/a')])
    expect(found.map(({ path, mode }) => `${path} ${mode.toString(8)}`).sort()).toEqual(['/ 755', '/data 700'])
    const then = await catalog.directories('alpha', [raw('/data'), raw('/')], new Date('2026-01-02'))
    expect(then.map(({ path, mode }) => `${path} ${mode.toString(8)}`)).toEqual(['/data 755'])
  })
})

describe('a large selection', () => {
  const FILES = 20_000
  let set: SetRow

  beforeAll(async () => {
    set = await newSet(catalog, { host: 'large' })
    const deep = `/${'p'.repeat(200)}/${'q'.repeat(200)}/${'r'.repeat(200)}`
    const path = (i: number) => (i < 7000 ? `/large/one/${String(i).padStart(5, '0')}` : `${deep}/${Math.floor(i / 10)}/${i}`)
    for (let from = 0; from < FILES; from += 5000) {
      await storeBundle(
        catalog,
        set,
        Array.from({ length: 5000 }, (_, i) => entry(path(from + i))),
      )
    }
    // One name with more versions than a page has rows.
    for (let round = 0; round < 5; round++) {
      const { id } = await newSet(catalog, { host: 'large' })
      const versions = (await catalog.set(id)) as SetRow
      for (let i = 0; i < 10; i++) await storeBundle(catalog, versions, [entry('/large/one/03000', { size: round * 10 + i })])
    }
  })

  test('streams every row once, in order, from a directory over many pages and from many directories', async () => {
    const seen = new Set<string>()
    let last = ''
    let pages = 0
    for await (const page of catalog.select({ host: 'large' })) {
      pages++
      expect(page.length).toBeLessThanOrEqual(2000)
      for (const { path } of page) {
        const slash = path.lastIndexOf('/')
        const key = `${path.slice(0, slash)}\0${path.slice(slash)}`
        expect(key > last).toBe(true)
        last = key
        seen.add(path)
      }
    }
    expect(seen.size).toBe(FILES)
    expect(pages).toBeGreaterThan(9)
    const [newest] = await select({ paths: [raw('/large/one/03000')] })
    expect(newest?.size).toBe(49)
    expect(await select({ paths: [raw('/large/one/03000')], allVersions: true })).toHaveLength(51)
  })

  test('the same by set, and below a path longer than the index', async () => {
    expect((await select({ setIds: [set.id] })).length).toBe(FILES)
    const deep = `/${'p'.repeat(200)}/${'q'.repeat(200)}/${'r'.repeat(200)}`
    expect((await select({ paths: [raw(deep)] })).length).toBe(FILES - 7000)
    expect((await select({ paths: [raw(`${deep}/1500`)] })).map(({ path }) => path.slice(-5))).toEqual(
      Array.from({ length: 10 }, (_, i) => String(15_000 + i)),
    )
  })

  test('a reader that stops early leaves nothing open', async () => {
    for await (const page of catalog.select({ setIds: [set.id] })) {
      expect(page.length).toBeGreaterThan(0)
      break
    }
  })
})

describe('selectHits', () => {
  const hitsOf = (rows: readonly FileRow[], size: number) =>
    (async function* () {
      for (let at = 0; at < rows.length; at += size)
        yield rows.slice(at, at + size).map(({ bundleNumber, seq }) => ({ bundleNumber, seq }))
    })()
  const everything = () => select({ allVersions: true, host: 'alpha' })
  const index = async () => catalog.markIndexed([january.bundle.number, february.bundle.number, other.bundle.number])

  test('each path once, the newest, though its versions are hits of several pages', async () => {
    await index()
    const rows = await everything()
    for (const size of [1, 2, 100]) {
      const found = await all(catalog.selectHits(hitsOf(rows, size), {}, () => true))
      expect(told(found).sort()).toEqual(told(await select({ host: 'alpha' })).sort())
    }
    expect(await all(catalog.selectHits(hitsOf(rows, 3), { allVersions: true }, () => true))).toHaveLength(rows.length)
  })

  test('the newest that matches, where newer ones do not', async () => {
    await index()
    const rows = (await everything()).filter(({ setId }) => setId === january.set.id)
    const found = await all(catalog.selectHits(hitsOf(rows, 2), {}, ({ set }) => !set.tags.includes('new')))
    expect(told(found).sort()).toEqual(['alpha /data/a 1', 'alpha /data/b\n 1', 'alpha /data/sub/y 1'])
  })

  test('a newer version that is not indexed yet is found by way of the older one', async () => {
    await catalog.forgetIndexed()
    await catalog.markIndexed([january.bundle.number])
    const rows = (await everything()).filter(({ setId }) => setId === january.set.id)
    expect(told(await all(catalog.selectHits(hitsOf(rows, 1), {}, () => true))).sort()).toEqual([
      'alpha /data/a 2',
      'alpha /data/b\n 1',
      'alpha /data/sub/y 2',
    ])
  })

  test('only what the selection wants', async () => {
    await index()
    const rows = await everything()
    const found = async (selection: Selection) =>
      told(await all(catalog.selectHits(hitsOf(rows, 2), selection, () => true))).sort()
    expect(await found({ paths: [raw('/data/sub')] })).toEqual(['alpha /data/sub/y 2'])
    expect(await found({ asOf: new Date('2026-01-15'), paths: [raw('/data/a')] })).toEqual(['alpha /data/a 1'])
    expect(await found({ host: 'beta' })).toEqual([])
    expect(await found({ archiveIds: [january.bundle.archiveId as string] })).toHaveLength(3)
    expect(VAULT.id).toBe(rows[0]?.vaultId)
  })
})

describe('locate', () => {
  const located = (row: FileRow): LocatedRow => ({
    bundleNumber: row.bundleNumber,
    seq: row.seq,
    bundleId: row.bundleId,
    setId: row.setId,
    host: row.host,
    vaultId: row.vaultId,
    archiveId: row.archiveId,
    archivedAt: row.archivedAt,
    path: row.path,
    type: row.type,
    size: row.size,
    ...(row.offset !== undefined && { offset: row.offset }),
    ...(row.dataBundle !== undefined && { dataBundle: row.dataBundle }),
  })

  test('gives the rows of select, and of selectHits, with no more than where they lie', async () => {
    await storeBundle(catalog, other.set, [entry('/data/elsewhere', { dataBundle: other.bundle.id, offset: 2 ** 40 })])
    for (const selection of [{}, { allVersions: true, directories: true }, { setIds: [january.set.id] }]) {
      const rows = await select(selection)
      expect(await all(catalog.locate(selection))).toEqual(rows.map(located))
      const hits = () => [rows.map(({ bundleNumber, seq }) => ({ bundleNumber, seq }))]
      const found = await all(catalog.selectHits(pages(hits()), selection, () => true))
      expect(await all(catalog.locateHits(pages(hits()), selection, () => true))).toEqual(found.map(located))
    }
  })

  async function* pages<T>(of: readonly T[]): AsyncGenerator<T> {
    yield* of
  }
})
