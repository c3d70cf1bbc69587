/**
 * The HTTP server of the emulator: one port for every service, as several hosts of a cloud behind one address.
 *
 * A request goes through the same stations whatever service it is for:
 *   1. the first service that `claims` it (Glacier: `/<account>/vaults/...` with `x-amz-glacier-version`; S3 takes the rest)
 *      names its operation and target (`route`);
 *   2. a fault script for that operation may end it here;
 *   3. its signature is verified, for the service's name;
 *   4. the operation runs (`run`), and reads the payload, which is verified while it is read;
 *   5. faults that spoil an answer are played; it is counted.
 * So a new service is one more `Service` in the list that `cloud.ts` gives: signatures, chunked bodies, clock, faults, counters and the
 * slow line are here already. It throws `Refusal`, writes it in its own form (`refuse`), and records paid acts in the book.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Clock } from './clock.js'
import { CONTROL_PLACE, type Control } from './control.js'
import type { FaultKind, FaultPlayer } from './faults.js'
import type { Link } from './link.js'
import { openPayload } from './payload.js'
import { Refusal } from './refusal.js'
import type { RequestBook } from './requests.js'
import type { Answer, Call, Service, Streamed } from './service.js'
import { type Credentials, expiredToken, verifySignature } from './signature.js'

export interface World {
  readonly clock: Clock
  readonly faults: FaultPlayer
  readonly book: RequestBook
  readonly link: Link
  readonly services: readonly Service[]
  /** What is for the emulator itself. */
  readonly control: Control
  find(accessKeyId: string): Credentials | undefined
}

export interface Listening {
  readonly url: string
  stop(): Promise<void>
}

export async function listen(world: World, port: number): Promise<Listening> {
  let ids = 0
  const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 }, (incoming, response) => {
    const id = (++ids).toString(16).toUpperCase().padStart(16, '0')
    serve(world, incoming, response, id).catch((error: unknown) => {
      // The caller went away, or the emulator itself is wrong: that must be seen.
      if (!response.destroyed && !isGone(error)) console.error('emulator:', error)
      response.destroy()
    })
  })
  server.on('connection', (socket: Socket) => {
    if (world.link.broken) socket.resetAndDestroy()
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

const isGone = (error: unknown): boolean =>
  ['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED'].includes(
    (error as NodeJS.ErrnoException).code ?? '',
  )

async function serve(world: World, incoming: IncomingMessage, response: ServerResponse, id: string): Promise<void> {
  const call = callOf(incoming, id)
  if (world.link.broken && !call.path.startsWith(CONTROL_PLACE)) {
    incoming.socket.resetAndDestroy()
    return
  }
  if (await controlled(world, call, incoming, response)) return
  const service = world.services.find((one) => one.claims(call))!
  let operation = 'Unknown'
  let target = ''
  let fault: FaultKind | undefined
  let answer: Answer
  try {
    const route = service.route(call)
    operation = route.operation
    target = route.target
    fault = world.faults.take({ service: service.name, operation, target })
    await world.link.answer()
    if (fault === 'stall' || fault === 'reset') {
      world.book.served({ service: service.name, operation, target, status: 0, fault })
      if (fault === 'reset') incoming.socket.resetAndDestroy()
      else incoming.resume()
      return
    }
    const refused = fault && refusalFor(fault)
    if (refused) throw refused
    const signed = verifySignature(call, {
      service: service.name,
      twiceEncoded: service.signsPathTwiceEncoded,
      find: world.find,
      wall: world.clock.wall(),
      now: world.clock.now(),
    })
    const arriving = world.link.up(incoming.iterator({ destroyOnReturn: false }))
    const bytes = Number(call.headers['content-length'] ?? 0)
    const body = fault === 'bit-flip-sent' ? spoiled({ bytes, chunks: arriving }, 'bit-flip') : arriving
    answer = await route.run(signed, openPayload(call, signed, body))
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    answer = service.refuse(error, call)
    if (fault === 'error-in-200') answer = { ...answer, status: 200 }
  }
  const lost = fault === 'lost-answer'
  world.book.served({ service: service.name, operation, target, status: lost ? 0 : answer.status, ...(fault && { fault }) })
  if (lost) incoming.socket.resetAndDestroy()
  else await send(world, call, response, answer, fault)
}

async function controlled(world: World, call: Call, incoming: IncomingMessage, response: ServerResponse): Promise<boolean> {
  if (!call.path.startsWith(CONTROL_PLACE)) return false
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  const answer = world.control(call.method, call.path, Buffer.concat(chunks).toString())
  response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body)
  return true
}

function callOf(incoming: IncomingMessage, id: string): Call {
  const [path, query = ''] = split(incoming.url ?? '/', '?')
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(',') : (value ?? '')]),
  )
  const pairs = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const [name, value = ''] = split(pair, '=')
      return [decode(name), decode(value)] as const
    })
  const host = (headers['host'] ?? '').replace(/:\d+$/, '')
  return { id, method: incoming.method ?? 'GET', host, path, query: new Map(pairs), headers }
}

