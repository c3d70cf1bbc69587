/** What happens while the search index is away, and while it is made anew. A closed port is away; Postgres' index is not. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { FileRow } from '#libs/catalog/catalog.js'
import { rawFromText } from '#libs/os/raw.js'
import { openSearchIndex } from '#libs/search/open-index.js'
import { parseQuery } from '#libs/search/query.js'
import type { SearchIndex } from '#libs/search/search-index.js'
import { type ArchiveRunOptions, archiveRun } from './archive-run.js'
import { caughtUpIndex, type FindRequest, findFiles } from './find.js'
import { rebuildIndex } from './rebuild-index.js'
import { all, openStory, type ScratchStory, smallFiles } from './scratch-story.js'
import { startWorkers } from './work.js'

let at: ScratchStory
let away: SearchIndex
beforeAll(async () => {
  at = await openStory()
  away = await openSearchIndex('http://firn:secret@127.0.0.1:1')
})
afterAll(async () => {
  await away.close()
  await at[Symbol.asyncDispose]()
})

/** The story's parts with another index. */
const withIndex = (index: SearchIndex) => ({ ...at.parts, index })

const keysOf = (rows: readonly FileRow[]) => rows.map((row) => `${row.bundleNumber}/${row.seq}`).sort()

const goneOf = (rows: readonly FileRow[]) => rows.map((row) => `${row.bundleNumber}/${row.seq} ${row.goneAt?.getTime()}`).sort()

const hits = async (index: Pick<SearchIndex, 'search'>, text: string) => (await all(index.search(parseQuery(text)))).length

function run(index: SearchIndex, root: string, more: Partial<ArchiveRunOptions> = {}) {
  const notes: string[] = []
  const ended = archiveRun(withIndex(index), at.request([root], { filesPerBundle: 5 }), {
    signal: new AbortController().signal,
    workers: 2,
    leaveOut: [],
    detach: false,
    onNote: (text) => notes.push(text),
    ...more,
  })
  return ended.then((set) => ({ set, notes }))
}

