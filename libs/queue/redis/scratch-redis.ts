/** For suites: a real Redis of one's own, with the settings that a test needs; it can be killed, frozen, restarted and emptied. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../../../test/free-port.js'

export interface ScratchRedisOptions {
  /** Lines of redis.conf: `{ 'maxmemory-policy': 'allkeys-lru' }`. */
  readonly settings?: Readonly<Record<string, string>>
  /** It speaks TLS alone, with a certificate of its own for localhost; clients need none. */
  readonly tls?: boolean
  /** Keeps its data by an append-only file. */
  readonly aof?: boolean
  /** It is a sentinel that watches the master `firn` at this port. */
  readonly sentinelOf?: number
}

export interface ScratchRedis {
  readonly port: number
  /** `redis://127.0.0.1:port`, or `rediss://localhost:port?ca=...`. */
  readonly url: string
  readonly directory: string
  readonly ca: string
  /** Asks it by redis-cli. */
  ask(...command: string[]): string
  /** Kills it, as a crash does. */
  kill(): Promise<void>
  /** Starts it again on the same port: without an append-only file it has forgotten everything. */
  start(): Promise<void>
  /** It keeps its connections and says nothing, until `thaw`. */
  freeze(): void
  thaw(): void
  stop(): Promise<void>
}

export async function scratchRedis(options: ScratchRedisOptions = {}): Promise<ScratchRedis> {
  const directory = mkdtempSync(join(tmpdir(), 'firn-redis-'))
  const port = await freePort()
  const ca = join(directory, 'cert.pem')
  if (options.tls) makeCertificate(directory)
  const settings: Record<string, string> = {
    bind: '127.0.0.1',
    dir: directory,
    save: '""',
    appendonly: options.aof ? 'yes' : 'no',
    ...(options.tls
      ? {
          port: '0',
          'tls-port': String(port),
          'tls-cert-file': ca,
          'tls-key-file': join(directory, 'key.pem'),
          'tls-ca-cert-file': ca,
          'tls-auth-clients': 'no',
        }
      : { port: String(port) }),
    ...options.settings,
  }
  const args = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, ...(value === '""' ? [''] : value.split(' '))])
  const sentinel = options.sentinelOf === undefined ? [] : [makeSentinelFile(directory, port, options.sentinelOf), '--sentinel']
  let server: ChildProcess | undefined

  const cli = options.tls ? ['-h', 'localhost', '--tls', '--cacert', ca] : ['-h', '127.0.0.1']
  const password = options.settings?.['requirepass']
  const ask = (...command: string[]): string =>
    execFileSync(
      'redis-cli',
      [...cli, '-p', String(port), ...(password ? ['--no-auth-warning', '-a', password] : []), ...command],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    ).trimEnd()

  const self: ScratchRedis = {
    port,
    url: options.tls ? `rediss://localhost:${port}?ca=${ca}` : `redis://127.0.0.1:${port}`,
    directory,
    ca,
    ask,
    async start() {
      const child = spawn('redis-server', sentinel.length > 0 ? sentinel : args, { stdio: 'ignore', cwd: directory })
      server = child
      for (;;) {
        try {
          if (ask('PING') === 'PONG') return
        } catch {
          // not yet
        }
        if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`)
        await delay(20)
      }
    },
    async kill() {
      await ended(server, 'SIGKILL')
    },
    freeze: () => void server?.kill('SIGSTOP'),
    thaw: () => void server?.kill('SIGCONT'),
    async stop() {
      await ended(server, 'SIGKILL')
      rmSync(directory, { recursive: true, force: true })
    },
  }
  await self.start()
  return self
}

async function ended(server: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
  const exit = new Promise((resolve) => server.once('exit', resolve))
  server.kill(signal)
  await exit
}

function makeCertificate(directory: string): void {
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const files = ['-keyout', join(directory, 'key.pem'), '-out', join(directory, 'cert.pem')]
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, ...files], {
    stdio: 'ignore',
  })
}

function makeSentinelFile(directory: string, port: number, master: number): string {
  const path = join(directory, 'sentinel.conf')
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${directory}`,
    `sentinel monitor firn 127.0.0.1 ${master} 1`,
    'sentinel down-after-milliseconds firn 500',
    'sentinel failover-timeout firn 3000',
  ]
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}

/** A way to a Redis that can be led to another one: what a name or a virtual address is in a failover. */
export async function scratchWay(target: number): Promise<{ port: number; leadTo(port: number): void; close(): Promise<void> }> {
  let to = target
  const sockets = new Set<Socket>()
  const server: Server = createServer((from) => {
    const other = tcpConnect(to, '127.0.0.1')
    for (const [one, two] of [
      [from, other],
      [other, from],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        sockets.delete(one)
        two.destroy()
      })
      one.pipe(two)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    leadTo(port) {
      to = port
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
