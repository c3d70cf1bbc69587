/**
 * The room that bundles on their way may fill in a vault on a disk, where each lies unfinished until it is whole: the limit of a bundle
 * for each worker, and no more. Many small bundles share it, so that some are packed while others wait for the disk. (What is under way
 * to a remote vault lies in memory, within FIRN_UPLOAD_MEMORY.)
 */
import { budgetOf } from '#libs/vault/budget.js'

export interface Room {
  /** Waits for a share. `limit`: of the bundles of its set; what is larger (a single file) counts as one that fills it. Returns what ends it. */
  enter(bundle: { readonly bytes: number; readonly limit: number }, signal: AbortSignal): Promise<() => void>
}

/** A full bundle; whole numbers, for shares that are given back must add up again. */
const WHOLE = 1_000_000

export function roomFor(workers: number): Room {
  const budget = budgetOf(workers * WHOLE)
  return {
    enter: ({ bytes, limit }, signal) => budget.take(Math.ceil(Math.min(1, bytes / limit) * WHOLE), signal),
  }
}
