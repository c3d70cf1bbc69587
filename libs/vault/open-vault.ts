/** Chooses a vault by the scheme of its URL, and loads its implementation, with its SDK, only then. */
import { FirnError } from '#libs/errors/errors.js'
import type { PriceList } from './prices/price-list.js'
import type { Vault } from './vault.js'
import { parseVaultUrl, type VaultUrl } from './vault-url.js'

/** What vaults need beside their URL. */
export interface VaultOptions {
  /** What thawing and reading costs; asked for only by vaults that take something for it. */
  readonly prices: () => Promise<PriceList>
  /** For all parts in flight of all uploads of this process. */
  readonly uploadMemoryBytes: number
}

interface Scheme {
  readonly example: string
  readonly open: (url: VaultUrl, options: VaultOptions) => Promise<Vault>
}

const SCHEMES: Record<string, Scheme> = {
  local: {
    example: 'local:/srv/vault',
    open: async (url, { prices }) => {
      const { localOptions, openLocalVault } = await import('./local/local-vault.js')
      return openLocalVault(await localOptions(url, prices))
    },
  },
  glacier: {
    example: 'glacier://photos?region=eu-west-1&manifests=s3://bucket/photos',
    open: async (url, options) => {
      const { openGlacier } = await import('./glacier/open-glacier.js')
      return openGlacier(url, options, openVault)
    },
  },
  s3: {
    example: 's3://my-bucket/firn?class=DEEP_ARCHIVE',
    open: async (url, options) => {
      const { s3Place } = await import('./s3/s3-url.js')
      const place = s3Place(url) // a wrong URL is said before the SDK is loaded
      const { openS3Vault } = await import('./s3/s3-vault.js')
      return openS3Vault(place, { ...options, prices: await options.prices() })
    },
  },
}

export async function openVault(url: string, options: VaultOptions): Promise<Vault> {
  const parsed = parseVaultUrl(url)
  const choice = Object.hasOwn(SCHEMES, parsed.scheme) ? SCHEMES[parsed.scheme] : undefined
  if (choice) return choice.open(parsed, options)
  const choices = Object.values(SCHEMES).map(({ example }) => example)
  throw new FirnError('usage', `"${parsed.scheme}:" is no kind of vault that Firn knows: choose one of ${choices.join(', ')}.`)
}
