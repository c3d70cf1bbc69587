/**
 * Placing: brings files back from a tar into a directory. Members never choose where they go or what they are: only what the catalog
 * expects is taken, its bytes are verified before they have a name, and nothing is written outside the target (see place/target.ts
 * for why another user of the machine cannot lead us astray).
 *
 * The work on files is done in a thread (place/thread.ts); this side plans, pulls bytes from the vault and hands them over.
 */
import { isFirnError } from '#libs/errors/errors.js'
import { thisOwner } from '#libs/os/owner.js'
import type { Raw } from '#libs/os/raw.js'
import type { Entry } from './entry.js'
import type { Outcome, Request } from './place/messages.js'
import { failureOf } from './place/obstacle.js'
import { dressOf, type Piece, type Plan, planPlacing, type Run, runsOf, withoutDecided } from './place/plan.js'
import { openStaging, removeStaging } from './place/staging.js'
import { brokenBy, openTarget, troubleOf } from './place/target.js'
import { startThread, type Thread } from './place/thread-client.js'

export interface PlaceOptions {
  /** Absolute directory; made (0700) where it is not there. */
  readonly target: Raw
  /** Names the staging directory `<target>/.firn-<retrievalId>`, by which an interrupted retrieval goes on. */
  readonly retrievalId: string
  /** Replace what stands in a file's place (never a directory). */
  readonly overwrite: boolean
  /** Keep setuid and setgid bits and file capabilities, where owner and group can be restored too. */
  readonly setuid: boolean
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
  /** Leaves the journal for a later run (unless finished); ends the thread. Safe to call twice. */
  close(): Promise<void>
}

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
  const thread = await startThread({ target, staging, owner: thisOwner(), overwrite, setuid })
  let jobs = 0
  /** Whether anything can stand in the target already. */
  let mayBeThere = !target.fresh

  return {
    async *place(entries, read, { signal, tarBytes } = {}) {
      signal?.throwIfAborted()
      const job = ++jobs
      const plan = planPlacing(entries, target.path, tarBytes)
      const resultOf = ({ index, ...outcome }: Outcome): PlaceResult => ({ entry: entries[index] as PlaceEntry, ...outcome })
      const troubleIn = (outcome: Outcome) =>
        outcome.outcome === 'failed' ? troubleOf(target.path, { reason: '', ...outcome }) : undefined
      if (plan.refused.length > 0) yield plan.refused.map((refusal) => resultOf({ ...refusal, outcome: 'failed' }))
      try {
        let { pieces } = plan
        if (mayBeThere && !overwrite) {
          // An interrupted retrieval goes on: what is there already is not read again.
          const decided = new Set<number>()
          for await (const outcomes of inFlight(thread, looksAt(pieces), signal)) {
            for (const { index } of outcomes) decided.add(index)
            if (outcomes.length > 0) yield outcomes.map(resultOf)
          }
          pieces = withoutDecided(pieces, decided)
        }
        for await (const outcomes of inFlight(thread, workOf(job, { ...plan, pieces }, read, thread, signal), signal)) {
          // What did not get in is nobody's failure but the target's: it comes when there is room again.
          const told = outcomes.filter((outcome) => troubleIn(outcome) === undefined)
          if (told.length > 0) yield told.map(resultOf)
          const trouble = outcomes.find((outcome) => troubleIn(outcome) !== undefined)
          if (trouble) throw troubleIn(trouble)
        }
      } catch (error) {
        mayBeThere = true
        throw error
      } finally {
        // Not awaited: the thread comes to it when it is done with what it has. A thread that died has nothing to drop.
        thread.ask({ kind: 'drop', job }).catch(() => {})
      }
    },

    async finish(lookup, { signal, onNotice } = {}) {
      for (;;) {
        signal?.throwIfAborted()
        const { unfinished } = await thread.ask({ kind: 'unfinished' })
        if (unfinished === undefined) break
        const { ats, start } = unfinished
        const known = await lookup(ats)
        signal?.throwIfAborted()
        const directories = ats.map((at) => {
          const entry = known.get(at)
          return { at, ...(entry && { dress: dressOf(entry) }) }
        })
        const { notices = [] } = await thread.ask({ kind: 'finish', start, directories })
        for (const { at, notice } of notices) onNotice?.(at, notice)
      }
      await thread.close()
      answerable(() => removeStaging(staging))
    },

    close: () => thread.close(),
  }
}

