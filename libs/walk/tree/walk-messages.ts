/** What the walking thread and its reader say to each other. */
import type { MessagePort } from 'node:worker_threads'
import type { Problem } from '#libs/bundle/entry.js'
import type { NameRange } from '#libs/bundle/name-ranges.js'
import type { Raw } from '#libs/os/raw.js'
import type { Listing, WalkRequest } from '../source.js'

/** Slots of the shared state: how many more pages may be posted, and whether to stop. */
export const PAGES = 0
export const STOPPED = 1

/** Pages that the thread may be ahead. */
export const PAGES_AHEAD = 4

export interface WalkThreadData {
  readonly request: WalkRequest
  readonly state: Int32Array
  readonly port: MessagePort
}

export type WalkMessage =
  | {
      readonly kind: 'page'
      readonly plan: Uint8Array
      readonly ranges: NameRange[]
      readonly problems: Problem[]
      readonly leftOut: Raw[]
      readonly listings: Listing[]
      readonly found: number
    }
  | { readonly kind: 'end' }
  | { readonly kind: 'error'; readonly error: unknown }
