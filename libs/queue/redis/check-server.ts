/** Whether a Redis that answers is one that a queue can live in, looked at once when the queue is opened. */
import type { Redis } from 'ioredis'
import { FirnError } from '#libs/errors/errors.js'

/** What BullMQ's scripts want; Valkey and others say which Redis they are like. */
const OLDEST = [6, 2] as const

/** Throws an error of code `usage` where it is not; returns what is not as it should be, in sentences. */
export async function checkServer(client: Redis, where: string, allowEviction: boolean): Promise<string[]> {
  const facts = await infoOf(client, where)
  const [major = 0, minor = 0] = (facts.get('redis_version') ?? '').split('.').map(Number)
  if (facts.has('redis_version') && (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))) {
    throw new FirnError('usage', `The Redis at ${where} is ${facts.get('redis_version')}: the queue needs 6.2 or newer.`)
  }
  if (facts.get('cluster_enabled') === '1') {
    throw new FirnError(
      'usage',
      `The Redis at ${where} is a node of a cluster: the queue needs one server, sentinels, or a proxy that hides the cluster.`,
    )
  }
  const notices: string[] = []
  const policy = facts.get('maxmemory_policy') ?? (await configuredPolicy(client))
  if (policy === undefined) {
    notices.push(`The Redis at ${where} does not say its maxmemory-policy; it must be noeviction, or jobs are thrown away.`)
  } else if (policy !== 'noeviction') {
    const evicts = `The Redis at ${where} throws keys away when its memory is full (maxmemory-policy ${policy})`
    if (!allowEviction) {
      throw new FirnError(
        'usage',
        `${evicts}: set it to noeviction, or add ?allow-eviction=1 to the queue URL to use it all the same.`,
      )
    }
    notices.push(`${evicts}; jobs that are lost so are enqueued again from the catalog.`)
  }
  if (facts.get('aof_enabled') === '0') {
    notices.push(
      `The Redis at ${where} keeps no append-only file: jobs that it forgets in a restart are enqueued again from the catalog, a minute later.`,
    )
  }
  return notices
}

async function infoOf(client: Redis, where: string): Promise<ReadonlyMap<string, string>> {
  let text: string
  try {
    text = await client.info()
  } catch (error) {
    if (!/^NOPERM/.test((error as Error).message)) throw error
    throw new FirnError('usage', `The user of the Redis at ${where} may not call INFO, which the queue needs: grant it.`, {
      cause: error,
    })
  }
  const lines = text.split(/\r?\n/).filter((line) => /^[a-z_0-9]+:/.test(line))
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]))
}

/** For servers whose INFO lacks it. Managed ones forbid CONFIG. */
async function configuredPolicy(client: Redis): Promise<string | undefined> {
  const answer: unknown = await client.config('GET', 'maxmemory-policy').catch(() => undefined)
  return Array.isArray(answer) && typeof answer[1] === 'string' ? answer[1] : undefined
}
