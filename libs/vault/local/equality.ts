/**
 * Whether bytes that were read are those that were written, without keeping them: two authentication codes under one key that nobody
 * else has. GMAC (NIST SP 800-38D) runs at memory's speed where SHA-256 takes the better part of a core, and two different texts of
 * any length that fits a vault have the same code less than once in 2^90.
 */
import { createCipheriv, randomBytes } from 'node:crypto'

/** Used for one comparison only. */
export interface EqualityKey {
  readonly key: Uint8Array
  readonly nonce: Uint8Array
}

export interface Code {
  update(bytes: Uint8Array): void
  /** Hex; ends it. */
  digest(): string
}

export const newEqualityKey = (): EqualityKey => ({ key: randomBytes(16), nonce: randomBytes(12) })

export function createCode({ key, nonce }: EqualityKey): Code {
  const cipher = createCipheriv('aes-128-gcm', key, nonce)
  return {
    update(bytes) {
      cipher.setAAD(bytes)
    },
    digest() {
      cipher.final()
      return cipher.getAuthTag().toString('hex')
    },
  }
}
