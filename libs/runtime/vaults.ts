/**
 * The vaults that may be opened: those of the configuration, and those that an embedded home remembers. A row of the catalog names a
 * place and nothing more: whoever may write to the catalog must not choose where bytes are sent, nor with which credentials.
 */
import { existsSync } from 'node:fs'
import type { Vaults } from '#libs/archive/vaults.js'
import { FirnError } from '#libs/errors/errors.js'
import { redacted } from '#libs/errors/redacted.js'
import { openVault } from '#libs/vault/open-vault.js'
import type { Vault } from '#libs/vault/vault.js'
import type { Config } from './config.js'
import { once } from './once.js'
import { placeOf, readRemembered, rememberVault } from './remembered.js'
import { whyPathIsNotTrusted } from './trusted.js'
import { watchedVault } from './watched.js'

export interface VaultsOptions {
  readonly config: Config
  /** This home remembers what it is told. */
  readonly remembers: boolean
  readonly onOpened: (release: () => Promise<void>) => void
  readonly onNotice: (text: string) => void
}

export interface ConfiguredVaults extends Vaults {
  /** Permits a vault that was given on the command line, and remembers it where that is done. */
  permit(url: string): Promise<void>
}

/** One vault for each place, with the options of the configuration. */
export function openVaults({ config, remembers, onOpened, onNotice }: VaultsOptions): ConfiguredVaults {
  const opened = new Map<string, Promise<Vault>>()
  const permitted = new Map([...config.vaults, config.vaultUrl].map((url) => [placeOf(url), url]))
  const prices = once(async () => (await import('#libs/vault/prices/price-list.js')).readPrices(config.pricesFile))
  const deps = { prices, uploadMemoryBytes: config.uploadMemoryBytes }

  async function open(place: string): Promise<Vault> {
    // Read when it is needed: another command may have been told meanwhile.
    const known = permitted.get(place) ?? (remembers ? await remembered(config.home, place) : undefined)
    if (known === undefined) throw notConfigured(place)
    const vault = watchedVault(await openVault(known, deps))
    sayShared(place, onNotice)
    onOpened(() => vault.close())
    return vault
  }

  return {
    open(url) {
      const place = placeOf(url)
      let vault = opened.get(place)
      if (vault === undefined) {
        vault = open(place)
        opened.set(place, vault)
        vault.catch(() => opened.delete(place))
      }
      return vault
    },
    async permit(url) {
      permitted.set(placeOf(url), url)
      if (remembers) await rememberVault(config.home, url)
    },
  }
}

const remembered = async (home: string, place: string): Promise<string | undefined> =>
  (await readRemembered(home)).vaults.find((url) => placeOf(url) === place)

/** What is missing may be configured elsewhere: bundles that wait for such a vault are not failed. */
const notConfigured = (place: string): FirnError =>
  new FirnError(
    'vault-refused',
    `The vault ${redacted(place)} is in the catalog and not in the configuration: add its URL, with its options, to FIRN_VAULTS (FIRN_VAULTS='${redacted(place)}').`,
  )

/** A share of a NAS may be written by others: that is said, and no reason to refuse it. What is read back is verified, whoever wrote it. */
function sayShared(place: string, onNotice: (text: string) => void): void {
  const directory = /^local:(.*)$/s.exec(place)?.[1]
  if (directory === undefined || !existsSync(directory)) return
  const why = whyPathIsNotTrusted(directory)
  if (why !== undefined) onNotice(`the vault ${place} is not yours alone: ${why}`)
}
