/** What Amazon's services, their SDK and the network say when something fails, read once for all of them; decided on codes, never on texts. */
import { errnoOf, isFirnError } from '#libs/errors/errors.js'

/** The part of the SDK's errors that is looked at. Asked by shape: an error may come from another copy of a package. */
export interface ServiceError {
  readonly name?: string
  readonly code?: string
  readonly message?: string
  readonly Region?: string
  readonly ServerTime?: Date
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string; readonly clockSkewCorrected?: boolean }
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> }
}

export const asService = (error: unknown): ServiceError =>
  typeof error === 'object' && error !== null ? (error as ServiceError) : {}

/** The service's name of what went wrong: `NoSuchKey`. Answers without a body have only their number. */
export function nameOf(error: unknown): string {
  const { name, code, $metadata } = asService(error)
  if (name === undefined || name === 'Error' || name === 'Unknown' || name === 'UnknownError' || /^\d+$/.test(name)) {
    return code ?? String($metadata?.httpStatusCode ?? name)
  }
  return name
}

export const statusOf = (error: unknown): number | undefined => asService(error).$metadata?.httpStatusCode

const THROTTLED =
  /^(SlowDown|Throttl\w*|RequestThrottled\w*|RequestLimitExceeded|ProvisionedThroughputExceededException|BandwidthLimitExceeded|TooManyRequests\w*|ServiceUnavailable|Busy)$/
const PASSING =
  /^(RequestTimeout|RequestTimeoutException|InternalError|InternalFailure|TimeoutError|NetworkingError|ConditionalRequestConflict|OperationAborted|IncompleteBody|BadDigest|XAmzContentSHA256Mismatch|XAmzContentChecksumMismatch|PriorRequestNotComplete|ClientNotReady)$/
/** Answers of the service that no later try changes, whatever their number. */
const FINAL = /^(GlacierExpeditedRetrievalNotAvailable|InsufficientCapacityException|NotImplemented)$/
const NETWORK =
  /^(ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EHOSTDOWN|ENETDOWN|ERR_STREAM_PREMATURE_CLOSE|HPE_[A-Z_]+)$/
/** 400 without a name: a HEAD that met expired credentials has no body to say so. */
const EXPIRED = /^(ExpiredToken|ExpiredTokenException|TokenRefreshRequired|RequestExpired|400)$/
const SKEWED = /^(RequestTimeTooSkewed|RequestInTheFuture)$/

export type Trouble = 'throttled' | 'passing' | 'expired' | 'skewed' | 'final'

/** What may help: to wait longer, to try again, other credentials, another time on the request, or nothing. */
export function troubleOf(error: unknown): Trouble {
  if (isFirnError(error)) return error.code === 'vault-failed' ? 'passing' : 'final'
  const name = nameOf(error)
  const status = statusOf(error)
  if (FINAL.test(name)) return 'final'
  if (THROTTLED.test(name) || status === 503 || status === 429) return 'throttled'
  if (EXPIRED.test(name)) return 'expired'
  if (SKEWED.test(name) || asService(error).$metadata?.clockSkewCorrected === true) return 'skewed'
  if (PASSING.test(name) || NETWORK.test(networkCodeOf(error) ?? '') || (status !== undefined && status >= 500)) return 'passing'
  // An answer that broke off in the middle is no answer: 200, and then something that is no XML.
  return status !== undefined && status < 300 ? 'passing' : 'final'
}

/** ECONNREFUSED and its like; also where several addresses were tried. */
export function networkCodeOf(error: unknown): string | undefined {
  const code = asService(error).code ?? errnoOf(error)
  if (code !== undefined && NETWORK.test(code)) return code
  const { cause } = typeof error === 'object' && error !== null ? (error as { cause?: unknown }) : {}
  return cause === undefined ? undefined : networkCodeOf(cause)
}
