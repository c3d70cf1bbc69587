/** What a packing thread and its owner say to each other. */
import type { MessagePort } from 'node:worker_threads'
import type { ErrorCode } from '#libs/errors/errors.js'
import type { Packed, PackRequest } from './pack.js'

/** Slots of the shared state: buffers on their way back to the thread, and whether to stop. */
export const FREE = 0
export const STOPPED = 1

/** To a thread; `undefined` asks it to end. */
export interface PackTask extends PackRequest {
  readonly state: Int32Array
  /** Chunks one way, their buffers the other. */
  readonly port: MessagePort
}

export type FromThread =
  | { readonly kind: 'chunk'; readonly chunk: Uint8Array }
  | { readonly kind: 'packed'; readonly packed: Packed }
  /** An error between threads keeps its message, and loses its class and code. */
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string; readonly cause: unknown }
