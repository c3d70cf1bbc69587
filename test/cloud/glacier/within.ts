/** What every operation on a vault is given. */
import type { Clock } from '../clock.js'
import type { RequestBook } from '../requests.js'
import type { Call } from '../service.js'
import type { EmulatedVault, GlacierLimits } from './vaults.js'

export interface Within {
  readonly vault: EmulatedVault
  readonly call: Call
  readonly clock: Clock
  readonly book: RequestBook
  readonly region: string
  /** Where bytes are kept. */
  readonly directory: string
  readonly limits: GlacierLimits
  /** The vault's address, for `Location`. */
  readonly base: string
}
