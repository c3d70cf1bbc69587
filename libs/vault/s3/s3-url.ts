/** What an `s3://bucket/prefix?option=value` says, checked before anything is asked of the service. */
import { FirnError } from '#libs/errors/errors.js'
import { checkKey } from '../object-key.js'
import { checkOptions, type VaultUrl } from '../vault-url.js'

export interface S3Place {
  /** `s3://bucket/prefix`, without options. */
  readonly id: string
  readonly bucket: string
  /** Before every key; ends with a slash, or is empty. */
  readonly prefix: string
  /** Of bundles; the bucket's own (STANDARD) where it is left out. */
  readonly storageClass?: string
  /** Of manifests and of the note who writes this vault: never a class that must be thawed. */
  readonly manifestClass?: string
  /** Of the bucket; otherwise what the SDK finds in the environment and in ~/.aws/config. */
  readonly region?: string
  /** Another service than Amazon's that speaks S3. */
  readonly endpoint?: string
  /** The bucket's name stands in the path, not in the host. */
  readonly pathStyle: boolean
  readonly checksum: ChecksumMode
  readonly restoreStatus: RestoreStatusMode
}

/** How the service shows that it holds what was sent: its SHA-256, the MD5 that is the ETag, or by nothing but the size. */
export type ChecksumMode = 'sha256' | 'md5' | 'none'
/** Where the state of a thaw is looked up: in listings, in the head of each object, or in listings once they have shown that they tell. */
export type RestoreStatusMode = 'list' | 'head' | 'auto'

/** Objects in these must be thawed before they can be read. */
export const COLD_CLASSES: ReadonlySet<string> = new Set(['GLACIER', 'DEEP_ARCHIVE'])
/** Of Amazon's; another service may have its own. */
const CLASSES = [
  'STANDARD',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER_IR',
  'GLACIER',
  'DEEP_ARCHIVE',
  'REDUCED_REDUNDANCY',
]
const OPTIONS = ['class', 'manifest-class', 'region', 'endpoint', 'path-style', 'checksum', 'restore-status']
/** What is left of S3's 1,024 bytes for a key when a vault's own have theirs. */
const LONGEST_PREFIX = 100

export function s3Place(url: VaultUrl): S3Place {
  checkOptions(url, OPTIONS)
  const [, bucket, prefix] = /^\/\/([^/]*)(?:\/(.*))?$/s.exec(url.place) ?? []
  if (bucket === undefined || !/^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/.test(bucket)) {
    throw usage('names no bucket: write for example s3://my-bucket/firn?class=DEEP_ARCHIVE&region=eu-central-1.')
  }
  const above = (prefix ?? '').replace(/\/+$/, '')
  if (above !== '') checkKey(above)
  if (above.length > LONGEST_PREFIX) throw usage(`has a prefix of more than ${LONGEST_PREFIX} characters.`)

  const endpoint = endpointOf(url.query.get('endpoint'))
  const storageClass = classOf(url, 'class', endpoint)
  const manifestClass = classOf(url, 'manifest-class', endpoint)
  const region = url.query.get('region')
  if (region !== undefined && !/^[a-z0-9-]{1,40}$/.test(region)) {
    throw usage(`has region=${region}, which is no region: write for example region=eu-central-1.`)
  }
  if (manifestClass !== undefined && COLD_CLASSES.has(manifestClass)) {
    throw usage(
      `has manifest-class=${manifestClass}: manifests must be readable without a thaw. Leave it out, or choose STANDARD_IA.`,
    )
  }
  return {
    id: `s3://${bucket}${above === '' ? '' : `/${above}`}`,
    bucket,
    prefix: above === '' ? '' : `${above}/`,
    ...(storageClass !== undefined && { storageClass }),
    ...(manifestClass !== undefined && { manifestClass }),
    ...(region !== undefined && { region }),
    ...(endpoint !== undefined && { endpoint }),
    pathStyle: oneOf(url, 'path-style', ['yes', 'no'], endpoint ? 'yes' : 'no') === 'yes',
    checksum: oneOf(url, 'checksum', ['sha256', 'md5', 'none'], 'sha256'),
    restoreStatus: oneOf(url, 'restore-status', ['list', 'head', 'auto'], endpoint ? 'auto' : 'list'),
  }
}

/** Beginnings only: a URL may hold what nobody should read in a log. */
const usage = (what: string) => new FirnError('usage', `The s3 vault ${what}`)

function endpointOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  if (!parsed || !/^https?:$/.test(parsed.protocol) || parsed.pathname !== '/' || parsed.search || parsed.hash) {
    throw usage('has an endpoint that is none: write for example endpoint=https://s3.example.org.')
  }
  if (parsed.username || parsed.password) {
    throw usage(
      'has credentials in its endpoint: put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or into ~/.aws/credentials.',
    )
  }
  return parsed.origin
}

function classOf(url: VaultUrl, option: string, endpoint: string | undefined): string | undefined {
  const storageClass = url.query.get(option)?.toUpperCase()
  if (storageClass === undefined) return undefined
  if (endpoint === undefined ? CLASSES.includes(storageClass) : /^[A-Z0-9_-]{1,40}$/.test(storageClass)) return storageClass
  throw usage(`has ${option}=${storageClass}, which is no storage class: choose one of ${CLASSES.slice(0, 7).join(', ')}.`)
}

function oneOf<T extends string>(url: VaultUrl, option: string, choices: readonly T[], byDefault: T): T {
  const given = url.query.get(option)
  if (given === undefined) return byDefault
  const found = choices.find((choice) => choice === given)
  if (found === undefined) throw usage(`has ${option}=${given}: choose ${choices.join(' or ')}.`)
  return found
}
