/**
 * Connections to one Redis: one through which jobs are added, which fails at once where Redis is away, and two for each worker, which
 * wait for as long as it takes. All of them come back by themselves.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Redis, type RedisOptions } from 'ioredis'
import { FirnError } from '#libs/errors/errors.js'
import type { Teller } from './outage.js'
import type { RedisPlace } from './redis-url.js'

/** Before the first attempt to come back, doubled before each further one, and at most. */
const BACK_FIRST_MS = 250
const BACK_LONGEST_MS = 5_000

const CONNECT_MS = 5_000

/** The whole opening: a server that takes the connection and then says nothing must not hold a command up for ever. */
const OPEN_MS = 8_000

/** A server that owes an answer for so long is taken for gone; without it a network that swallows packets is noticed after minutes. */
const SILENCE_MS = 10_000

/** Longer than a worker's connection waits for a job at a time, which is 10 s. */
const BLOCKING_SILENCE_MS = 15_000

/** How long a connection that ends waits for the server's side of it. */
const GOODBYE_MS = 1_000

/** What a server says that cannot write at the moment: it was made a replica, is full, or lost its disk. It passes, or a person ends it. */
const CANNOT_WRITE = /(^|[\s-])(READONLY|OOM|MISCONF|NOREPLICAS|MASTERDOWN)\b/

export interface Connections {
  /** Ready; where Redis is away, what it is asked fails at once. */
  readonly producer: Redis
  /** The connection that a worker is made of; BullMQ makes a second one from it, to wait for jobs on. */
  forWorker(): WorkerConnections
  /** From now on nobody is told by BullMQ that the server evicts: it would, on stderr, for each connection. */
  allowEviction(): void
  /** Ends the producer's. */
  close(): Promise<void>
}

export interface WorkerConnections {
  readonly main: Redis
  isReady(): boolean
  /** Ends both, whatever state they are in; whatever still waits for an answer fails. */
  cut(): void
}

type Settings = RedisOptions & { replyMapping: 'legacy' }

/** Throws an error that says in one sentence why the server cannot be had. */
export async function connectRedis(place: RedisPlace, teller: Teller): Promise<Connections> {
  const common: Settings = {
    ...place.options,
    connectionName: place.prefix,
    connectTimeout: CONNECT_MS,
    lazyConnect: true,
    disconnectTimeout: GOODBYE_MS,
    disableClientInfo: true,
    // The protocol that BullMQ's scripts were tried with.
    protocol: 2,
    replyMapping: 'legacy',
  }
  let opened = false
  let evictionAllowed = false
  const producer = new Redis({
    ...common,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    socketTimeout: SILENCE_MS,
    // While it is being opened the first failure is the answer.
    retryStrategy: (times) => (opened ? backAfter(times) : null),
    sentinelRetryStrategy: (times) => (opened ? backAfter(times) : null),
    // The caller is told, and a new connection finds the new master.
    reconnectOnError: (error) => CANNOT_WRITE.test(error.message),
  })
  await open(producer, place)
  opened = true
  teller.listenTo(producer)

  return {
    producer,
    forWorker: () => workerConnections(common, teller, evictionAllowed ? hideEviction : () => {}),
    allowEviction() {
      evictionAllowed = true
      hideEviction(producer)
    },
    async close() {
      if (producer.status === 'ready') await Promise.race([producer.quit(), delay(GOODBYE_MS)]).catch(() => {})
      cutOff(producer)
    },
  }
}

async function open(client: Redis, place: RedisPlace): Promise<void> {
  let reason: unknown
  const onError = (error: unknown) => {
    reason ??= error
  }
  client.on('error', onError) // stays: whatever comes after the first error is nobody's
  client.on('sentinelError', onError)
  const enough = new AbortController()
  try {
    const silent = delay(OPEN_MS, undefined, { signal: enough.signal }).then(() => {
      throw new Error(`no answer within ${OPEN_MS / 1000} s`)
    })
    // A database that is not there is only told by an event otherwise, and another one used in its place.
    const ready = client.connect().then(() => client.select(place.options.db ?? 0))
    await Promise.race([ready, silent])
    ready.catch(() => {})
  } catch (error) {
    cutOff(client)
    throw refusal(place, reason ?? error)
  } finally {
    enough.abort()
  }
}

