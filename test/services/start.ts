/** Real servers, installed where they are missing, on places of their own below one directory that goes with them. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { elasticsearch, elasticsearch8 } from './elasticsearch.js'
import { localstack } from './localstack.js'
import { moto } from './moto.js'
import { postgres } from './postgres.js'
import { redis } from './redis.js'
import { installPackages, type Server, type Started, serversDirectory } from './server.js'
import { versitygw } from './versitygw.js'

export const SERVERS: readonly Server[] = [postgres, redis, elasticsearch, elasticsearch8, versitygw, localstack, moto]

/** `tools` are packages of Debian's that are wanted beside them. */
export async function startServers(servers: readonly Server[], tools: readonly string[] = []): Promise<Started> {
  installPackages([...tools, ...servers.flatMap(({ packages }) => packages)])
  const scratch = mkdtempSync(join(tmpdir(), 'firn-srv-'))
  chmodSync(scratch, 0o711) // some servers have users of their own, who must get to their place
  const started: Started[] = []
  const stop = async () => {
    for (const server of started.reverse()) await server.stop().catch((error) => console.error(String(error)))
    rmSync(scratch, { recursive: true, force: true })
  }
  try {
    for (const server of servers) {
      const kept = join(serversDirectory(), server.name)
      const own = join(scratch, server.name)
      mkdirSync(kept, { recursive: true })
      mkdirSync(own)
      process.stderr.write(`starting ${server.name}\n`)
      await server.install(kept)
      started.push(await server.start(kept, own))
    }
  } catch (error) {
    await stop()
    throw error
  }
  return { env: Object.assign({}, ...started.map(({ env }) => env)) as Record<string, string>, stop }
}
