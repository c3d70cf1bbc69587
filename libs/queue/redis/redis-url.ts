/**
 * What a queue URL says of a Redis:
 * `redis[s]://[[user]:password@]host[:port][/db]` and `redis[s]+sentinel://[[user]:password@]host[:port],host[:port]/name[/db]`.
 * It may hold passwords: no sentence here repeats a piece of it that could be one.
 */
import { readFileSync } from 'node:fs'
import type { RedisOptions } from 'ioredis'
import { errnoOf, FirnError } from '#libs/errors/errors.js'

export interface RedisPlace {
  /** Where and who; how the connection behaves is `connections.ts`. */
  readonly options: RedisOptions
  /** Every key begins with it. Braces make it the hash tag of a cluster: all keys of the queue lie in one slot. */
  readonly prefix: string
  readonly allowEviction: boolean
  /** For sentences: where it is, and nothing secret. */
  readonly where: string
}

const DEFAULT_PREFIX = '{firn}'
const REDIS_PORT = 6379
const SENTINEL_PORT = 26379

const OPTIONS = ['prefix', 'allow-eviction', 'ca', 'cert', 'key', 'sentinel-user', 'sentinel-password'] as const
type Option = (typeof OPTIONS)[number]

export function redisPlace(url: string): RedisPlace {
  const parts = /^redis(s?)(\+sentinel)?:\/\/(?:([^@/?#]*)@)?([^@/?#]*)((?:\/[^?#]*)?)(?:\?([^#]*))?$/.exec(url)
  if (!parts) throw wrong('is not written as redis://[user:password@]host:port[/db] (in a password / ? # @ are %2F %3F %23 %40)')
  const [, secure, sentinel, who = '', authority = '', path = '', query = ''] = parts
  const given = optionsOf(query)
  const hosts = authority.split(',').map((host) => addressOf(host, sentinel ? SENTINEL_PORT : REDIS_PORT))
  const segments = path.split('/').slice(1).map(decoded)
  const name = sentinel ? segments.shift() : undefined
  const [db = '', ...rest] = segments
  if (rest.length > 0 || !/^\d{0,4}$/.test(db)) throw wrong('has something else than the number of a database behind its host')
  if (sentinel && !name) throw wrong('lacks the name of the master: redis+sentinel://host:port,host:port/name')
  if (!sentinel && hosts.length > 1) throw wrong('names several hosts, which only redis+sentinel:// takes')

  const [first] = hosts as [Address, ...Address[]]
  const tls = secure ? { tls: certificates(given) } : undefined
  if (!secure && (given.has('ca') || given.has('cert') || given.has('key')))
    throw wrong('has a certificate but no TLS: write rediss://')
  const place: RedisOptions = sentinel
    ? {
        sentinels: hosts,
        name: name as string,
        ...(given.has('sentinel-user') && { sentinelUsername: given.get('sentinel-user') as string }),
        ...(given.has('sentinel-password') && { sentinelPassword: given.get('sentinel-password') as string }),
        ...(tls && { sentinelTLS: tls.tls, enableTLSForSentinelMode: true }),
      }
    : first
  return {
    options: { ...place, ...credentials(who), db: Number(db), ...tls },
    prefix: prefixOf(given.get('prefix')),
    allowEviction: truth(given.get('allow-eviction')),
    where: sentinel ? `"${name}" of the sentinels ${hosts.map(said).join(', ')}` : said(first),
  }
}

interface Address {
  readonly host: string
  readonly port: number
}

const said = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

function addressOf(text: string, byDefault: number): Address {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text)
  const host = parts?.[1] ?? parts?.[2]
  const port = parts?.[3] === undefined ? byDefault : Number(parts[3])
  if (host === undefined || port < 1 || port > 65_535) throw wrong('has no host, or a port that is none')
  return { host: decoded(host), port }
}

function credentials(who: string): Pick<RedisOptions, 'username' | 'password'> {
  if (who === '') return {}
  const colon = who.indexOf(':')
  if (colon < 0) throw wrong('has a user without a password: redis://user:password@host, or redis://:password@host')
  const [username, password] = [decoded(who.slice(0, colon)), decoded(who.slice(colon + 1))]
  // Without the name a server that wants no password would have ioredis warn of it on every connection.
  return { username: username || 'default', password }
}

function optionsOf(query: string): ReadonlyMap<Option, string> {
  const given = new Map<Option, string>()
  for (const part of query.split('&').filter((one) => one !== '')) {
    const [key = '', ...value] = part.split('=')
    const option = OPTIONS.find((one) => one === decoded(key))
    if (option === undefined) throw wrong(`has an option that a Redis queue does not know; it takes ${OPTIONS.join(', ')}`)
    given.set(option, decoded(value.join('=')))
  }
  return given
}

function certificates(given: ReadonlyMap<Option, string>): NonNullable<RedisOptions['tls']> {
  const read = (option: 'ca' | 'cert' | 'key'): { [K in typeof option]?: Buffer } => {
    const path = given.get(option)
    if (path === undefined) return {}
    try {
      return { [option]: readFileSync(path) }
    } catch (error) {
      throw wrong(`names a file in ${option}= that cannot be read (${errnoOf(error) ?? 'unknown error'})`)
    }
  }
  return { ...read('ca'), ...read('cert'), ...read('key') }
}

function prefixOf(text: string | undefined): string {
  if (text === undefined) return DEFAULT_PREFIX
  if (!/^[\x21-\x7e]{1,100}$/.test(text)) throw wrong('has a prefix that is not 1 to 100 printable characters without blanks')
  return text
}

function truth(text: string | undefined): boolean {
  if (text === undefined || text === '0') return false
  if (text === '1') return true
  throw wrong('has allow-eviction with something else than 0 or 1')
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw wrong('has a % that is no escape (a % itself is %25)')
  }
}

const wrong = (what: string) => new FirnError('usage', `The queue URL ${what}.`)
