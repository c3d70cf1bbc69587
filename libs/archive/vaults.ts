/** Vaults by URL, opened once and shared; how the story reaches the place where a bundle lies. */
import type { Vault } from '#libs/vault/vault.js'

export interface Vaults {
  /** `url` with options, as given or as the catalog keeps it. */
  open(url: string): Promise<Vault>
}
