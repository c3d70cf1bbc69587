/** The story while the queue's Redis forgets and goes away: the catalog is the truth, and everything is archived in the end. */

import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import { describeWithServer } from '../../test/tools.js'
import { openStory, type ScratchStory } from './scratch-story.js'

/** What every process does each 30 s. */
const OFTEN = { reconcileMs: 300 }

describeWithServer('FIRN_TEST_REDIS_URL', 'a run whose queue is a Redis', () => {
  let redis: Awaited<ReturnType<typeof scratchRedis>>
  let story: ScratchStory
  beforeEach(async () => {
    await begin()
  })

  async function begin(settings: { aof?: boolean; lockDurationMs?: number } = {}): Promise<void> {
    redis = await scratchRedis({ aof: settings.aof ?? false })
    story = await openStory({ redisUrl: redis.url, ...settings })
  }
  async function end(): Promise<void> {
    await story[Symbol.asyncDispose]()
    await redis.stop()
  }
  afterEach(end)

  const names = Array.from({ length: 40 }, (_, i) => `file-${i}`)
  const tree = () => story.tree('tree', Object.fromEntries(names.map((name) => [name, name.repeat(100)])))

  test('archives everything though it is emptied while bundles wait and run', async () => {
    const request = story.request([tree()], { filesPerBundle: 2 })
    let stored = 0
    const set = await story.archive(request, {
      ...OFTEN,
      onStored: () => {
        if (++stored === 3 || stored === 9) redis.ask('FLUSHALL')
      },
    })
    expect(set).toMatchObject({ state: 'archived', counts: { archived: 40, bundlesFailed: 0 } })
    expect(await story.select({})).toHaveLength(40)
    expect((await story.check()).filter(({ kind }) => kind !== 'unknown')).toEqual([])
  })

  test('archives everything though it dies in the middle of the crawl and comes back empty; that is said once', async () => {
    const request = story.request([tree()], { filesPerBundle: 2 })
    const notes: string[] = []
    let planned = 0
    let back: Promise<void> | undefined
    const set = await story.archive(request, {
      ...OFTEN,
      onPlanned: () => {
        if (++planned === 3)
          back = redis
            .kill()
            .then(() => new Promise((resolve) => setTimeout(resolve, 1_500)))
            .then(() => redis.start())
      },
      onNote: (text) => notes.push(text),
    })
    await back
    expect(planned).toBe(20)
    expect(set).toMatchObject({ state: 'archived', counts: { archived: 40, bundlesFailed: 0 } })
    expect(await story.select({})).toHaveLength(40)
    expect(notes.filter((text) => /added again by itself/.test(text)).length).toBeLessThan(2)
  })

  const LOCK_MS = 500
  for (const away of ['frozen', 'dead, with its jobs kept', 'dead, with its jobs forgotten'] as const) {
    test(`archives everything, and nothing twice, though it is ${away} for several times as long as a job's lock`, async () => {
      await end()
      await begin({ aof: away === 'dead, with its jobs kept', lockDurationMs: LOCK_MS })
      let uploads = 0
      let back: Promise<unknown> | undefined
      const isBack = openGate()
      async function goAway(): Promise<void> {
        if (away === 'frozen') redis.freeze()
        else await redis.kill()
        await delay(6 * LOCK_MS)
        if (away === 'frozen') redis.thaw()
        else await redis.start()
        // Whoever looks for jobs of dead workers finds these.
        await delay(3 * LOCK_MS)
        isBack.open()
      }
      story.wrap((vault) => ({
        ...vault,
        upload: async (key, options) => {
          const nth = ++uploads
          if (nth === 7) back = goAway()
          // One ends while nobody can be told, one goes on until its job is another's.
          if (nth === 8) await isBack.passed
          return vault.upload(key, options)
        },
      }))
      const set = await story.archive(story.request([tree()], { filesPerBundle: 2 }), OFTEN)
      await back
      expect(set).toMatchObject({ state: 'archived', counts: { found: 40, archived: 40, failed: 0, bundlesFailed: 0 } })
      expect(await story.select({})).toHaveLength(40)
      // Versions of files and bundles, all of them.
      expect(await story.catalog.totals()).toMatchObject({ files: 40, bundles: 20 })
      expect(story.tars()).toHaveLength(20)
      expect(story.leftovers()).toEqual([])
      expect(await story.check()).toEqual([])
    }, 60_000)
  }
})

function openGate(): { passed: Promise<void>; open: () => void } {
  let open = () => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { passed, open }
}
