/** For suites: a Glacier vault on the emulated service, with its companion in a directory. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Cloud, type CloudOptions, startCloud } from '../../../test/cloud/cloud.js'
import type { EmulatedVault } from '../../../test/cloud/glacier/vaults.js'
import { openLocalVault } from '../local/local-vault.js'
import type { Vault } from '../vault.js'
import { type GlacierVaultOptions, openGlacierVault } from './glacier-vault.js'

export interface ScratchGlacier {
  readonly cloud: Cloud
  readonly vault: Vault
  /** Pointers and manifests lie here. */
  readonly companion: Vault
  readonly companionDirectory: string
  /** What the service holds; it is there after `prepare`. */
  readonly emulated: EmulatedVault
  /** As another process would have it; the caller closes it. */
  open(options?: Partial<GlacierVaultOptions>): Vault
  done(): Promise<void>
}

export const NAME = 'photos'

export async function scratchGlacier(options: CloudOptions = {}): Promise<ScratchGlacier> {
  const cloud = await startCloud({ region: 'eu-west-1', ...options })
  const directory = await mkdtemp(join(tmpdir(), 'firn-glacier-'))
  const companionDirectory = join(directory, 'companion')
  const companion = openLocalVault({ directory: companionDirectory })
  const open = (more: Partial<GlacierVaultOptions> = {}) =>
    openGlacierVault({
      vaultName: NAME,
      account: '-',
      region: cloud.region,
      endpoint: cloud.url,
      credentials: cloud.credentials,
      companion: openLocalVault({ directory: companionDirectory }),
      now: () => cloud.clock.now().getTime(),
      retryDelayMs: 1,
      ...more,
    })
  const vault = open()
  return {
    cloud,
    vault,
    companion,
    companionDirectory,
    get emulated() {
      return cloud.glacier.vaults.get(NAME) as EmulatedVault
    },
    open,
    async done() {
      await vault.close()
      await companion.close()
      await cloud.stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
