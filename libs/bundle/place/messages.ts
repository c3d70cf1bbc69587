/** What the main thread and the placing thread say to each other. Each request has one reply. */
import type { Raw } from '#libs/os/raw.js'
import type { Dress } from './dress.js'
import type { Name, Piece, Symlink } from './plan.js'
import type { Target } from './target.js'

/** The first message to the thread. */
export interface ThreadData {
  readonly target: Target
  readonly staging: Raw
  /** Begins the names of staged files. */
  readonly owner: string
  readonly overwrite: boolean
  readonly setuid: boolean
  /** One Int32; not 0: stop as soon as possible. */
  readonly stop: SharedArrayBuffer
}

export type Request =
  /** A part of the work of one `place`. Everything in it is optional; the order is the order of the fields. */
  | {
      readonly kind: 'work'
      readonly job: number
      /** Directories that are made where they are missing, before any other thread needs them. */
      readonly parents?: readonly Raw[]
      readonly directories?: readonly Name[]
      /** Pieces that begin in `bytes`, by offset; or empty ones. */
      readonly pieces?: readonly Piece[]
      /** `length` bytes of the tar, from `offset`. */
      readonly bytes?: { readonly buffer: ArrayBuffer; readonly offset: number; readonly length: number }
      /** A read is over: what is not whole now never will be. */
      readonly endOfRun?: boolean
      readonly symlinks?: readonly Symlink[]
    }
  /** Which inodes stand in their places already, or cannot because of what does? Answers for these only. */
  | { readonly kind: 'look'; readonly pieces: readonly Piece[] }
  /** The job is over or given up. */
  | { readonly kind: 'drop'; readonly job: number }
  /** Which created directories come next, the deepest first? */
  | { readonly kind: 'unfinished' }
  | { readonly kind: 'finish'; readonly start: number; readonly directories: readonly { at: Raw; dress?: Dress }[] }
  /** Gives up all jobs and closes. */
  | { readonly kind: 'close' }

export interface Outcome {
  readonly index: number
  readonly outcome: 'placed' | 'present' | 'failed'
  readonly reason?: string
  readonly code?: string
  readonly notice?: string
}

export interface Reply {
  /** The indexes of what was placed, with nothing to tell about it. */
  readonly placed?: Uint32Array
  /** Of all others. */
  readonly outcomes?: readonly Outcome[]
  /** The memory of `bytes`, for use again. */
  readonly buffer?: ArrayBuffer
  readonly unfinished?: { readonly ats: readonly Raw[]; readonly start: number }
  readonly notices?: readonly { at: Raw; notice: string }[]
}
