/** Chooses a vault by the scheme of its URL, and loads its implementation, with its SDK, only then. */
import { FirnError } from '#libs/errors/errors.js'
import type { Vault } from './vault.js'
import { parseVaultUrl, type VaultUrl } from './vault-url.js'

const SCHEMES: Record<string, { example: string; open: (url: VaultUrl) => Promise<Vault> }> = {
  local: {
    example: 'local:/srv/vault',
    open: async (url) => {
      const { localOptions, openLocalVault } = await import('./local/local-vault.js')
      return openLocalVault(localOptions(url))
    },
  },
}

export async function openVault(url: string): Promise<Vault> {
  const parsed = parseVaultUrl(url)
  const choice = Object.hasOwn(SCHEMES, parsed.scheme) ? SCHEMES[parsed.scheme] : undefined
  if (choice) return choice.open(parsed)
  const choices = Object.values(SCHEMES).map(({ example }) => example)
  throw new FirnError('usage', `"${parsed.scheme}:" is no kind of vault that Firn knows: choose one of ${choices.join(', ')}.`)
}
