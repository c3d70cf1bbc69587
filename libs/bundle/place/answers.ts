/** What a placing thread does with a request. It handles one after the other, so nothing here runs at the same time as anything else. */
import type { Raw } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'
import { whyNotAt } from './at.js'
import { openChain } from './chain.js'
import { openDresser } from './dress.js'
import { finishDirectory } from './finish.js'
import { openJournal } from './journal.js'
import type { Outcome, Reply, Request, ThreadData } from './messages.js'
import { Obstacle } from './obstacle.js'
import type { Piece } from './plan.js'
import { allFailed, openRestorer, type PieceUnderWay } from './restore.js'
import { stagingNames } from './staging.js'

/** What a job waits to get bytes for. */
interface Job {
  readonly ahead: Piece[]
  now?: { piece: Piece; way: PieceUnderWay }
}

/** Answers each request in turn; what it throws, the thread tells in place of an answer. */
export function openAnswers(data: ThreadData): (request: Request) => Reply {
  const stop = new Int32Array(data.stop)
  const tick = () => {
    if (Atomics.load(stop, 0) !== 0) throw new Obstacle('stopped')
  }
  const journal = openJournal(data.staging)
  const chain = openChain(data.target, journal)
  const dresser = openDresser(data)
  const staging = stagingNames(data.staging, data.owner)
  const restorer = openRestorer({ chain, staging, dresser, overwrite: data.overwrite, tick })
  const jobs = new Map<number, Job>()

  return (request) => {
    // What was seen of the target is believed no longer than one request.
    chain.forget()
    return handle(request)
  }

  function handle(request: Request): Reply {
    switch (request.kind) {
      case 'work':
        return work(request)
      case 'look':
        return { outcomes: request.pieces.flatMap((piece) => piece.inodes.flatMap((inode) => restorer.look(piece, inode))) }
      case 'drop':
        jobs.get(request.job)?.now?.way.giveUp()
        jobs.delete(request.job)
        return {}
      case 'unfinished': {
        const newest = journal.newest()
        if (newest === undefined) return {}
        // The journal is ours, but a crash may have torn a record.
        return { unfinished: { ...newest, ats: newest.ats.filter((at) => whyNotAt(at, data.target.path) === undefined) } }
      }
      case 'finish': {
        const notices = request.directories.flatMap(({ at, dress }) => {
          const notice = finishDirectory({ chain, dresser }, at, dress)
          return notice === undefined ? [] : [{ at, notice }]
        })
        journal.truncate(request.start)
        step('place.journal-shortened')
        return { notices }
      }
      case 'close':
        for (const { now } of jobs.values()) now?.way.giveUp()
        jobs.clear()
        journal.close()
        return {}
      default:
        return request satisfies never
    }
  }

  function work({ job: number, parents, directories, pieces, bytes, endOfRun, symlinks }: Request & { kind: 'work' }): Reply {
    const job = jobs.get(number) ?? { ahead: [] }
    jobs.set(number, job)
    const outcomes: Outcome[] = []
    for (const at of parents ?? []) makeParent(at)
    for (const directory of directories ?? []) outcomes.push(restorer.directory(directory))
    for (const piece of pieces ?? []) job.ahead.push(piece)
    advance(job, bytes ? Buffer.from(bytes.buffer, 0, bytes.length) : Buffer.alloc(0), bytes?.offset ?? 0, outcomes)
    if (endOfRun) endRun(job, outcomes)
    for (const symlink of symlinks ?? []) outcomes.push(restorer.symlink(symlink))
    return { ...told(outcomes), ...(bytes && { buffer: bytes.buffer }) }
  }

  /** What is in its way is said of each entry below it. */
  function makeParent(at: Raw): void {
    try {
      chain.enter(at)
    } catch {
      // It meets each of them again.
    }
  }

  /** Feeds the pieces with the bytes of the tar that begin at `offset`. */
  function advance(job: Job, bytes: Buffer, offset: number, outcomes: Outcome[]): void {
    const end = offset + bytes.length
    let position = offset
    for (;;) {
      if (job.now) {
        const { way } = job.now
        const part = bytes.subarray(position - offset, Math.min(bytes.length, position - offset + way.missing()))
        way.take(part)
        position += part.length
        if (way.missing() > 0) return
        outcomes.push(...way.end())
        delete job.now
      }
      const piece = job.ahead[0]
      if (piece === undefined || (piece.size > 0 && piece.offset >= end)) return
      job.ahead.shift()
      if (piece.size === 0) {
        outcomes.push(...restorer.whole(piece, Buffer.alloc(0)))
        continue
      }
      position = piece.offset
      if (piece.offset + piece.size <= end) {
        const from = position - offset
        outcomes.push(...restorer.whole(piece, bytes.subarray(from, from + piece.size)))
        position += piece.size
      } else job.now = { piece, way: restorer.begin(piece) }
    }
  }

  function endRun(job: Job, outcomes: Outcome[]): void {
    const unfinished = job.ahead.splice(0)
    if (job.now) {
      job.now.way.giveUp()
      unfinished.unshift(job.now.piece)
      delete job.now
    }
    const why = new Obstacle('the vault gave fewer bytes than the bundle has')
    for (const piece of unfinished) outcomes.push(...allFailed(piece.inodes, why))
  }
}

/** Thousands of files of which there is nothing to tell are numbers, not objects. */
function told(outcomes: readonly Outcome[]): Pick<Reply, 'placed' | 'outcomes'> {
  const placed: number[] = []
  const others: Outcome[] = []
  for (const outcome of outcomes) {
    if (outcome.outcome === 'placed' && outcome.notice === undefined) placed.push(outcome.index)
    else others.push(outcome)
  }
  return { placed: Uint32Array.from(placed), outcomes: others }
}
