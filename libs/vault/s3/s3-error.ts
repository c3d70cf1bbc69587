/** What S3, its SDK and the network say, in the words of the Vault port: translated once, here, and decided on codes, never on texts. */
import { type ErrorCode, FirnError, isFirnError } from '#libs/errors/errors.js'
import { asService, nameOf, networkCodeOf, statusOf, troubleOf } from '../service-error.js'
import type { S3Place } from './s3-url.js'

/** `what`: the beginning of the sentence, for example `The vault s3://b/p cannot take a.tar`. */
export function s3Error(error: unknown, what: string, place: S3Place): unknown {
  if (isFirnError(error) || isOwnMistake(error)) return error
  const { code, sentence } = explain(error, place)
  return new FirnError(code, `${what}: ${sentence}`, { cause: error })
}

/** A mistake of the program's is not to look like one of the service's. */
const isOwnMistake = (error: unknown): boolean =>
  /^(TypeError|ReferenceError|RangeError)$/.test(asService(error).name ?? '') && statusOf(error) === undefined

function explain(error: unknown, place: S3Place): { code: ErrorCode; sentence: string } {
  const { bucket, endpoint } = place
  const where = endpoint ?? 'Amazon S3'
  const name = nameOf(error)
  const refused = (sentence: string) => ({ code: 'vault-refused' as const, sentence })

  const region = rightRegion(error)
  if (region !== undefined)
    return refused(`the bucket ${bucket} lies in ${region}: say region=${region} in the URL of the vault.`)
  switch (name) {
    case 'NoSuchBucket':
      return refused(`there is no bucket ${bucket} at ${where}. Make it first, or correct its name.`)
    case 'NoSuchKey':
    case 'NotFound':
    case '404':
      return { code: 'vault-missing', sentence: 'it is not there.' }
    case 'NoSuchUpload':
      return { code: 'vault-failed', sentence: 'its upload was ended by somebody else. It will be sent again.' }
    case 'PreconditionFailed':
    case '412':
      return { code: 'vault-exists', sentence: 'there is an object of that name already.' }
    case 'InvalidObjectState':
      return { code: 'vault-frozen', sentence: 'it is cold: it must be thawed before it can be read.' }
    case 'GlacierExpeditedRetrievalNotAvailable':
      return {
        code: 'try-again',
        sentence: 'no expedited thaw is to be had at the moment. Try later, or choose --tier standard.',
      }
    case 'AccessDenied':
    case 'AllAccessDisabled':
    case 'AccountProblem':
    case 'Forbidden':
    case '403':
      return refused(
        `the credentials lack a permission there (${name}${detailOf(error)}). The permissions that Firn needs stand in docs/vaults.md.`,
      )
    case 'InvalidAccessKeyId':
    case 'XAdminUserNotFound': // versitygw
    case 'InvalidToken':
    case 'InvalidClientTokenId':
    case 'UnrecognizedClientException':
      return refused(`${where} does not know the access key. Look at AWS_ACCESS_KEY_ID, AWS_PROFILE or ~/.aws/credentials.`)
    case 'SignatureDoesNotMatch':
      return refused('the secret access key is wrong. Look at AWS_SECRET_ACCESS_KEY or ~/.aws/credentials.')
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
    case 'RequestExpired':
      return refused('the credentials have expired. Renew them (for example with aws sso login) and start again.')
    case '400': // to a HEAD, whose answer has no body to say why
      return refused(
        `${where} refuses it and does not say why (400). Mostly the credentials have expired: renew them (for example with aws sso login) and start again.`,
      )
    case 'RequestTimeTooSkewed':
    case 'RequestInTheFuture':
      return refused(`the clock of this machine is off${skewOf(error)}. Set it (chronyc, timedatectl) and start again.`)
    case 'CredentialsProviderError':
      return refused(
        'no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role.',
      )
    case 'InvalidStorageClass':
      return refused(
        `${where} does not have the storage class ${place.storageClass ?? place.manifestClass ?? 'STANDARD'}. Choose another with class= in its URL.`,
      )
    case 'NotImplemented':
    case 'MethodNotAllowed':
    case '501':
    case '405':
      return refused(`${where} cannot do that (${name}). See the table of services in docs/vaults.md.`)
    case 'QuotaExceeded':
    case 'XMinioStorageFull':
    case 'StorageFull':
    case '507':
      return { code: 'vault-full', sentence: 'the service has no room left.' }
    case 'InvalidBucketName':
      return refused(`"${bucket}" is no name that a bucket can have.`)
    case 'CERT_HAS_EXPIRED':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return refused(
        `the certificate of ${where} cannot be trusted (${name}). NODE_EXTRA_CA_CERTS names a file with your own authority.`,
      )
    case 'EPROTO':
      return refused(`${where} does not speak TLS. Does its URL begin with http instead of https?`)
  }
  if (/region is missing/i.test(asService(error).message ?? '')) {
    return { code: 'usage', sentence: 'its region is not known. Say region= in its URL, or set AWS_REGION.' }
  }
  const network = networkCodeOf(error)
  if (network !== undefined || name === 'TimeoutError') {
    const reason = network === 'ENOTFOUND' ? 'its name is not known' : (network ?? 'no answer')
    return { code: 'vault-failed', sentence: `${where} cannot be reached (${reason}). Is the network up? Try again later.` }
  }
  switch (troubleOf(error)) {
    case 'throttled':
      return { code: 'vault-failed', sentence: `${where} asks for fewer requests (${name}). Try again later.` }
    case 'passing':
      return { code: 'vault-failed', sentence: `${where} failed (${name}${detailOf(error)}). Try again later.` }
    default:
      return refused(`${where} refuses it: ${name}${detailOf(error)}.`)
  }
}

/** Where the bucket really is, if that is what the service says. */
function rightRegion(error: unknown): string | undefined {
  const { Region, $response } = asService(error)
  const status = statusOf(error)
  const moved = status === 301 || status === 307
  const named = $response?.headers?.['x-amz-bucket-region']
  if (/^(PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/.test(nameOf(error)) || moved) {
    return Region ?? named
  }
  // A HEAD has no body: of a signature for another region only the header tells.
  return status === 400 && nameOf(error) === '400' ? named : undefined
}

/** By how much, if the service says what time it is. */
function skewOf(error: unknown): string {
  const { ServerTime, $response } = asService(error)
  const date = ServerTime ?? $response?.headers?.['date']
  const minutes = date === undefined ? Number.NaN : Math.round((Date.now() - new Date(date).getTime()) / 60_000)
  if (!Number.isFinite(minutes) || minutes === 0) return ''
  return ` by ${Math.abs(minutes)} minutes (it is ${minutes > 0 ? 'ahead' : 'behind'})`
}

/** The service's own words, and the number by which its support finds the request. */
function detailOf(error: unknown): string {
  const { message, $metadata } = asService(error)
  const words = (message ?? '')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .replace(/[.\s]+$/, '')
    .slice(0, 300)
  const said = words === '' || words === 'UnknownError' || words === 'Unknown' ? '' : `, ${words}`
  return said + ($metadata?.requestId ? `, request ${$metadata.requestId.slice(0, 80)}` : '')
}
