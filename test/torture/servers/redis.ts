/** The queue's Redis is emptied, restarted with nothing kept, full, and away for longer than a lock: the catalog knows what is to be done. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type ScratchRedis, type ScratchRedisOptions, scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import type { Case } from '../case.js'
import { withCrew } from '../crew.js'
import { inTheMiddle } from './in-the-middle.js'

/** Longer than a job is its worker's without a word, and than a lease lasts: both 60 s. */
const AWAY_MS = 65_000

const FULL_MS = 10_000

function redisCase(what: string, strike: (redis: ScratchRedis) => Promise<void>, options: ScratchRedisOptions = {}): Case {
  const name = `servers/redis-${what}`
  return {
    name,
    waits: true,
    needs: ['redis'],
    async run(context) {
      const redis = await scratchRedis(options)
      try {
        await withCrew(context, (crew) => inTheMiddle(crew, name, { strike: () => strike(redis) }), { queueUrl: redis.url })
      } finally {
        await redis.stop()
      }
    },
  }
}

export const REDIS: readonly Case[] = [
  redisCase('emptied', async (redis) => void redis.ask('FLUSHALL')),
  redisCase('restarted', async (redis) => {
    await redis.kill()
    await redis.start()
  }),
  redisCase('away', async (redis) => {
    await redis.kill()
    await sleep(AWAY_MS)
    await redis.start()
  }),
  redisCase('full', async (redis) => {
    redis.ask('CONFIG', 'SET', 'maxmemory', '1')
    await sleep(FULL_MS)
    redis.ask('CONFIG', 'SET', 'maxmemory', '0')
  }),
]
