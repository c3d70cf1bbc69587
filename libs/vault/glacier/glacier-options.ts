/** `glacier://photos?region=eu-west-1&manifests=s3://bucket/photos`: which vault of whose account, and where its manifests lie. */
import { FirnError } from '#libs/errors/errors.js'
import { checkOptions, type VaultUrl } from '../vault-url.js'

export interface GlacierPlace {
  readonly vaultName: string
  /** URL of the companion vault. */
  readonly manifests: string
  /** Default: the SDK's own chain. */
  readonly region?: string
  /** For tests and for private endpoints. */
  readonly endpoint?: string
  /** The twelve digits of an account; `-`, the default, is that of the credentials. */
  readonly account: string
}

const EXAMPLE = 'glacier://photos?region=eu-west-1&manifests=s3://bucket/photos'

export function glacierPlace(url: VaultUrl): GlacierPlace {
  checkOptions(url, ['region', 'endpoint', 'account', 'manifests'])
  const vaultName = /^\/\/([A-Za-z0-9_.-]{1,255})\/?$/.exec(url.place)?.[1]
  if (vaultName === undefined) {
    throw new FirnError('usage', `"glacier:${url.place}" names no Glacier vault: write for example ${EXAMPLE}`)
  }
  const manifests = url.query.get('manifests')
  if (!manifests) {
    throw new FirnError(
      'usage',
      `The vault glacier://${vaultName} needs a place for its manifests, which must stay readable without a thaw: add manifests=s3://bucket/prefix or manifests=local:/directory, for example ${EXAMPLE}`,
    )
  }
  if (/^glacier:/i.test(manifests)) {
    throw new FirnError(
      'usage',
      `The manifests of glacier://${vaultName} cannot lie in a Glacier vault: name a vault that needs no thaw, s3: or local:`,
    )
  }
  const account = url.query.get('account') ?? '-'
  if (!/^(-|\d{12})$/.test(account)) {
    throw new FirnError(
      'usage',
      `The vault option account=${account} is no account: write its twelve digits without hyphens, or leave it out.`,
    )
  }
  const region = url.query.get('region')
  const endpoint = url.query.get('endpoint')
  if (endpoint !== undefined && !/^https?:\/\/[^/?#@]+\/?$/.test(endpoint)) {
    throw new FirnError(
      'usage',
      'The vault option endpoint is no address: write for example endpoint=https://glacier.eu-west-1.amazonaws.com',
    )
  }
  return { vaultName, manifests, account, ...(region ? { region } : {}), ...(endpoint ? { endpoint } : {}) }
}
