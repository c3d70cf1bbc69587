/** What a packing thread and its owner say to each other. */
import type { MessagePort } from 'node:worker_threads'
import type { Packed, PackRequest } from './pack.js'

/** Slots of the shared state: buffers on their way back to the thread, and whether to stop. */
export const FREE = 0
export const STOPPED = 1

export interface PackTask extends PackRequest {
  readonly state: Int32Array
  /** Chunks one way, their buffers the other. */
  readonly port: MessagePort
}

export type FromThread =
  | { readonly kind: 'chunk'; readonly chunk: Uint8Array }
  | { readonly kind: 'packed'; readonly packed: Packed }
  | { readonly kind: 'error'; readonly error: unknown }
