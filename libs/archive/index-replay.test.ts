/**
 * Writes of the index that come late, twice, or in another order than things happened: no version numbers keep them in order, and none
 * are needed. What an id says never changes, and the catalog judges every hit.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { rawFromText } from '#libs/os/raw.js'
import { openSearchIndex } from '#libs/search/open-index.js'
import { parseQuery } from '#libs/search/query.js'
import type { SearchIndex } from '#libs/search/search-index.js'
import { describeWithServer } from '../../test/tools.js'
import { findFiles } from './find.js'
import { indexBundle } from './index-bundle.js'
import { rebuildIndex } from './rebuild-index.js'
import { all, openStory, type ScratchStory } from './scratch-story.js'

describe('in Postgres', () => lateWrites(() => undefined))
describeWithServer('FIRN_TEST_ELASTICSEARCH_URL', 'in Elasticsearch', (server) => {
  lateWrites(() => `${server.replace(/\/$/, '')}/t${randomBytes(6).toString('hex')}`)
})

function lateWrites(urlOf: () => string | undefined): void {
  let at: ScratchStory
  let index: SearchIndex
  let parts: ScratchStory['parts']
  let older: bigint
  let newer: bigint

  beforeAll(async () => {
    at = await openStory()
    index = await openSearchIndex(urlOf() ?? at.databaseUrl)
    parts = Object.assign(Object.create(at.parts), { index })
    const root = at.tree('versions', { 'letter.txt': 'first', 'picture.jpg': 'as it is' })
    const first = await at.archive(at.request([root]))
    writeFileSync(at.path('versions', 'letter.txt'), 'second and longer')
    const second = await at.archive(at.request([root]))
    older = (await at.bundlesOf(first))[0]!.number
    newer = (await at.bundlesOf(second))[0]!.number
  })
  afterAll(async () => {
    await index.clear()
    await index.close()
    await at[Symbol.asyncDispose]()
  })

  /** As a job would write it that read the catalog at any time before. */
  async function write(number: bigint): Promise<void> {
    const bundle = (await all(at.catalog.storedBundles(at.vault.id))).find((one) => one.number === number)!
    const set = (await at.catalog.set(bundle.setId))!
    await index.putSet({ id: set.id, description: set.description, tags: set.tags })
    await index.addBundle({ number, setId: bundle.setId, files: await at.catalog.indexableFiles(number) })
  }

  const found = async (query: string, allVersions = false) =>
    (await all(findFiles(parts, { query, selection: { allVersions } }))).map((row) => row.bundleNumber)
  const raw = async (query: string) => (await all(index.search(parseQuery(query)))).map((hit) => hit.bundleNumber)

  test('an older version that is written after the newer one, and again, never takes its place', async () => {
    for (const order of [
      [newer, older],
      [older, newer, older],
      [older, older],
    ]) {
      await index.clear()
      for (const number of [newer, ...order]) await write(number)
      expect(await found('letter')).toEqual([newer])
      expect((await found('letter', true)).sort()).toEqual([older, newer].sort())
      expect(await found('picture')).toEqual([older])
    }
  })

  test('what a job writes of a bundle that the catalog does not have, is found by nobody, and gone after a reindex', async () => {
    await write(older)
    await write(newer)
    const ghost = { number: newer + 1_000n, setId: 'gone', files: [{ seq: 0, path: rawFromText('/versions/letter.txt') }] }
    await index.addBundle(ghost)
    await index.removeBundles([ghost.number])
    expect(await raw('letter')).not.toContain(ghost.number)
    await index.addBundle(ghost) // a request of before, that arrives now
    expect(await raw('letter')).toContain(ghost.number)
    expect(await found('letter', true)).not.toContain(ghost.number)
    await indexBundle(parts, '00000000-0000-4000-8000-000000000000') // a job for it does nothing
    await rebuildIndex(parts)
    expect(await raw('letter')).not.toContain(ghost.number)
    expect(await found('letter')).toEqual([newer])
  })

  test('what another catalog wrote under a number that was given again, is found by nobody, and gone when that bundle is indexed', async () => {
    await index.addBundle({
      number: older,
      setId: 'gone',
      files: [0, 1, 2].map((seq) => ({ seq, path: rawFromText(`/a/ghost-${seq}`) })),
    })
    expect(await raw('ghost')).toEqual([older, older, older])
    expect(await found('ghost')).toEqual([])
    await write(older)
    expect(await raw('ghost')).toEqual([])
    expect(await found('picture')).toEqual([older])
  })
}
