import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { FirnError } from '#libs/errors/errors.js'
import { archiveSet } from './archive-set.js'
import { all, isAccounted, openStory, type ScratchStory, smallFiles } from './scratch-story.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory()
  await at.claim()
})
afterAll(async () => at[Symbol.asyncDispose]())

const interruptedHere = async () => (await at.catalog.interruptedSets('alpha', at.parts.isGone)).map(({ id }) => id)

test('trouble with the catalog ends the crawl, too, and leaves the set free for the next run', async () => {
  const root = at.tree('trouble', smallFiles(300))
  const set = await at.catalog.createSet(at.request([root], { filesPerBundle: 5 }), at.parts.owner)
  let planned = 0
  const catalog = {
    ...at.catalog,
    pendingBundles: async (id: string) => {
      if (planned > 2) throw new FirnError('database', 'no answer')
      return at.catalog.pendingBundles(id)
    },
  }
  await expect(archiveSet({ ...at.parts, catalog }, set, [], { onPlanned: () => planned++ })).rejects.toMatchObject({
    code: 'database',
  })
  const then = planned
  expect(await interruptedHere()).toEqual([set.id])
  const next = await at.archive(at.request([root], { filesPerBundle: 5 }))
  expect(planned).toBe(then)
  expect(next.counts).toMatchObject({ found: 300, unchanged: 300 })
  expect(await at.catalog.set(set.id)).toMatchObject({ state: 'archived', counts: { found: 300, archived: 300 } })
})

test('with --detach it returns when everything is planned, and workers elsewhere end the set', async () => {
  const root = at.tree('detached', smallFiles(20))
  const set = await at.archive(at.request([root], { filesPerBundle: 5 }), { detach: true, workers: 0 })
  expect(set).toMatchObject({ state: 'archiving', counts: { plannedFiles: 20, archived: 0 } })
  // What is in a plan that nobody carries out is not held: another set takes it.
  const second = await at.archive({ ...at.request([root]), description: 'another' })
  expect(second.counts).toMatchObject({ found: 20, archived: 20, unchanged: 0 })
  expect(isAccounted(second)).toBe(true)
  await at.archive(at.request([root], { filesPerBundle: 5 }))
  expect(await at.catalog.set(set.id)).toMatchObject({ state: 'archived', counts: { archived: 20 } })
})

test('an index that refuses is said once and not waited for; whoever searches catches it up', async () => {
  const root = at.tree('index', smallFiles(20))
  const index = { ...at.parts.index, addBundle: () => Promise.reject(new Error('the index is read-only')) }
  const notes: string[] = []
  const { archiveRun } = await import('./archive-run.js')
  const run = archiveRun({ ...at.parts, index }, at.request([root], { filesPerBundle: 5 }), {
    signal: new AbortController().signal,
    workers: 2,
    leaveOut: [],
    detach: false,
    onNote: (text) => notes.push(text),
  })
  expect(await run).toMatchObject({ state: 'archived', counts: { archived: 20 } })
  expect(notes).toEqual([expect.stringContaining('the index is read-only')])
  const { catchUpIndex } = await import('./index-bundle.js')
  expect(await catchUpIndex(at.parts)).toBe(4)
  const { findFiles } = await import('./find.js')
  expect(await all(findFiles(at.parts, { query: 'index file-7', selection: {} }))).toHaveLength(1)
})

test('a vault that takes its time for the last record ends no set that is over: the lease ends with the set', async () => {
  const root = at.tree('slow-record', smallFiles(2))
  at.wrap((vault) => ({
    ...vault,
    async put(key, bytes, options) {
      if (key.endsWith('/set.2.ndjson.gz')) await sleep(16_000) // a lease is renewed every 15 s
      await vault.put(key, bytes, options)
    },
  }))
  try {
    expect(await at.archive(at.request([root]))).toMatchObject({ state: 'archived' })
  } finally {
    at.wrap((vault) => vault)
  }
}, 60_000)
