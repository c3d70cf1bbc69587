/**
 * The port to the job queue. The queue only wakes people up: state lives in the catalog, payloads are ids, and a job that is lost or
 * runs twice does no harm. The reconciler adds again whatever stands too long.
 */
export interface JobQueue {
  /** Wakes a worker. Adding the same job again while it waits is harmless; adding it after it ran runs it again. */
  add<K extends JobName>(name: K, payload: Jobs[K], options?: { delayMs?: number }): Promise<void>

  /**
   * Runs `handler` for each job of that name, `concurrency` at a time in this process, until the returned worker is stopped.
   * A handler that throws `Postpone` is run again later; one that throws anything else is retried (`attempts` times in all,
   * with back-off) unless the error is final (see `isFinal` in the implementation's options).
   */
  work<K extends JobName>(name: K, handler: JobHandler<K>, options: { concurrency: number }): Promise<QueueWorker>

  /** Jobs that wait, are delayed or run. */
  pending(name: JobName): Promise<number>

  close(): Promise<void>
}

/** What each job carries. Ids only: data would age, leak paths into the queue, and double the truth. */
export interface Jobs {
  'store-bundle': { bundleId: string }
  'index-bundle': { bundleId: string }
  'restore-bundle': { itemId: string }
}

export type JobName = keyof Jobs

export type JobHandler<K extends JobName> = (payload: Jobs[K], context: { signal: AbortSignal }) => Promise<void>

export interface QueueWorker {
  /** Takes no new job, waits `graceMs` for those that run, then aborts their signals and waits for them to return. */
  stop(graceMs: number): Promise<void>
}
