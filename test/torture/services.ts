/**
 * The servers that cases need: one that its variable names is taken (FIRN_TEST_REDIS_URL), otherwise it is started here, and installed
 * first where it is missing. Where that cannot be, its cases are skipped with a line; with FIRN_TEST_SERVICES=1, as in continuous
 * integration, that is a failure.
 */
import { spawnSync } from 'node:child_process'
import { redis } from '../services/redis.js'
import { startServers } from '../services/start.js'
import type { ServerName } from './case.js'

export interface Services {
  /** Why the servers that a case needs are not there; undefined where they are. */
  lacks(needs?: readonly ServerName[]): string | undefined
  stop(): Promise<void>
}

const SERVERS = { redis }

/** A named server alone is not enough: the cases that kill it start others of their own. */
const PROGRAMS: Readonly<Record<ServerName, readonly string[]>> = { redis: ['redis-server', 'redis-cli'] }

export async function startServices(names: ReadonlySet<ServerName>): Promise<Services> {
  const stops: (() => Promise<void>)[] = []
  const missing = new Map<ServerName, string>()
  for (const name of names) {
    try {
      const started = await startServers([SERVERS[name]])
      stops.push(() => started.stop())
      Object.assign(process.env, started.env)
      const lacking = PROGRAMS[name].filter((program) => spawnSync(program, ['--version']).error !== undefined)
      if (lacking.length > 0) missing.set(name, `no ${lacking.join(', ')}`)
    } catch (error) {
      missing.set(name, `no ${name}: ${error instanceof Error ? error.message.split('\n')[0] : error}`)
    }
  }
  return {
    lacks: (needs = []) => needs.map((name) => missing.get(name)).find((reason) => reason !== undefined),
    async stop() {
      for (const stop of stops.reverse()) await stop()
    },
  }
}

export const servicesAreDemanded = (): boolean => process.env['FIRN_TEST_SERVICES'] === '1'
