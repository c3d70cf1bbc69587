/** The commands with Redis as their queue: everything else is as it comes. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ScratchRedis, scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import { type Home, openHome } from '../firn.js'
import { describeWithServer } from '../tools.js'
import { lookAt, makeFiles } from '../tree.js'

describeWithServer('FIRN_TEST_REDIS_URL', 'with Redis as the queue', () => {
  let redis: ScratchRedis
  let at: Home
  beforeAll(async () => {
    redis = await scratchRedis({ settings: { requirepass: 'redis-secret' } })
    at = openHome({ FIRN_QUEUE_URL: `redis://:redis-secret@127.0.0.1:${redis.port}` })
    makeFiles(at.path('tree'), 2_000)
  })
  afterAll(async () => {
    at.dispose()
    await redis.stop()
  })

  test('a tree is archived and comes back, though Redis is emptied, and then dies and forgets everything, in the middle', async () => {
    const running = at.start('archive-files', ['-r', '--json', '--files-per-bundle', '20', '--workers', '1', 'tree'])
    // In the lane of the command.
    while (!/store-bundle\.[^:]+:wait/.test(redis.ask('KEYS', '*'))) await sleep(20)
    redis.ask('FLUSHALL')
    await sleep(500)
    await redis.kill()
    await sleep(1_500)
    await redis.start()
    const ran = await running.ended
    expect(ran.stderr).not.toMatch(/redis-secret/)
    expect(ran.summary).toMatchObject({ files_found: 2_000, files_archived: 2_000, files_failed: 0, exit_code: 0 })
    const back = await at.run('find-and-retrieve', ['--all', '--to', at.path('back')])
    expect(back.code).toBe(0)
    expect(lookAt(at.path('back', at.path('tree')))).toEqual(lookAt(at.path('tree')))
  }, 240_000)

  test('doctor says what it thinks of the Redis', async () => {
    const { stdout, code } = await at.run('firn', ['doctor'])
    expect(stdout).toMatch(/ok {4} {2}queue: 0 bundles waiting; The Redis at 127\.0\.0\.1:\d+ keeps no append-only file/)
    expect(code).toBe(0)
  }, 60_000)

  test('a Redis that is away is exit 75, a wrong password and one that evicts are exit 2, in one sentence without the password', async () => {
    for (const [url, code, says] of [
      ['redis://:wr0ng-pass@127.0.0.1:1', 75, /cannot be reached.*try again later/],
      [`redis://:wr0ng-pass@127.0.0.1:${redis.port}`, 2, /refuses the user or the password/],
      ['redis://:wr0ng-pass@', 2, /queue URL/],
    ] as const) {
      const ran = await at.run('archive-files', ['-r', 'tree'], { FIRN_QUEUE_URL: url })
      expect(ran.stderr).toMatch(says)
      expect(ran.stderr).not.toMatch(/wr0ng/)
      expect(ran.code).toBe(code)
    }
    redis.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
    const ran = await at.run('archive-files', ['-r', 'tree'])
    expect(ran.stderr).toMatch(/maxmemory-policy allkeys-lru/)
    expect(ran.code).toBe(2)
  }, 120_000)
})