function split(text: string, by: string): [string, string?] {
  const at = text.indexOf(by)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', '%20'))
  } catch {
    return text
  }
}

function refusalFor(fault: FaultKind): Refusal | undefined {
  switch (fault) {
    case 'slow-down':
      return new Refusal(503, 'SlowDown', 'Please reduce your request rate.')
    case 'internal-error':
    case 'error-in-200':
      return new Refusal(500, 'InternalError', 'We encountered an internal error. Please try again.')
    case 'expired-token':
      return expiredToken()
    case 'access-denied':
      return new Refusal(403, 'AccessDenied', 'Access Denied')
    case 'conflict':
      return new Refusal(
        409,
        'ConditionalRequestConflict',
        'The conditional request cannot succeed due to a conflicting operation against this resource.',
      )
    case 'taken':
      return new Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold')
    case 'no-expedited':
      return new Refusal(
        503,
        'GlacierExpeditedRetrievalNotAvailable',
        'Glacier expedited retrievals are currently not available, please try again later',
      )
    case 'stall':
    case 'reset':
    case 'lost-answer':
    case 'truncate':
    case 'bit-flip':
    case 'bit-flip-sent':
    case 'other-checksum':
    case 'expire-copy':
      return undefined
    default:
      return fault satisfies never
  }
}

async function send(
  world: World,
  call: Call,
  response: ServerResponse,
  answer: Answer,
  fault: FaultKind | undefined,
): Promise<void> {
  response.setHeader('date', world.clock.wall().toUTCString())
  response.setHeader('x-amz-request-id', call.id)
  for (const [name, value] of Object.entries(answer.headers ?? {})) {
    const wrong = fault === 'other-checksum' && /^(x-amz-checksum-(?!type)|etag$)/i.test(name)
    response.setHeader(name, wrong ? otherChecksum(value) : value)
  }
  response.statusCode = answer.status
  const { body } = answer
  const bodiless = call.method === 'HEAD' || answer.status === 204 || answer.status === 304
  if (bodiless || body === undefined) {
    if (!bodiless) response.setHeader('content-length', 0)
    response.end()
    return
  }
  if (typeof body === 'string' && !response.hasHeader('content-type')) response.setHeader('content-type', 'application/xml')
  const streamed = typeof body === 'string' ? ofText(body) : body
  response.setHeader('content-length', streamed.bytes)
  await pipeline(Readable.from(world.link.down(spoiled(streamed, fault)), { objectMode: false }), response, {
    end: fault !== 'truncate' && fault !== 'expire-copy',
  })
  if (fault === 'truncate' || fault === 'expire-copy') {
    if (fault === 'expire-copy') answer.expire?.()
    response.destroy()
  }
}

/** As long, and of the same letters. */
const otherChecksum = (value: string): string => value.replace(/[0-9a-f]/i, (first) => (first === '0' ? '1' : '0'))

function ofText(text: string): Streamed {
  const bytes = Buffer.from(text)
  return {
    bytes: bytes.length,
    chunks: (async function* () {
      yield bytes
    })(),
  }
}

/** The body as a fault makes it: cut in its middle, or with one bit wrong there. */
async function* spoiled({ bytes, chunks }: Streamed, fault: FaultKind | undefined): AsyncIterable<Buffer> {
  const middle = Math.floor(bytes / 2)
  let at = 0
  for await (const chunk of chunks) {
    const here = at <= middle && middle < at + chunk.length
    at += chunk.length
    if (here && (fault === 'truncate' || fault === 'expire-copy')) {
      yield chunk.subarray(0, middle - (at - chunk.length))
      return
    }
    if (here && fault === 'bit-flip') {
      const wrong = Buffer.from(chunk)
      wrong[middle - (at - chunk.length)]! ^= 1
      yield wrong
    } else yield chunk
  }
}
