/** Runs of one tree at once: each file is archived once, and none is called unchanged that is not stored. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { SetRow } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import { isAccounted, openStory, type ScratchStory, smallFiles } from './scratch-story.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory()
})
afterAll(async () => at[Symbol.asyncDispose]())

const request = (root: string, description: string) => at.request([root], { filesPerBundle: 10 }, { description })
const total = (sets: readonly SetRow[], of: keyof SetRow['counts']) => sets.reduce((sum, { counts }) => sum + counts[of], 0)

test('runs that begin at once take turns at crawling, and archive each file once', async () => {
  const root = at.tree('at-once', smallFiles(200))
  const notes: string[] = []
  const sets = await Promise.all(
    ['a', 'b', 'c'].map((name) => at.archive(request(root, name), { onNote: (text) => notes.push(text) })),
  )
  for (const set of sets) {
    expect(set).toMatchObject({ state: 'archived', counts: { found: 200, waiting: 0, failed: 0 } })
    expect(isAccounted(set)).toBe(true)
  }
  expect(total(sets, 'archived')).toBe(200)
  expect(notes.join()).toMatch(/its roots overlap with these/)
  expect(await at.select({ setIds: sets.map(({ id }) => id), allVersions: true })).toHaveLength(200)
}, 120_000)

test('crawls of other trees do not wait', async () => {
  const roots = ['one', 'two'].map((name) => at.tree(name, smallFiles(50)))
  const notes: string[] = []
  await Promise.all(roots.map((root) => at.archive(request(root, root), { onNote: (text) => notes.push(text) })))
  expect(notes).toEqual([])
}, 120_000)

/** The first run holds still when it has planned everything; returns how it goes on. */
async function held(root: string) {
  let letGo = () => {}
  const gate = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let planned = () => {}
  const allPlanned = new Promise<void>((resolve) => {
    planned = resolve
  })
  at.wrap((vault) => ({
    ...vault,
    async upload(...args) {
      await gate
      return vault.upload(...args)
    },
  }))
  const stopping = new AbortController()
  const why = new Error('^C')
  let bundles = 0
  let set: SetRow | undefined
  const ended = at.archive(request(root, 'first'), {
    signal: stopping.signal,
    onSet: (row) => {
      set = row
    },
    onPlanned: () => {
      if (++bundles === 4) planned()
    },
  })
  ended.catch(() => {})
  await allPlanned
  while ((await at.catalog.set(set?.id as string))?.state === 'crawling') await sleep(10)
  return { set: set as SetRow, ended, letGo, stop: () => stopping.abort(why) }
}

test('what another run is archiving is waited for, and unchanged only when it is stored', async () => {
  const root = at.tree('waits', smallFiles(40))
  const first = await held(root)
  const notes: string[] = []
  let over = false
  const second = at.archive(request(root, 'second'), { onNote: (text) => notes.push(text) }).finally(() => {
    over = true
  })
  while (notes.length === 0) await sleep(20)
  expect(notes).toEqual([`40 of the files are being archived by set ${first.set.id}: waiting for them`])
  await sleep(500)
  expect(over).toBe(false)
  first.letGo()
  expect(await second).toMatchObject({ state: 'archived', counts: { found: 40, unchanged: 40, waiting: 0, archived: 0 } })
  expect(await first.ended).toMatchObject({ counts: { archived: 40 } })
}, 120_000)

test('who does not wait is told how much another run archives; who waits in vain is told to come back', async () => {
  const root = at.tree('patience', smallFiles(40))
  const first = await held(root)
  const detached = await at.archive(request(root, 'detached'), { workers: 0, detach: true })
  expect(detached.counts).toMatchObject({ found: 40, waiting: 40, unchanged: 0, archived: 0 })
  const second = at.archive(request(root, 'second'), { awaitPatienceMs: 300 })
  await expect(second).rejects.toMatchObject({ code: 'try-again', message: expect.stringContaining(first.set.id) })
  first.letGo()
  expect(await first.ended).toMatchObject({ counts: { archived: 40 } })
  expect((await at.archive(request(root, 'third'))).counts).toMatchObject({ found: 40, unchanged: 40, waiting: 0 })
}, 120_000)

test('what belongs to a run that is stopped meanwhile is taken over', async () => {
  const root = at.tree('stopped', smallFiles(40))
  const first = await held(root)
  const notes: string[] = []
  const second = at.archive(request(root, 'second'), { onNote: (text) => notes.push(text) })
  while (notes.length === 0) await sleep(20)
  first.stop()
  first.letGo()
  await expect(first.ended).rejects.toThrow('^C')
  expect(await second).toMatchObject({ state: 'archived', counts: { found: 40, archived: 40, unchanged: 0, waiting: 0 } })
}, 120_000)

test('what belongs to a set that is cancelled is taken over', async () => {
  const root = at.tree('cancelled', smallFiles(40))
  const first = await held(root)
  const notes: string[] = []
  const second = at.archive(request(root, 'second'), { onNote: (text) => notes.push(text) })
  while (notes.length === 0) await sleep(20)
  await at.catalog.cancelSet(first.set.id, 'a mistake')
  first.letGo()
  expect(await second).toMatchObject({ state: 'archived', counts: { found: 40, archived: 40, unchanged: 0, waiting: 0 } })
  expect(await first.ended).toMatchObject({ state: 'cancelled' })
}, 120_000)

test('what fails there is taken over', async () => {
  const root = at.tree('fails', smallFiles(40))
  const first = await held(root)
  const notes: string[] = []
  const second = at.archive(request(root, 'second'), { onNote: (text) => notes.push(text) })
  while (notes.length === 0) await sleep(20)
  let refused = 0
  at.wrap((vault) => ({
    ...vault,
    upload: (...args) => (refused++ < 4 * 3 ? Promise.reject(new FirnError('failed', 'no')) : vault.upload(...args)),
  }))
  first.letGo()
  await first.ended
  expect(await second).toMatchObject({ counts: { found: 40, waiting: 0, failed: 0 } })
  expect(await at.select({ paths: [root as never] }).then((rows) => rows.filter(({ type }) => type === 'file'))).toHaveLength(40)
}, 120_000)
