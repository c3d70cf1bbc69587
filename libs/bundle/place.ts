/**
 * Placing: brings files back from a tar into a directory. Members never choose where they go or what they are: only what the catalog
 * expects is taken, its bytes are verified before they have a name, and nothing is written outside the target (see place/target.ts
 * for why another user of the machine cannot lead us astray).
 *
 * The work on files is done in threads (place/thread.ts); this side plans, pulls bytes from the vault and hands them over.
 */
import { isFirnError } from '#libs/errors/errors.js'
import { thisOwner } from '#libs/os/owner.js'
import type { Raw } from '#libs/os/raw.js'
import type { ThreadStarter } from '#libs/os/thread-starter.js'
import type { Entry } from './entry.js'
import { type Fed, looksAt, workOf } from './place/feed.js'
import type { Outcome, Reply } from './place/messages.js'
import { failureOf } from './place/obstacle.js'
import { dressOf, planPlacing, type Run, withoutDecided } from './place/plan.js'
import { openStaging, removeStaging } from './place/staging.js'
import { brokenBy, openTarget, troubleOf } from './place/target.js'
import { placingThreads } from './place/thread-client.js'
import { startThreads, type Threads } from './place/threads.js'

export interface PlaceOptions {
  /** Absolute directory; made (0700) where it is not there. */
  readonly target: Raw
  /** Names the staging directory `<target>/.firn-<retrievalId>`, by which an interrupted retrieval goes on. */
  readonly retrievalId: string
  /** Replace what stands in a file's place (never a directory). */
  readonly overwrite: boolean
  /** Keep setuid and setgid bits and file capabilities, where owner and group can be restored too. */
  readonly setuid: boolean
  /** Made by `placingThreads`: one of them may be waiting already. Default: each is started when it is needed. */
  readonly threads?: ThreadStarter
}

/** An entry and where it goes: `at` is relative to the target (`etc/hosts`, `hostA/etc/hosts`). */
export type PlaceEntry = Entry & { readonly at: Raw }

export interface PlaceResult {
  readonly entry: PlaceEntry
  /** present: the same stands there already. */
  readonly outcome: 'placed' | 'present' | 'failed'
  /** Why it failed: a part of a sentence. */
  readonly reason?: string
  /** The system's code, where a failure has one (`EACCES`). */
  readonly code?: string
  /** It is placed, but something of it could not be restored. */
  readonly notice?: string
}

/** Gives the bytes of a range of the tar, in order. The chunks are not kept. */
export type ReadRange = (range: { offset: number; length: number }) => AsyncIterable<Uint8Array>

export interface Placer {
  /**
   * Places entries whose bytes lie in one tar. Only the bytes needed are read: ascending ranges, near ones joined. Each entry has
   * one result. An error of `read` is thrown after the results of what was placed before it; the rest is left unplaced. So it is when
   * the target takes nothing more (`target-failed`, or `target-refused` where it became read-only).
   * `tarBytes`: entries whose bytes would lie behind it fail by themselves instead of failing the read.
   */
  place(
    entries: readonly PlaceEntry[],
    read: ReadRange,
    options?: { signal?: AbortSignal; tarBytes?: number },
  ): AsyncGenerator<PlaceResult[], void, void>
  /**
   * The directories that this retrieval created get their modes, owners, xattrs and times, the deepest first; those that `lookup`
   * does not know are left 0700. Then the staging directory is removed. May be called again after an error, also by a later run.
   */
  finish(
    lookup: (at: readonly Raw[]) => Promise<ReadonlyMap<Raw, Entry>>,
    options?: { signal?: AbortSignal; onNotice?: (at: Raw, notice: string) => void },
  ): Promise<void>
  /** Leaves the journal for a later run (unless finished); ends the threads. Safe to call twice. */
  close(): Promise<void>
}

export { placingThreads }

/** So many pieces are not worth the start of more threads. */
const FEW = 256
/** Whoever is asked to finish directories goes on where it stood. */
const FINISHER = 0

