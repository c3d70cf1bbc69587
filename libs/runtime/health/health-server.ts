/**
 * What orchestrators and monitoring ask a daemon over HTTP: `/healthz` (the process lives), `/readyz` (it can work: 200 or 503, with the
 * reasons), `/metrics` (Prometheus). Nothing else, and nothing that could be changed.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { FirnError } from '#libs/errors/errors.js'
import { shownJson } from '#libs/os/raw.js'
import { reasonOf } from '../home.js'
import type { Readiness } from './readiness.js'

export interface HealthServerOptions {
  /** `9464` on this machine alone, `0.0.0.0:9464` on every address of it; port 0 is any free one. */
  readonly address: string
  readonly readiness: () => Promise<Readiness>
  readonly metrics: () => Promise<{ readonly type: string; readonly text: string }>
}

export interface HealthServer {
  readonly port: number
  close(): Promise<void>
}

export async function openHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy()
      else send(response, 500, 'text/plain', `${error instanceof Error ? error.message : error}\n`)
    })
  })
  const { host, port } = splitAddress(options.address)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new FirnError('usage', `FIRN_HEALTH_PORT ${options.address} cannot be listened on: ${wordsOf(error)}.`, { cause: error }),
      ),
    )
    server.listen({ port, host }, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

async function answer(
  { readiness, metrics }: HealthServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = request.url?.replace(/\?.*$/s, '')
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'text/plain', 'only GET\n')
  if (path === '/healthz') return send(response, 200, 'text/plain', 'ok\n')
  if (path === '/readyz') {
    const { ready, checks } = await readiness()
    return send(response, ready ? 200 : 503, 'application/json', `${shownJson(JSON.stringify({ ready, ...checks }))}\n`)
  }
  if (path === '/metrics') {
    const { type, text } = await metrics()
    return send(response, 200, type, text)
  }
  send(response, 404, 'text/plain', 'there are /healthz, /readyz and /metrics\n')
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(text)
}

/** `[::1]:9464` too. */
function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  const host = colon < 0 ? '127.0.0.1' : address.slice(0, colon).replace(/^\[|\]$/g, '')
  return { host, port: Number(address.slice(colon + 1)) }
}

function wordsOf(error: Error): string {
  return 'code' in error && error.code === 'EADDRINUSE' ? 'another process has it' : reasonOf(error)
}