/** What is wrong when a server cannot be had, and whether a later try helps. */
export function refusal({ where, options }: RedisPlace, error: unknown): FirnError {
  const { message = '', code = '' } = error as { message?: string; code?: string }
  const at = `The queue's Redis at ${where}`
  const say = (kind: 'usage' | 'try-again', text: string) => new FirnError(kind, text, { cause: error })
  if (/^(WRONGPASS|NOAUTH)|invalid password/.test(message))
    return say('usage', `${at} refuses the user or the password: look at those in the queue URL.`)
  if (/^NOPERM/.test(message)) return say('usage', `${at} lets the user of the queue URL do too little: grant it all commands.`)
  if (/DB index is out of range/.test(message)) return say('usage', `${at} has no database of that number.`)
  if (/Protocol error|RESP type/.test(message)) return say('usage', `What answers at ${where} is no Redis.`)
  if (/wrong version number|packet length too long|EPROTO/.test(`${message} ${code}`))
    return say('usage', `${at} does not speak TLS: write redis:// instead of rediss://.`)
  if (/CERT|certificate|SELF_SIGNED|VERIFY|ERR_TLS|ERR_SSL/i.test(`${code} ${message}`))
    return say(
      'usage',
      `${at} and this machine do not trust each other's certificates (${message}): see ca=, cert= and key= in the queue URL.`,
    )
  if (message === 'Connection is closed.' || code === 'ECONNRESET')
    return say('try-again', `${at} ends the connection at once: try again later, and look whether it wants TLS (rediss://).`)
  // A Redis without TLS waits in silence for the end of what it takes for a line.
  const doubt = options.tls && /ETIMEDOUT|no answer/.test(message) ? ', and look whether it speaks TLS at all' : ''
  return say('try-again', `${at} cannot be reached: ${message || 'no reason given'}; try again later${doubt}.`)
}

function workerConnections(common: Settings, teller: Teller, prepare: (client: Redis) => void): WorkerConnections {
  const all = new Set<Redis>()
  const main = new Redis({
    ...common,
    maxRetriesPerRequest: null,
    socketTimeout: SILENCE_MS,
    retryStrategy: backAfter,
    sentinelRetryStrategy: backAfter,
    // 2: asked again when it is back. An error would have BullMQ ask again at once, and for ever.
    reconnectOnError(error) {
      if (!CANNOT_WRITE.test(error.message)) return false
      teller.tell(error)
      return 2
    },
  })
  const duplicate = main.duplicate.bind(main)
  main.duplicate = (override) => listed(duplicate({ ...override, lazyConnect: false, socketTimeout: BLOCKING_SILENCE_MS }))
  function listed(client: Redis): Redis {
    prepare(client)
    client.setMaxListeners(0)
    teller.listenTo(client)
    all.add(client)
    return client
  }
  listed(main)
  main.connect().catch(() => {}) // goes on trying; the error was told
  return {
    main,
    isReady: () => [...all].every(({ status }) => status === 'ready'),
    cut: () => all.forEach(cutOff),
  }
}

function hideEviction(client: Redis): void {
  const info = client.info.bind(client) as (...args: unknown[]) => Promise<string>
  const hidden = async (...args: unknown[]) => {
    const text = await info(...args)
    return typeof text === 'string' ? text.replace(/^maxmemory_policy:.*$/m, 'maxmemory_policy:noeviction') : text
  }
  client.info = hidden as typeof client.info
}

/** Ends a connection for good. In the pause before a new attempt `disconnect` alone would leave it in that state, and its commands open. */
function cutOff(client: Redis): void {
  if (client.status === 'end') return
  const pausing = client.status === 'reconnecting'
  client.disconnect()
  if (!pausing) return
  client.connect().catch(() => {})
  client.disconnect()
}

const backAfter = (times: number): number => Math.min(BACK_FIRST_MS * 2 ** (times - 1), BACK_LONGEST_MS) + Math.random() * 100
