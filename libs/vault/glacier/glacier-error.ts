/** What the service and the way to it say, in the words of the Vault port: translated once, here, and decided on the name, never on the text. */
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { asService, nameOf, statusOf, troubleOf } from '../service-error.js'

/** `what`: the beginning of the sentence, for example `The vault glacier://photos cannot take a.tar`. */
export function glacierError(error: unknown, what: string): unknown {
  if (isFirnError(error)) return error
  const name = nameOf(error)
  const message = messageOf(error)
  const status = statusOf(error)
  const refused = (why: string) => new FirnError('vault-refused', `${what}: ${why}`, { cause: error })
  switch (name) {
    case 'NoLongerSupportedException':
      return refused(
        'Glacier vaults are closed to new customers since 2025-12-15; use s3://...?class=DEEP_ARCHIVE instead. (Accounts that hold archives keep them: are these the credentials of the right account?)',
      )
    case 'ResourceNotFoundException':
      return refused('the service knows no such vault here. Are its name, region and account right?')
    case 'AccessDeniedException':
    case 'AccessDenied':
      return refused('the credentials do not allow it. Give them the actions glacier:* on this vault.')
    case 'PolicyEnforcedException':
      return refused("the account's data retrieval policy forbids it. Raise its limit, or ask for less with another tier.")
    case 'InsufficientCapacityException':
      return new FirnError(
        'try-again',
        `${what}: there is no capacity for expedited retrievals now. Ask again later, or use --tier standard.`,
        {
          cause: error,
        },
      )
    case 'LimitExceededException':
      return refused(`a limit of the account is reached (${message}).`)
    case 'CredentialsProviderError':
    case 'MissingAuthenticationTokenException':
      return refused('no AWS credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role.')
    case 'ExpiredTokenException':
    case 'ExpiredToken':
      return refused('the AWS credentials are expired. Renew them.')
    case 'UnrecognizedClientException':
    case 'InvalidClientTokenId':
    case 'InvalidAccessKeyId':
    case 'IncompleteSignatureException':
      return refused('the service does not know these AWS credentials.')
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
    case 'RequestInTheFuture':
      return refused('the clock of this machine is wrong. Set it.')
    case 'InvalidSignatureException':
    case 'SignatureDoesNotMatch':
      return refused('the service refuses the signature. Is the secret key right, and the clock of this machine?')
    case 'InvalidParameterValueException':
    case 'MissingParameterValueException':
    case 'ValidationException':
      return refused(`the service refuses the request (${message}).`)
  }
  // The SDK has no name for it.
  if (/^Region is missing/.test(message)) {
    return new FirnError('usage', `${what}: no region is set. Add region=eu-west-1 (or yours) to its URL, or set AWS_REGION.`, {
      cause: error,
    })
  }
  if (isPassing(error)) return new FirnError('vault-failed', `${what}: ${passing(error, message)}`, { cause: error })
  if (status === 401 || status === 403) return refused(`the service refuses it (${name}).`)
  if (status !== undefined && status >= 400) return refused(`the service refuses the request (${name}: ${message}).`)
  return error
}

export const isNotFound = (error: unknown): boolean => nameOf(error) === 'ResourceNotFoundException'

/** May the same request work a little later? Also where nobody knows whether it did already: no answer came. */
export function isPassing(error: unknown): boolean {
  const trouble = troubleOf(error)
  return trouble === 'passing' || trouble === 'throttled' || isUnanswered(error)
}

/** Failed on its way, with any code of the system: a mistake in the endpoint (EPROTO) is then said with a hint at it. */
const isUnanswered = (error: unknown): boolean => !statusOf(error) && /^E[A-Z]+$/.test(asService(error).code ?? '')

function passing(error: unknown, message: string): string {
  const status = statusOf(error)
  if (troubleOf(error) === 'throttled') return 'the service asks for fewer requests. Try again later.'
  if (status !== undefined && status >= 500) return `the service failed (${status} ${nameOf(error)}). Try again later.`
  return `the service does not answer (${message || nameOf(error)}). Is the network there, and are region and endpoint right?`
}

function messageOf(error: unknown): string {
  const { message } = asService(error)
  return message === undefined ? String(error) : message.replace(/\.$/, '')
}
