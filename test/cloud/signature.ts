/** AWS Signature Version 4, really verified: who calls, for which region, and that nobody changed the headers on the way. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { Refusal } from './refusal.js'
import type { Call } from './service.js'

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  /** By the virtual clock. */
  readonly expiration?: Date
}

export interface Signed {
  readonly credentials: Credentials
  readonly region: string
  /** What signs the chunks of a signed stream. */
  readonly chain: { readonly key: Buffer; readonly time: string; readonly scope: string; readonly signature: string }
}

export interface SignatureContext {
  readonly service: string
  readonly twiceEncoded: boolean
  find(accessKeyId: string): Credentials | undefined
  /** For the age of the signature. */
  readonly wall: Date
  /** For the age of a session token. */
  readonly now: Date
}

/** Amazon's limit, for every service. */
const SKEW_MS = 15 * 60_000

export function verifySignature(call: Call, context: SignatureContext): Signed {
  const { headers } = call
  if (call.query.has('X-Amz-Signature')) throw new Refusal(501, 'NotImplemented', 'This emulator does not know presigned URLs.')
  const authorization = headers['authorization']
  if (!authorization) throw new Refusal(403, 'AccessDenied', 'Access Denied')
  const parts = /^AWS4-HMAC-SHA256\s+Credential=([^,]+),\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})$/.exec(authorization)
  const scope = parts?.[1]?.split('/') ?? []
  if (!parts || scope.length !== 5 || scope[4] !== 'aws4_request') throw malformed('The authorization header is malformed.')
  const [accessKeyId, day, region, service] = scope as [string, string, string, string]
  if (service !== context.service) throw malformed(`Credential should be scoped to correct service: '${context.service}'.`)

  const time = headers['x-amz-date'] ?? ''
  const signedAt = readTime(time)
  if (signedAt === undefined || !time.startsWith(day))
    throw new Refusal(403, 'AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header')
  if (Math.abs(context.wall.getTime() - signedAt) > SKEW_MS) {
    throw new Refusal(403, 'RequestTimeTooSkewed', 'The difference between the request time and the current time is too large.', {
      details: { RequestTime: time, ServerTime: context.wall.toISOString(), MaxAllowedSkewMilliseconds: String(SKEW_MS) },
    })
  }

  const credentials = context.find(accessKeyId)
  if (!credentials) {
    throw new Refusal(403, 'InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.')
  }
  const payloadHash = headers['x-amz-content-sha256']
  if (payloadHash === undefined) {
    throw new Refusal(400, 'InvalidRequest', 'Missing required header for this request: x-amz-content-sha256')
  }
  const names = parts[2]!.split(';')
  for (const needed of ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))]) {
    if (!names.includes(needed))
      throw new Refusal(403, 'AccessDenied', `There were headers present which were not signed: ${needed}`)
  }
  const request = [
    call.method,
    canonicalPath(call.path, context.twiceEncoded),
    canonicalQuery(call.query),
    ...names.map((name) => `${name}:${(headers[name] ?? '').trim().replace(/ +/g, ' ')}`),
    '',
    names.join(';'),
    payloadHash,
  ].join('\n')
  const scopeText = scope.slice(1).join('/')
  const key = ['aws4_request', service, region, day].reduceRight<Buffer>(
    (key, text) => hmac(key, text),
    Buffer.from(`AWS4${credentials.secretAccessKey}`),
  )
  const expected = hmac(key, ['AWS4-HMAC-SHA256', time, scopeText, sha256(request)].join('\n'))
  if (!timingSafeEqual(expected, Buffer.from(parts[3]!, 'hex'))) {
    throw new Refusal(
      403,
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    )
  }
  checkToken(credentials, headers['x-amz-security-token'], context.now)
  return { credentials, region, chain: { key, time, scope: scopeText, signature: parts[3]! } }
}

/** The signature of one chunk of a signed stream, or of its trailers, which follows from the one before. */
export function nextSignature(chain: Signed['chain'], kind: 'PAYLOAD' | 'TRAILER', previous: string, content: string): string {
  const about = kind === 'PAYLOAD' ? [sha256(''), content] : [content]
  return hmac(chain.key, [`AWS4-HMAC-SHA256-${kind}`, chain.time, chain.scope, previous, ...about].join('\n')).toString('hex')
}

function checkToken(credentials: Credentials, token: string | undefined, now: Date): void {
  if (token !== credentials.sessionToken) {
    throw new Refusal(400, 'InvalidToken', 'The provided token is malformed or otherwise invalid.')
  }
  if (credentials.expiration && credentials.expiration <= now) throw expiredToken()
}

export const expiredToken = (): Refusal => new Refusal(400, 'ExpiredToken', 'The provided token has expired.')

const malformed = (message: string) => new Refusal(400, 'AuthorizationHeaderMalformed', message)

function readTime(text: string): number | undefined {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? []
  return second === undefined ? undefined : Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

function canonicalPath(path: string, twice: boolean): string {
  const once = path
    .split('/')
    .map((segment) => encode(decodeURIComponent(segment)))
    .join('/')
  return twice ? once.split('/').map(encode).join('/') : once
}

const canonicalQuery = (query: ReadonlyMap<string, string>): string =>
  [...query]
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')

/** Amazon's URI encoding: all but the unreserved characters. */
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
