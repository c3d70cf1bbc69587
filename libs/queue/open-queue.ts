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

export type QueueOpener = (url: string, deps: QueueDeps) => Promise<JobQueue>

const postgres = async (): Promise<QueueOpener> => {
  const { openPostgresQueue } = await import('./postgres/postgres-queue.js')
  return (url, deps) => openPostgresQueue({ url, ...deps })
}

const redis = async (): Promise<QueueOpener> => {
  const { openRedisQueue } = await import('./redis/redis-queue.js')
  return (url, deps) => openRedisQueue({ url, ...deps })
}

const SCHEMES: Record<string, () => Promise<QueueOpener>> = {
  postgres,
  postgresql: postgres,
  redis,
  rediss: redis,
  'redis+sentinel': redis,
  'rediss+sentinel': redis,
}

export const openQueue: QueueOpener = async (url, deps) => (await loadQueue(url))(url, deps)

/** The first half of it, which may be done before the URL that a bare `postgres:` stands for is known. */
export async function loadQueue(url: string): Promise<QueueOpener> {
  const scheme = /^([a-z][a-z0-9+.-]*):/.exec(url)?.[1]
  const load = scheme !== undefined && Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined
  if (load) return load()
  // The URL itself may hold a password: only its scheme is said.
  const said = scheme === undefined ? 'The queue URL has no scheme' : `"${scheme}:" is no kind of queue that Firn knows`
  throw new FirnError(
    'usage',
    `${said}: choose one of ${Object.keys(SCHEMES)
      .map((one) => `${one}://...`)
      .join(', ')}.`,
  )
}
