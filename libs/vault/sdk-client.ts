/** What every client of Amazon's SDK is made with: no retries of its own, patience of ours, and no warnings to users. */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { NodeHttpHandler } from '@smithy/node-http-handler'

const CONNECT_MS = 10_000
/** More than all parts and look-ups that are ever in flight together. */
const CONNECTIONS = 256

const silent = () => {}
export const silentLogger = { trace: silent, debug: silent, info: silent, warn: silent, error: silent }

/** `stallMs`: silence on a connection after which the request is given up and tried again. */
export function requestHandler(stallMs: number): NodeHttpHandler {
  const agent = { keepAlive: true, maxSockets: CONNECTIONS, scheduling: 'lifo' as const }
  return new NodeHttpHandler({
    connectionTimeout: CONNECT_MS,
    socketTimeout: stallMs,
    httpAgent: new HttpAgent(agent),
    httpsAgent: new HttpsAgent(agent),
    logger: silentLogger,
  })
}

/** The part of a client's middleware stack that is needed here. */
interface Client {
  readonly middlewareStack: {
    add(
      middleware: <Input extends object, Output extends object>(
        next: (args: Input) => Promise<Output>,
      ) => (args: Input) => Promise<Output>,
      options: { step: 'finalizeRequest'; priority: 'high'; name: string; override: true },
    ): void
  }
}

/**
 * Runs `make`, which creates a client. The SDK's own retries make way altogether: a request repeated in silence may be paid twice, they
 * share a small budget for all requests, and even with one attempt they would wrap errors of the network so that their codes are lost.
 * Nor does the SDK warn on stderr that later versions of it will want a newer Node: that is for whoever packages Firn.
 */
export function makeClient<C extends Client>(make: () => C): C {
  const client = withoutNodeWarning(make)
  client.middlewareStack.add((next) => (args) => next(args), {
    name: 'retryMiddleware',
    step: 'finalizeRequest',
    priority: 'high',
    override: true,
  })
  return client
}

function withoutNodeWarning<T>(make: () => T): T {
  const { emitWarning } = process
  const filtered = (warning: string | Error, ...rest: unknown[]): void => {
    if (String(warning).includes('NodeVersionSupportWarning')) return
    Reflect.apply(emitWarning, process, [warning, ...rest])
  }
  process.emitWarning = filtered as typeof process.emitWarning
  try {
    return make()
  } finally {
    process.emitWarning = emitWarning
  }
}