describe('an index that is away', () => {
  test('is not waited for: what is archived is archived, said once, and searchable when the index is back', async () => {
    const root = at.tree('away', smallFiles(20))
    const { set, notes } = await run(away, root)
    expect(set).toMatchObject({ state: 'archived', counts: { archived: 20 } })
    expect(notes).toEqual([expect.stringMatching(/cannot be searched yet: Elasticsearch at 127.0.0.1:1 cannot be reached/)])
    expect(notes[0]).not.toMatch(/secret/)
    expect((await at.bundlesOf(set)).some(({ indexed }) => indexed)).toBe(false)
    expect(await hits(await caughtUpIndex(at.parts), 'away')).toBe(20)
  })

  test('is not waited for either where others are the workers', async () => {
    const root = at.tree('elsewhere', smallFiles(20))
    const elsewhere = await startWorkers(withIndex(away), { concurrency: 2 })
    try {
      const { set, notes } = await run(away, root, { workers: 0, indexPatienceMs: 50 })
      expect(set).toMatchObject({ state: 'archived', counts: { archived: 20 } })
      expect(notes).toEqual([
        '4 bundles are stored and not searchable yet: workers, or the next run, will add what the search index does not take now',
      ])
    } finally {
      await elsewhere.stop(0)
    }
    expect(await hits(await caughtUpIndex(at.parts), 'elsewhere')).toBe(20)
  })

  test('goes away in the middle of a run, and nothing is lost', async () => {
    const root = at.tree('halfway', smallFiles(40))
    let taken = 0
    const addBundle: SearchIndex['addBundle'] = (bundle, options) => {
      const to = taken++ < 3 ? at.parts.index : away
      return to.addBundle(bundle, options)
    }
    const { set, notes } = await run({ ...at.parts.index, addBundle }, root)
    expect(set).toMatchObject({ state: 'archived', counts: { archived: 40 } })
    expect(notes).toHaveLength(1)
    const indexed = (await at.bundlesOf(set)).filter(({ indexed }) => indexed).length
    expect(indexed).toBe(3)
    expect(await hits(await caughtUpIndex(at.parts), 'halfway')).toBe(40)
  })

  test('is replaced by the catalog in every search, with the same answer, and the reason is told', async () => {
    const index = await caughtUpIndex(at.parts)
    const first = at.tree('versions', { 'a/one.txt': '1', 'a/two.txt': '2', 'b/PhotoOne.jpg': '3' })
    const old = await at.archive(at.request([first], {}, { description: 'spring photo', tags: ['lab one'] }))
    at.tree('versions', { 'a/one.txt': 'one, longer', 'c/three.txt': '3' })
    const newer = await at.archive(at.request([first], {}, { description: 'autumn', tags: ['lab two'] }))
    const then = new Date()
    rmSync(join(first, 'a/two.txt'))
    rmSync(join(first, 'c/three.txt'))
    at.tree('versions', { 'c/three.txt/one': 'a directory now' })
    await at.archive(at.request([first], {}, { description: 'winter', tags: ['lab two'] }))
    const now = new Date(Date.now() + 1_000)
    const queries = [
      'versions',
      'one',
      '"lab one"',
      'one -autumn',
      'photo',
      'photoone',
      '-lab two',
      'spring',
      'autumn',
      'nowhere',
      'lab -b',
    ]
    const selections: FindRequest['selection'][] = [
      {},
      { allVersions: true },
      { setIds: [old.id] },
      { setIds: [newer.id], allVersions: true },
      { paths: [rawFromText(`${first}/a`)] },
      { host: 'nobody' },
      { directories: true },
      { asOf: then },
      { asOf: now },
      { asOf: now, gone: true },
      { asOf: now, allVersions: true },
      { gone: true, allVersions: true },
    ]
    for (const query of queries) {
      for (const selection of selections) {
        const said: string[] = []
        const onIndexAway = (error: Error) => said.push(error.message)
        const found = await all(findFiles({ catalog: at.catalog, index: away, onIndexAway }, { query, selection }))
        const indexed = await all(findFiles({ catalog: at.catalog, index }, { query, selection }))
        expect([query, selection, keysOf(found)]).toEqual([query, selection, keysOf(indexed)])
        expect(goneOf(found)).toEqual(goneOf(indexed))
        expect(said).toEqual([expect.stringMatching(/cannot be reached/)])
      }
    }
  })

  test('is not trusted with a search while it lacks what the catalog holds', async () => {
    const root = at.tree('lagging', smallFiles(5))
    await run(away, root)
    const index = await caughtUpIndex({ catalog: at.catalog, index: { ...at.parts.index, addBundle: away.addBundle } })
    let told = 0
    const found = await all(
      findFiles({ catalog: at.catalog, index, onIndexAway: () => told++ }, { query: 'lagging', selection: {} }),
    )
    expect([found.length, told]).toEqual([5, 1])
    await caughtUpIndex(at.parts)
  })

  test('that goes away between two pages fails the search with exit code 75', async () => {
    const index = {
      async *search(...args: Parameters<SearchIndex['search']>) {
        yield* at.parts.index.search(...args)
        yield* away.search(...args)
      },
    }
    const finding = all(findFiles({ catalog: at.catalog, index }, { query: 'versions', selection: {} }))
    await expect(finding).rejects.toMatchObject({ code: 'search-away' })
  })
})

describe('an index that is made anew', () => {
  test('has everything: what was archived before, and what is archived meanwhile', async () => {
    const before = at.tree('anew', smallFiles(23))
    await at.archive(at.request([before], { filesPerBundle: 5 }, { tags: ['quokka'] }))
    const { index } = at.parts
    const meanwhile = at.tree('meanwhile', smallFiles(12))
    let seen = -1
    const rebuild: SearchIndex['rebuild'] = (fill, options) =>
      index.rebuild(async (next) => {
        await fill(next)
        await at.archive(at.request([meanwhile], { filesPerBundle: 5 }))
        seen = await hits(index, 'meanwhile')
      }, options)
    await rebuildIndex({ catalog: at.catalog, index: { ...index, rebuild } })
    expect(seen).toBe(12)
    expect(await hits(index, 'anew')).toBe(23)
    expect(await hits(index, 'quokka')).toBe(23)
    expect(await hits(index, 'meanwhile')).toBe(12)
    expect(await at.catalog.unindexedBundles(10)).toEqual([])
  })

  test('has what was not indexed, and no longer what the catalog does not know', async () => {
    const { index } = at.parts
    await run(away, at.tree('late', smallFiles(7)))
    await index.addBundle({ number: 999_999n, setId: 'none', files: [{ seq: 0, path: rawFromText('/stale/wombat') }] })
    expect(await hits(index, 'wombat')).toBe(1)
    await rebuildIndex({ catalog: at.catalog, index })
    expect([await hits(index, 'wombat'), await hits(index, 'late')]).toEqual([0, 7])
    expect(await at.catalog.unindexedBundles(10)).toEqual([])
  })
})