/** Throws `target-refused`. */
export async function openPlacer(options: PlaceOptions): Promise<Placer> {
  const target = openTarget(options.target)
  /** An error of the system there is the target's as a whole. */
  const answerable = <T>(act: () => T): T => {
    try {
      return act()
    } catch (error) {
      throw isFirnError(error) ? error : brokenBy(target.path, failureOf(error))
    }
  }
  const staging = answerable(() => openStaging(target, options.retrievalId))
  const { overwrite, setuid } = options
  const threads = startThreads(options.threads ?? placingThreads(), { target, staging, owner: thisOwner(), overwrite, setuid })
  let jobs = 0
  /** Whether anything can stand in the target already. */
  let mayBeThere = !target.fresh

  return {
    async *place(entries, read, { signal, tarBytes } = {}) {
      signal?.throwIfAborted()
      const job = ++jobs
      const plan = planPlacing(entries, target.path, tarBytes)
      const resultOf = ({ index, ...outcome }: Outcome): PlaceResult => ({ entry: entries[index] as PlaceEntry, ...outcome })
      const resultsOf = (placed: Uint32Array | undefined, others: readonly Outcome[]): PlaceResult[] => {
        const results = others.map(resultOf)
        for (const index of placed ?? []) results.push({ entry: entries[index] as PlaceEntry, outcome: 'placed' })
        return results
      }
      const troubleIn = (outcome: Outcome) =>
        outcome.outcome === 'failed' ? troubleOf(target.path, { reason: '', ...outcome }) : undefined
      if (plan.refused.length > 0) yield plan.refused.map((refusal) => resultOf({ ...refusal, outcome: 'failed' }))
      try {
        let { pieces } = plan
        if (pieces.length > FEW) threads.grow()
        if (mayBeThere && !overwrite) {
          // An interrupted retrieval goes on: what is there already is not read again.
          const decided = new Set<number>()
          for await (const { outcomes = [] } of inFlight(threads, looksAt(pieces), signal)) {
            for (const { index } of outcomes) decided.add(index)
            if (outcomes.length > 0) yield outcomes.map(resultOf)
          }
          pieces = withoutDecided(pieces, decided)
        }
        const bytesOf = ({ offset, length }: Run) => abortableChunks(read({ offset, length }), signal)
        const work = workOf({ ...plan, pieces }, { job, bytesOf, buffer: threads.buffer })
        for await (const { placed, outcomes = [] } of inFlight(threads, work, signal)) {
          // What did not get in is nobody's failure but the target's: it comes when there is room again.
          const told = resultsOf(
            placed,
            outcomes.filter((outcome) => troubleIn(outcome) === undefined),
          )
          if (told.length > 0) yield told
          const trouble = outcomes.find((outcome) => troubleIn(outcome) !== undefined)
          if (trouble) throw troubleIn(trouble)
        }
      } catch (error) {
        mayBeThere = true
        throw error
      } finally {
        // Not awaited: a thread comes to it when it is done with what it has. One that died has nothing to drop.
        threads.askAll({ kind: 'drop', job }).catch(() => {})
      }
    },

    async finish(lookup, { signal, onNotice } = {}) {
      for (;;) {
        signal?.throwIfAborted()
        const { unfinished } = await threads.ask({ kind: 'unfinished' }, FINISHER)
        if (unfinished === undefined) break
        const { ats, start } = unfinished
        const known = await lookup(ats)
        signal?.throwIfAborted()
        const directories = ats.map((at) => {
          const entry = known.get(at)
          return { at, ...(entry && { dress: dressOf(entry) }) }
        })
        const { notices = [] } = await threads.ask({ kind: 'finish', start, directories }, FINISHER)
        for (const { at, notice } of notices) onNotice?.(at, notice)
      }
      await threads.close()
      answerable(() => removeStaging(staging))
    },

    close: () => threads.close(),
  }
}

/** Requests of each thread that wait for it or are in its hands: enough that neither side waits for the other. */
const MOST_IN_FLIGHT = 4

/** The replies, in the order of the requests. After an error of these, those under way are still answered. */
async function* inFlight(
  threads: Threads,
  requests: AsyncIterable<Fed> | Iterable<Fed>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Reply> {
  const answers: Promise<Reply>[] = []
  const first = () => abortable(answers.shift() as Promise<Reply>, signal)
  let failure: { error: unknown } | undefined
  try {
    for await (const { request, lane, afterAll } of requests) {
      while (afterAll && answers.length > 0) yield await first()
      const answer = threads.ask(request, lane)
      answer.catch(() => {}) // awaited below; keeps Node from calling it unhandled meanwhile
      answers.push(answer)
      if (answers.length >= MOST_IN_FLIGHT * threads.count()) yield await first()
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    failure = { error }
  }
  while (answers.length > 0) yield await first()
  if (failure) throw failure.error
}

/** Like `chunks`, but ends at once when aborted, also while the source does not answer. */
async function* abortableChunks(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]()
  let isOver = false
  try {
    for (;;) {
      const next = await abortable(iterator.next(), signal)
      if (next.done) {
        isOver = true
        return
      }
      yield next.value
    }
  } catch (error) {
    isOver = !signal?.aborted
    throw error
  } finally {
    // Not awaited: a source that hangs would hang us too. It closes what it has open when it can.
    if (!isOver) iterator.return?.()?.catch(() => {})
  }
}

async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  signal.throwIfAborted()
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  promise.catch(() => {})
  try {
    return await Promise.race([promise, aborted])
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort)
  }
}
