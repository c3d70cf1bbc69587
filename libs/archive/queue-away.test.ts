/** The story while the queue's Redis forgets and goes away: the catalog is the truth, and everything is archived in the end. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import { describeWithServer } from '../../test/tools.js'
import { reconcile } from './reconcile.js'
import { openStory, type ScratchStory } from './scratch-story.js'

describeWithServer('FIRN_TEST_REDIS_URL', 'a run whose queue is a Redis', () => {
  let redis: Awaited<ReturnType<typeof scratchRedis>>
  let story: ScratchStory
  let reconciling: NodeJS.Timeout
  beforeEach(async () => {
    redis = await scratchRedis()
    story = await openStory({ queueUrl: redis.url })
    // What every process does each 30 s.
    reconciling = setInterval(() => void reconcile(story.parts, 0).catch(() => {}), 300)
  })
  afterEach(async () => {
    clearInterval(reconciling)
    await story[Symbol.asyncDispose]()
    await redis.stop()
  })

  const names = Array.from({ length: 40 }, (_, i) => `file-${i}`)
  const tree = () => story.tree('tree', Object.fromEntries(names.map((name) => [name, name.repeat(100)])))

  test('archives everything though it is emptied while bundles wait and run', async () => {
    const request = story.request([tree()], { filesPerBundle: 2 })
    let stored = 0
    const set = await story.archive(request, {
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
})
