import type { FirnError } from '#libs/errors/errors.js'

/**
 * The port to the job queue. The queue only wakes people up: state lives in the catalog, payloads are ids, and a job that is lost or
 * runs twice does no harm. The reconciler adds again whatever stands too long.
 */
export interface JobQueue {
  /**
   * Wakes a worker. Adding the same job again while it waits is harmless, and brings it forward where it was delayed or postponed
   * (`delayMs` aside); while it runs, or after it ran, the job runs once more.
   */
  add<K extends JobName>(name: K, payload: Jobs[K], options?: AddOptions): Promise<void>

  /** The same for many at once, in a few round trips. */
  addMany<K extends JobName>(name: K, payloads: readonly Jobs[K][], options?: AddOptions): Promise<void>

  /**
   * Adds the job every so many milliseconds from now on, until it is asked for with another interval. Asking again changes nothing;
   * the queue keeps it, and a queue that lost it must be asked again. A run that begins while the interval changes may be followed by one
   * that nobody asked for.
   */
  every<K extends JobName>(name: K, payload: Jobs[K], intervalMs: number): Promise<void>

  /** Runs `handler` for each job of that name in this process, until the returned worker is stopped. */
  work<K extends JobName>(name: K, handler: JobHandler<K>, options: WorkOptions<K>): Promise<QueueWorker>

  /** Jobs that wait, are delayed or run. */
  pending(name: JobName): Promise<number>

  /**
   * Jobs for one command's own workers, apart from everybody else's: under the same id (letters, digits, -) there are the same jobs.
   * Disposed of when its workers have stopped: whatever is left in it is forgotten.
   */
  lane(id: string): JobLane

  /** Stops, without grace, the workers that still run, and closes every connection. */
  close(): Promise<void>
}

export interface JobLane extends Pick<JobQueue, 'add' | 'addMany' | 'work'>, AsyncDisposable {}

export interface AddOptions {
  /** Not before so many milliseconds from now. Default 0. */
  readonly delayMs?: number
}

/** What each job carries. Ids only: data would age, leak paths into the queue, and double the truth. */
export interface Jobs {
  'store-bundle': { bundleId: string }
  'index-bundle': { bundleId: string }
  /** There is something new to look at: a retrieval was made, or a thaw is due. */
  'watch-retrievals': Record<string, never>
}

export type JobName = keyof Jobs

/**
 * One run of a job. Throws `Postpone` to be run again later, which uses up no attempt. What else it throws is retried with back-off,
 * a few times in all, unless the error's code says that it would only happen again (jobs.ts).
 * `signal` is aborted when the worker is stopped without more grace, with a reason of code `try-again`: then the job goes back to
 * the queue as if it had not been begun. And when the queue gave the job to somebody else, with a reason of code `lease-lost`.
 */
export type JobHandler<K extends JobName> = (payload: Jobs[K], context: { signal: AbortSignal }) => Promise<void>

export interface WorkOptions<K extends JobName> {
  /** Jobs at a time in this process. */
  readonly concurrency: number
  /**
   * Told of every failure of a job, before the queue hears of it; `final` says that no further attempt follows. It belongs to the
   * job: it may take its time, and must not wait for `stop`, which waits for it.
   */
  readonly onFailed?: (payload: Jobs[K], error: unknown, final: boolean) => void | Promise<void>
  /** Told of what keeps jobs from being had or ended at the moment. The worker goes on by itself. */
  readonly onTrouble?: (error: FirnError) => void
}

export interface QueueWorker {
  /**
   * Takes no new job, waits `graceMs` for those that run, then aborts their signals and waits for them to return.
   * Asked again with less grace, the shorter one counts.
   */
  stop(graceMs: number): Promise<void>
}
