/** From a plan and the bytes of its tar to the requests of the placing threads. */
import type { Raw } from '#libs/os/raw.js'
import { directoryAt } from './at.js'
import type { Request } from './messages.js'
import { type Piece, type Plan, type Run, runsOf } from './plan.js'

export interface Fed {
  readonly request: Request
  /** The thread that has to have it. Default: any. */
  readonly lane?: number
  /** Everything before it has to be done. */
  readonly afterAll?: true
}

export interface FeedParts {
  readonly job: number
  /** Gives the bytes of a run, in order; the chunks are not kept. */
  readonly bytesOf: (run: Run) => AsyncIterable<Uint8Array>
  /** Memory for the bytes of a request. */
  readonly buffer: () => ArrayBuffer
}

/** Entries without bytes that go in one message. */
const BATCH = 256
/** Directories and symlinks, in their order. */
const FIRST_LANE = 0

export function* looksAt(all: readonly Piece[]): Generator<Fed> {
  for (const pieces of batches(all)) yield { request: { kind: 'look', pieces } }
}

/** All requests of one job, in the order of work: directories, empty files, files as their bytes come, symlinks. */
export async function* workOf(plan: Plan, parts: FeedParts): AsyncGenerator<Fed> {
  const { job } = parts
  for (const directories of batches(plan.directories)) yield { request: { kind: 'work', job, directories }, lane: FIRST_LANE }
  for (const parents of batches(parentsOf(plan.pieces))) yield { request: { kind: 'work', job, parents }, lane: FIRST_LANE }
  yield* afterAll(pieceWork(plan.pieces, parts))
  yield* afterAll(symlinkWork(plan.symlinks, job))
}

/** The first of them waits for everything before. */
async function* afterAll(all: AsyncIterable<Fed> | Iterable<Fed>): AsyncGenerator<Fed> {
  let isFirst = true
  for await (const fed of all) {
    yield isFirst ? { ...fed, afterAll: true } : fed
    isFirst = false
  }
}

function* symlinkWork(all: Plan['symlinks'], job: number): Generator<Fed> {
  for (const symlinks of batches(all)) yield { request: { kind: 'work', job, symlinks }, lane: FIRST_LANE }
}

async function* pieceWork(pieces: readonly Piece[], parts: FeedParts): AsyncGenerator<Fed> {
  for (const empty of batches(pieces.filter(({ size }) => size === 0)))
    yield { request: { kind: 'work', job: parts.job, pieces: empty } }
  let lane = 0
  for (const run of runsOf(pieces)) yield* runWork(run, lane++, parts)
}

/** Where several threads find a directory missing, each would write it down to be finished; one makes them all before. */
function parentsOf(pieces: readonly Piece[]): Raw[] {
  const parents = new Set<Raw>()
  for (const { inodes } of pieces) for (const { names } of inodes) for (const { at } of names) parents.add(directoryAt(at))
  return [...parents]
}

/**
 * Each request has whole pieces, for any thread; a piece that does not fit into what is left of a buffer begins the next one. One that
 * is larger than a buffer has a thread of its own until its end.
 */
async function* runWork(run: Run, lane: number, { job, bytesOf, buffer: take }: FeedParts): AsyncGenerator<Fed> {
  let next = 0
  /** Where the buffer begins in the tar. */
  let offset = run.offset
  let buffer: ArrayBuffer | undefined
  let filled = 0
  /** The end of a large piece that was begun. */
  let openUntil = run.offset

  /** The buffer up to `end`, with the pieces that begin in it; the bytes behind begin the next buffer. */
  function flush(end: number, endOfRun: boolean): Fed {
    const pieces: Piece[] = []
    for (let piece = run.pieces[next]; piece && (endOfRun || piece.offset < end); piece = run.pieces[++next]) pieces.push(piece)
    const isOpen = openUntil > offset
    const last = pieces.at(-1)
    const begins = last !== undefined && !endOfRun && last.offset + last.size > end
    if (begins) openUntil = last.offset + last.size
    const bytes = buffer && { buffer, offset, length: end - offset }
    const rest = offset + filled - end
    const behind = rest > 0 ? take() : undefined
    if (behind && buffer) new Uint8Array(behind).set(new Uint8Array(buffer, end - offset, rest))
    buffer = behind
    filled = rest
    offset = end
    const request: Request = { kind: 'work', job, pieces, ...(bytes && { bytes }), endOfRun }
    return { request, ...((isOpen || begins) && { lane }) }
  }

  /** Where a full buffer is cut: before a piece that is not whole in it and would be in the next one. */
  function cutOf(full: number): number {
    const end = offset + filled
    for (let at = next; ; at++) {
      const piece = run.pieces[at]
      if (piece === undefined || piece.offset >= end) return end
      if (piece.offset + piece.size > end) return piece.size > full ? end : piece.offset
    }
  }

  let missing = run.length
  for await (const chunk of bytesOf(run)) {
    // Copied, since the chunk's memory belongs to the vault; and so that many small chunks are one message.
    const wanted = Math.min(chunk.length, missing)
    for (let done = 0; done < wanted; ) {
      buffer ??= take()
      const part = chunk.subarray(done, Math.min(wanted, done + buffer.byteLength - filled))
      new Uint8Array(buffer).set(part, filled)
      filled += part.length
      done += part.length
      if (filled === buffer.byteLength) yield flush(cutOf(buffer.byteLength), false)
    }
    missing -= wanted
    if (missing === 0) break
  }
  yield flush(offset + filled, true)
}

function* batches<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += BATCH) yield all.slice(from, from + BATCH)
}
