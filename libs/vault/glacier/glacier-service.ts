/** The door to the SDK: one client for each vault, whose requests are hashed once, asked again with patience, and never wait for ever. */
import { createHash } from 'node:crypto'
import { GlacierClient, type GlacierClientConfig } from '@aws-sdk/client-glacier'
import { openPacer, type PaceClock, THROTTLED_TRIES } from '../pacer.js'
import { backOff, pause } from '../pause.js'
import { makeClient, requestHandler } from '../sdk-client.js'
import { troubleOf } from '../service-error.js'
import type { CallOptions } from '../vault.js'
import { glacierError, isPassing } from './glacier-error.js'

export interface ServiceOptions {
  readonly vaultName: string
  readonly account: string
  readonly region?: string
  readonly endpoint?: string
  /** For tests. Default: the SDK's own chain. */
  readonly credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
  /** Before the second try; doubled before each further one. Default 200 ms. */
  readonly retryDelayMs?: number
  /** For tests: the time that the pace is kept by. */
  readonly clock?: PaceClock
}

export interface GlacierService {
  readonly client: GlacierClient
  /** Account and vault, as every request has them. */
  readonly vault: { readonly accountId: string; readonly vaultName: string }
  /**
   * Runs a request that may happen twice, again where it failed in a way that may pass. Its error is the port's.
   * `settle`: looks, before another try, whether the one before worked after all.
   */
  again<T>(what: string, call: () => Promise<T>, options?: AgainOptions<T>): Promise<T>
  close(): void
}

export interface AgainOptions<T> extends CallOptions {
  readonly settle?: () => Promise<T | undefined>
  /** Errors that the caller knows better: passed on as they are. */
  readonly keep?: (error: unknown) => boolean
}

const TRIES = 5
/** A connection on which nothing moves for so long is given up. */
const STALLED_MS = 60_000

export function openService({
  vaultName,
  account,
  region,
  endpoint,
  credentials,
  retryDelayMs = 200,
  clock,
}: ServiceOptions): GlacierService {
  const config: GlacierClientConfig = {
    ...(region && { region }),
    ...(endpoint && { endpoint }),
    ...(credentials && { credentials }),
    requestHandler: requestHandler(STALLED_MS),
    // Parts come with both their hashes; nothing is hashed a second time.
    bodyChecksumGenerator: async ({ body, headers }) => [
      headers['x-amz-content-sha256'] ?? knownSha256(body),
      headers['x-amz-sha256-tree-hash'] ?? '',
    ],
  }
  const client = makeClient(() => new GlacierClient(config))
  const pacer = openPacer({ pauseMs: retryDelayMs, ...(clock && { clock }) })

  async function again<T>(what: string, call: () => Promise<T>, { signal, settle, keep }: AgainOptions<T> = {}): Promise<T> {
    let corrected = false
    for (let tries = 1; ; tries++) {
      const turn = await pacer.turn(signal)
      try {
        if (tries > 1) {
          const settled = await settle?.()
          if (settled !== undefined) return settled
        }
        const answer = await call()
        turn.answered()
        return answer
      } catch (error) {
        signal?.throwIfAborted()
        const trouble = troubleOf(error)
        if (trouble === 'skewed' && !corrected) {
          corrected = true // the SDK has learnt the service's time from its answer
          continue
        }
        const throttled = trouble === 'throttled'
        if (throttled) turn.refused(tries)
        else if (!isPassing(error)) turn.answered()
        if (keep?.(error)) throw error
        if (tries >= (throttled ? THROTTLED_TRIES : TRIES) || !isPassing(error)) throw glacierError(error, what)
        if (!throttled) await pause(backOff(retryDelayMs, tries), signal)
      }
    }
  }

  return { client, vault: { accountId: account, vaultName }, again, close: () => client.destroy() }
}

const sha256OfBody = new WeakMap<Uint8Array, string>()

/** Says the plain SHA-256 of a body that was hashed as it came. */
export function hashedBody(body: Buffer, sha256: string): Buffer {
  sha256OfBody.set(body, sha256)
  return body
}

function knownSha256(body: unknown): string {
  if (body instanceof Uint8Array) return sha256OfBody.get(body) ?? createHash('sha256').update(body).digest('hex')
  return createHash('sha256')
    .update(String(body ?? ''))
    .digest('hex')
}
