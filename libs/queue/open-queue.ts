/** Chooses a queue by the scheme of its URL, and loads its driver only then. */
import { FirnError } from '#libs/errors/errors.js'
import type { JobQueue } from './queue.js'

export interface QueueDeps {
  /** Told of every error that belongs to no call: lost connections, lost locks. The queue goes on by itself. */
  readonly onError: (error: unknown) => void
  /** Told, when it is opened and later, what its owner should know of the store and what is no error. */
  readonly onNotice?: (text: string) => void
  /** Spans of every job; needs the package bullmq-otel. */
  readonly traced?: boolean
}

type Opener = (url: string, deps: QueueDeps) => Promise<JobQueue>

const openPostgres: Opener = async (url, deps) => {
  const { openPostgresQueue } = await import('./postgres/postgres-queue.js')
  return openPostgresQueue({ url, ...deps })
}

const openRedis: Opener = async (url, deps) => {
  const { openRedisQueue } = await import('./redis/redis-queue.js')
  return openRedisQueue({ url, ...deps })
}

const SCHEMES: Record<string, Opener> = {
  postgres: openPostgres,
  postgresql: openPostgres,
  redis: openRedis,
  rediss: openRedis,
  'redis+sentinel': openRedis,
  'rediss+sentinel': openRedis,
}

export async function openQueue(url: string, deps: QueueDeps): Promise<JobQueue> {
  const scheme = /^([a-z][a-z0-9+.-]*):/.exec(url)?.[1]
  const open = scheme !== undefined && Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined
  if (open) return open(url, deps)
  // The URL itself may hold a password: only its scheme is said.
  const said = scheme === undefined ? 'The queue URL has no scheme' : `"${scheme}:" is no kind of queue that Firn knows`
  throw new FirnError(
    'usage',
    `${said}: choose one of ${Object.keys(SCHEMES)
      .map((one) => `${one}://...`)
      .join(', ')}.`,
  )
}
