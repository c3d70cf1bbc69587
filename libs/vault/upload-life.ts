/**
 * What every upload goes through, whatever it goes to: it is written, sealed, and then done or gone. Its first failure is said to every
 * later call, its steps do not overtake each other, and the caller's signal ends it as an abort does.
 */
import { FirnError } from '#libs/errors/errors.js'

export interface UploadLife {
  readonly state: UploadState
  /** Aborted when the upload is given up: what is under way need not go on. */
  readonly stopped: AbortSignal
  /** Throws the first failure, and where the upload has ended already. */
  checkUsable(): void
  /** Throws also where the upload is sealed. */
  checkWritable(): void
  /** Steps that asked one after another run so: an abort during `complete` waits, and finds either a whole object or nothing. */
  oneAtATime<T>(step: () => Promise<T>): Promise<T>
  becomes(state: 'sealed' | 'done'): void
  /** Something under way failed: the rest of it stops, and the next call throws the error. */
  note(error: unknown): void
  /** A call failed, and with it the upload: discards it and throws the first failure. */
  fail(error: unknown): Promise<never>
  /** What `Upload.abort` promises. */
  abort(): Promise<void>
}

type UploadState = 'writing' | 'sealed' | 'done' | 'gone'

/** `discard` removes what the vault holds of the upload, and is called at most once; `from` is the state that it is called in. */
export function beginLife(
  key: string,
  signal: AbortSignal | undefined,
  discard: (from: 'writing' | 'sealed') => Promise<void>,
): UploadLife {
  let state: UploadState = 'writing'
  let failure: { error: unknown } | undefined
  let order: Promise<unknown> = Promise.resolve()
  const stop = new AbortController()

  const aborted = () => new FirnError('failed', `The upload of ${key} was aborted.`)

  function oneAtATime<T>(step: () => Promise<T>): Promise<T> {
    const next = order.then(step)
    order = next.catch(() => {})
    return next
  }

  async function end(): Promise<void> {
    if (state === 'done' || state === 'gone') return
    const from = state
    state = 'gone'
    stop.abort(aborted())
    await discard(from)
  }

  const onAbort = () => {
    stop.abort(signal?.reason)
    void oneAtATime(end).catch(() => {})
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  const leaveSignal = () => signal?.removeEventListener('abort', onAbort)

  function checkUsable(): void {
    if (failure) throw failure.error
    signal?.throwIfAborted()
    if (state === 'done') throw new FirnError('failed', `The upload of ${key} is complete already.`)
    if (state === 'gone') throw aborted()
  }

  function note(error: unknown): void {
    failure ??= { error: signal?.aborted ? signal.reason : error }
    stop.abort(failure.error)
  }

  return {
    get state() {
      return state
    },
    stopped: stop.signal,
    checkUsable,
    oneAtATime,
    note,

    checkWritable() {
      checkUsable()
      if (state === 'sealed') throw new FirnError('failed', `The upload of ${key} is sealed already.`)
    },

    becomes(next) {
      state = next
      if (next === 'done') leaveSignal()
    },

    async fail(error) {
      note(error)
      leaveSignal()
      await end().catch(() => {})
      throw failure?.error
    },

    abort() {
      // What is under way need not be waited for, unless it is the last step, which may be happening.
      if (state === 'writing') stop.abort(aborted())
      return oneAtATime(async () => {
        leaveSignal()
        await end()
      })
    },
  }
}
