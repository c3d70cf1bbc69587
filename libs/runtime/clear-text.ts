/**
 * Connections that others on the network could read or answer. Whoever answers a database connection in clear text is given the password;
 * so servers that are not on this machine need TLS that is verified, or the word that it is not needed: `insecure=1`.
 */

/** `clear`: not encrypted. `unverified`: encrypted to whoever answers. */
export type Exposure = 'clear' | 'unverified'

export interface Exposed {
  /** Of the server, for a sentence. */
  readonly host: string
  readonly exposure: Exposure
  /** What to write instead. */
  readonly instead: string
}

const INSECURE = /([?&])insecure=1(&|$)/

export const isDeclaredInsecure = (url: string): boolean => INSECURE.test(url)

/** Without the word: it is for the configuration alone, and no adapter knows it. */
export const withoutDeclaration = (url: string): string =>
  url.replace(INSECURE, (_, before: string, after: string) => (after === '&' ? before : ''))

/** The first server of a connection or vault URL that is reached in clear text, or by TLS that is not verified. */
export function exposed(url: string, env: NodeJS.ProcessEnv = {}): Exposed | undefined {
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(url) ?? []
  const [place = '', query = ''] = rest.split(/\?(.*)/s)
  const options = new URLSearchParams(query)
  const remote = (hosts: readonly string[]) => hosts.find((host) => !isOnThisMachine(host))
  switch (scheme.toLowerCase()) {
    case 'postgres':
    case 'postgresql': {
      if (rest === '') return undefined // the catalog's own database
      const named = options.get('host') ?? hostsOf(place).join(',')
      const host = remote((named || env['PGHOST'] || 'localhost').split(','))
      const mode = options.get('sslmode') ?? env['PGSSLMODE'] ?? 'disable'
      if (host === undefined || mode === 'verify-full') return undefined
      const exposure = ['disable', 'allow', 'prefer'].includes(mode) ? 'clear' : 'unverified'
      return { host, exposure, instead: 'sslmode=verify-full' }
    }
    case 'redis':
    case 'redis+sentinel': {
      const host = remote(hostsOf(place))
      return host === undefined ? undefined : { host, exposure: 'clear', instead: `rediss${scheme.slice('redis'.length)}:` }
    }
    case 'http': {
      const host = remote(hostsOf(place))
      return host === undefined ? undefined : { host, exposure: 'clear', instead: 'https:' }
    }
    case 's3':
    case 'glacier':
      for (const name of ['endpoint', 'manifests']) {
        const within = options.get(name)
        const found = within === null ? undefined : exposed(within, env)
        if (found !== undefined) return found
      }
      return undefined
    default:
      return undefined
  }
}

/** `//user:password@a:1,[::1]:2/name` to `a`, `::1`. */
function hostsOf(place: string): string[] {
  const authority = /^\/\/([^/?#]*)/.exec(place)?.[1] ?? ''
  return authority
    .slice(authority.lastIndexOf('@') + 1)
    .split(',')
    .map((one) => /^\[([^\]]*)\]/.exec(one)?.[1] ?? one.replace(/:\d*$/, ''))
}

/** A server's name for a sentence: what looks otherwise may be a piece of a password that a `?` or a `/` cut off. */
export const shownHost = (url: string, host: string): string =>
  /^[A-Za-z0-9._:-]+$/.test(host) && !/^[^?#]*:\/\/[^/?#@]*[/?#].*@/s.test(url) ? host : 'its server'

/** A socket's directory, or a loopback address. */
const isOnThisMachine = (host: string): boolean =>
  host === '' || host.startsWith('/') || /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i.test(host)
