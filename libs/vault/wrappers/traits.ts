/** What a vault says of itself, for another that stands before it. */
import type { Vault } from '../vault.js'

export type VaultTraits = Pick<Vault, 'id' | 'readsBack' | 'thawsRanges' | 'maxObjectBytes'>

export const traitsOf = ({ id, readsBack, thawsRanges, maxObjectBytes }: Vault): VaultTraits => ({
  id,
  ...(readsBack && { readsBack }),
  ...(thawsRanges && { thawsRanges }),
  ...(maxObjectBytes !== undefined && { maxObjectBytes }),
})
