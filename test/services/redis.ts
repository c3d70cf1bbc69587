/** Debian's Redis. Suites that need other settings, or kill it, start more of their own. */
import { scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import type { Server } from './server.js'

export const redis: Server = {
  name: 'redis',
  variable: 'FIRN_TEST_REDIS_URL',
  packages: ['redis-server', 'openssl'],
  install() {},
  async start() {
    const server = await scratchRedis()
    return { url: server.url, stop: () => server.stop() }
  },
}
