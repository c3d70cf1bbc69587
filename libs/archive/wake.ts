/**
 * Mark first, enqueue second: what is to be done stands in the catalog already when a worker is woken. Where the queue is away the call
 * is lost, and the reconciler, which looks every 30 s, makes it again.
 */
import { isFirnError } from '#libs/errors/errors.js'
import type { JobName, JobQueue, Jobs } from '#libs/queue/queue.js'

export interface WakeEvents {
  /** The queue did not take a job; nothing is lost. */
  readonly onQueueTrouble?: (error: unknown) => void
}

export async function wake<K extends JobName>(
  queue: Pick<JobQueue, 'add'>,
  name: K,
  payload: Jobs[K],
  { onQueueTrouble }: WakeEvents,
): Promise<void> {
  try {
    await queue.add(name, payload)
  } catch (error) {
    if (!isFirnError(error, 'try-again', 'database')) throw error
    onQueueTrouble?.(error)
  }
}
