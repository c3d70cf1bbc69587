/** What every part of this vault needs: the place, the client, how requests are sent, and how errors are said. */
import type { S3Client } from '@aws-sdk/client-s3'
import { checkKey } from '../object-key.js'
import type { Checksums } from './checksum.js'
import { s3Error } from './s3-error.js'
import type { S3Place } from './s3-url.js'
import type { Send } from './send.js'

export interface S3Door {
  readonly place: S3Place
  readonly client: S3Client
  readonly send: Send
  readonly checksums: Checksums
  /** Runs a step; what it throws is said in the words of the port. `deed`: `take a.tar`. */
  explained<T>(deed: string, signal: AbortSignal | undefined, step: () => Promise<T>): Promise<T>
  /** How a request names an object. */
  at(key: string): { readonly Bucket: string; readonly Key: string }
}

export function openDoor(parts: Pick<S3Door, 'place' | 'client' | 'send' | 'checksums'>): S3Door {
  const { place } = parts
  return {
    ...parts,
    async explained(deed, signal, step) {
      signal?.throwIfAborted()
      try {
        return await step()
      } catch (error) {
        signal?.throwIfAborted()
        throw s3Error(error, `The vault ${place.id} cannot ${deed}`, place)
      }
    },
    at(key) {
      checkKey(key)
      return { Bucket: place.bucket, Key: place.prefix + key }
    },
  }
}
