/** An emulator with a bucket, and vaults in it: for tests of this room. */
import { randomBytes } from 'node:crypto'
import { type Cloud, type CloudOptions, startCloud } from '../../../test/cloud/cloud.js'
import { readPrices } from '../prices/price-list.js'
import { uploadMemory } from '../upload-memory.js'
import type { Vault } from '../vault.js'
import { parseVaultUrl } from '../vault-url.js'
import { s3Place } from './s3-url.js'
import { openS3Vault, type S3VaultOptions } from './s3-vault.js'

export interface ScratchCloud {
  readonly cloud: Cloud
  newPrefix(): string
  stop(): Promise<void>
}

/** With one bucket, `cold`. */
export async function scratchCloud(options: CloudOptions = {}): Promise<ScratchCloud> {
  const cloud = await startCloud({ buckets: ['cold'], ...options })
  return { cloud, newPrefix, stop: () => cloud.stop() }
}

export const newPrefix = (): string => `t${randomBytes(6).toString('hex')}`

/** With the emulator's credentials, and no memory shared with other vaults. */
export const openScratchVault = (
  { cloud }: Pick<ScratchCloud, 'cloud'>,
  url: string,
  options: Partial<S3VaultOptions> = {},
): Promise<Vault> => openVaultAt(url, { credentials: cloud.credentials, ...options })

export async function openVaultAt(url: string, options: Partial<S3VaultOptions>): Promise<Vault> {
  const bytes = 256 * 2 ** 20
  return openS3Vault(s3Place(parseVaultUrl(url)), {
    prices: await readPrices(),
    uploadMemoryBytes: bytes,
    memory: uploadMemory(bytes),
    ...options,
  })
}
