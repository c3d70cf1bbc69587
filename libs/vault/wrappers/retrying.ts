/**
 * A vault that asks again when a call failed in a way that may pass (`vault-failed`). Only calls that may happen twice are repeated:
 * an upload and a put are not, their caller begins a new attempt; a read goes on behind the last byte that came.
 */
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { backOff, pause } from '../pause.js'
import type { CallOptions, Vault } from '../vault.js'
import { traitsOf } from './traits.js'

export interface RetryOptions {
  /** Tries in all. Default 5. */
  readonly tries?: number
  /** Before the second try, doubled before each further one, each time shortened by chance to a half at most. Default 200 ms. */
  readonly delayMs?: number
}

export function retrying(vault: Vault, { tries = 5, delayMs = 200 }: RetryOptions = {}): Vault {
  /** Waits before try number `next` (from 2), or throws `error` where there shall be none. */
  async function ready(error: unknown, next: number, { signal }: CallOptions): Promise<void> {
    if (next > tries || !isFirnError(error, 'vault-failed')) throw error
    signal?.throwIfAborted()
    await pause(backOff(delayMs, next - 1), signal)
  }

  async function again<T>(call: () => Promise<T>, options: CallOptions = {}): Promise<T> {
    for (let next = 2; ; next++) {
      try {
        return await call()
      } catch (error) {
        await ready(error, next, options)
      }
    }
  }

  return {
    ...traitsOf(vault),
    prepare: (options) => again(() => vault.prepare(options), options),
    upload: (key, options) => vault.upload(key, options),
    put: (key, bytes, options) => vault.put(key, bytes, options),
    stat: (key, options) => again(() => vault.stat(key, options), options),
    verify: (key, expected, options) => again(() => vault.verify(key, expected, options), options),
    thaw: (key, request, options) => again(() => vault.thaw(key, request, options), options),
    quote: (request) => vault.quote(request),
    thawStates: (keys, options) => again(() => vault.thawStates(keys, options), options),
    sweep: (isDead, options) => vault.sweep(isDead, options),
    close: () => vault.close(),

    async *list(prefix, options = {}) {
      let last = ''
      for (let next = 2; ; next++) {
        try {
          for await (const stored of vault.list(prefix, options)) {
            if (last !== '' && stored.key <= last) continue
            last = stored.key
            next = 2
            yield stored
          }
          return
        } catch (error) {
          await ready(error, next, options)
        }
      }
    },

    async *read(key, range, options = {}) {
      let got = 0
      for (let next = 2; ; next++) {
        try {
          const rest = got === 0 ? range : await restOf(key, range, got, options)
          if (got > 0 && rest?.length === 0) return
          for await (const chunk of vault.read(key, rest, options)) {
            got += chunk.length
            next = 2
            yield chunk
          }
          return
        } catch (error) {
          await ready(error, next, options)
        }
      }
    },
  }

  /** What is still to be read of an object behind `got` bytes. */
  async function restOf(key: string, range: { offset: number; length: number } | undefined, got: number, options: CallOptions) {
    if (range) return { offset: range.offset + got, length: range.length - got }
    const stored = await vault.stat(key, options)
    if (!stored) throw new FirnError('vault-missing', `The vault ${vault.id} has no object ${key} any more.`)
    return { offset: got, length: stored.bytes - got }
  }
}
