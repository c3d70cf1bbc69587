/** Debian's Redis. Suites that need other settings, or kill it, start more of their own. */
import { scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import type { Server } from './server.js'

export const redis: Server = {
  name: 'redis',
  packages: ['redis-server', 'openssl'],
  install() {},
  async start() {
    const server = await scratchRedis()
    return { env: { FIRN_TEST_REDIS_URL: server.url }, stop: () => server.stop() }
  },
}
