/** Real servers, installed where they are missing, on places of their own below one directory that goes with them. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { elasticsearch, elasticsearch8 } from './elasticsearch.js'
import { localstack } from './localstack.js'
import { moto } from './moto.js'
import { opentelemetry } from './opentelemetry.js'
import { postgres } from './postgres.js'
import { redis } from './redis.js'
import { installPackages, type Server, type Started, serversDirectory } from './server.js'
import { versitygw } from './versitygw.js'

export const SERVERS: readonly Server[] = [
  ...[postgres, redis, elasticsearch, elasticsearch8, versitygw, localstack, moto, opentelemetry],
]

export interface StartedServers {
  /** What the suites read to find them. */
  readonly env: Readonly<Record<string, string>>
  /** Stops those that were started here; nothing of them is left running. */
  stop(): Promise<void>
}

/** A server whose variable is set already is there, and taken as it is. `tools` are packages of Debian's that are wanted beside them. */
export async function startServers(servers: readonly Server[], tools: readonly string[] = []): Promise<StartedServers> {
  installPackages([...tools, ...servers.flatMap(({ packages }) => packages)])
  const scratch = mkdtempSync(join(tmpdir(), 'firn-srv-'))
  chmodSync(scratch, 0o711) // some servers have users of their own, who must get to their place
  const started: Started[] = []
  const env: Record<string, string> = {}
  const stop = async () => {
    for (const server of started.reverse()) await server.stop().catch((error) => console.error(String(error)))
    rmSync(scratch, { recursive: true, force: true })
  }
  const missing: Server[] = []
  for (const server of servers) {
    const there = process.env[server.variable]
    if (there) {
      process.stderr.write(`${server.name} is there already\n`)
      env[server.variable] = there
    } else missing.push(server)
  }
  try {
    const places = new Map<Server, readonly [kept: string, own: string]>()
    for (const server of missing) {
      const [kept, own] = [join(serversDirectory(), server.name), join(scratch, server.name)]
      mkdirSync(kept, { recursive: true })
      mkdirSync(own)
      process.stderr.write(`installing ${server.name}\n`)
      await server.install(kept)
      places.set(server, [kept, own])
    }
    // Side by side: most of a start is waiting.
    const starts = [...places].map(async ([server, [kept, own]]) => {
      process.stderr.write(`starting ${server.name}\n`)
      const begun = await server.start(kept, own)
      started.push(begun)
      env[server.variable] = begun.url
    })
    const failed = (await Promise.allSettled(starts)).find((start) => start.status === 'rejected')
    if (failed) throw failed.reason
  } catch (error) {
    await stop()
    throw error
  }
  return { env, stop }
}
