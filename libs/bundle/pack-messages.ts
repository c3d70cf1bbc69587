/** What a packing thread and its owner say to each other. */
import type { MessagePort } from 'node:worker_threads'
import type { ErrorCode } from '#libs/errors/errors.js'
import type { Packed, PackRequest } from './pack.js'

/** Slots of the shared state: counts what the thread may wait for; whether to stop; from here on, which buffers are with the owner. */
export const CHANGES = 0
export const STOPPED = 1
export const AWAY = 2

/** Buffers of a packing: one is filled while others are on their way to the vault. */
export const BUFFERS = 4
export const BUFFER_BYTES = 2 ** 20

/** To a thread; `undefined` asks it to end. */
export interface PackTask extends PackRequest {
  readonly state: Int32Array
  readonly port: MessagePort
}

export type FromThread =
  /** `memory`: of that buffer, said once. Handing memory over instead, 1 MiB a message, kept the garbage collectors busy. */
  | { readonly kind: 'chunk'; readonly buffer: number; readonly bytes: number; readonly memory?: SharedArrayBuffer }
  | { readonly kind: 'packed'; readonly packed: Packed }
  /** An error between threads keeps its message, and loses its class and code. */
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string; readonly cause: unknown }