/** Messages that wait for the thread or are in its hands: enough that neither side waits for the other. */
const MOST_IN_FLIGHT = 4
/** Entries without bytes that go in one message. */
const BATCH = 256

/** The outcomes of each request, in order. After an error of `requests`, those under way are still answered. */
async function* inFlight(
  thread: Thread,
  requests: AsyncIterable<Request> | Iterable<Request>,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly Outcome[]> {
  const answers: Promise<readonly Outcome[]>[] = []
  const first = async () => (await abortable(answers.shift() as Promise<readonly Outcome[]>, signal)) ?? []
  let failure: { error: unknown } | undefined
  try {
    for await (const request of requests) {
      const answer = thread.ask(request).then(({ outcomes }) => outcomes ?? [])
      answer.catch(() => {}) // awaited below; keeps Node from calling it unhandled meanwhile
      answers.push(answer)
      if (answers.length >= MOST_IN_FLIGHT) yield await first()
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    failure = { error }
  }
  while (answers.length > 0) yield await first()
  if (failure) throw failure.error
}

function* looksAt(all: readonly Piece[]): Generator<Request> {
  for (const pieces of batches(all)) yield { kind: 'look', pieces }
}

/** All requests of one job, in the order of work: directories, empty files, files as their bytes come, symlinks. */
async function* workOf(
  job: number,
  plan: Plan,
  read: ReadRange,
  thread: Thread,
  signal: AbortSignal | undefined,
): AsyncGenerator<Request> {
  for (const directories of batches(plan.directories)) yield { kind: 'work', job, directories }
  for (const pieces of batches(plan.pieces.filter(({ size }) => size === 0))) yield { kind: 'work', job, pieces }
  for (const run of runsOf(plan.pieces)) yield* runWork(job, run, read, thread, signal)
  for (const symlinks of batches(plan.symlinks)) yield { kind: 'work', job, symlinks }
}

async function* runWork(
  job: number,
  run: Run,
  read: ReadRange,
  thread: Thread,
  signal: AbortSignal | undefined,
): AsyncGenerator<Request> {
  let next = 0
  let offset = run.offset
  let buffer: ArrayBuffer | undefined
  let filled = 0

  /** The buffer so far, with the pieces that begin in it. */
  function flush(endOfRun: boolean): Request {
    const end = offset + filled
    const pieces: Piece[] = []
    for (let piece = run.pieces[next]; piece && (endOfRun || piece.offset < end); piece = run.pieces[++next]) pieces.push(piece)
    const bytes = buffer && { buffer, offset, length: filled }
    offset = end
    filled = 0
    buffer = undefined
    return { kind: 'work', job, pieces, ...(bytes && { bytes }), endOfRun }
  }

  let missing = run.length
  for await (const chunk of abortableChunks(read({ offset: run.offset, length: run.length }), signal)) {
    // Copied, since the chunk's memory belongs to the vault; and so that many small chunks are one message.
    const wanted = Math.min(chunk.length, missing)
    for (let done = 0; done < wanted; ) {
      buffer ??= thread.buffer()
      const part = chunk.subarray(done, Math.min(wanted, done + buffer.byteLength - filled))
      new Uint8Array(buffer).set(part, filled)
      filled += part.length
      done += part.length
      if (filled === buffer.byteLength) yield flush(false)
    }
    missing -= wanted
    if (missing === 0) break
  }
  yield flush(true)
}

function* batches<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += BATCH) yield all.slice(from, from + BATCH)
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
