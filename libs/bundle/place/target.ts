/**
 * The directory that files are restored into, and whether it can be trusted.
 *
 * All safety against other users of the machine rests on one rule: every directory from `/` down to the place of a file belongs to
 * root or to us, and nobody else may write to it, unless it is sticky (then others may add names, but not remove or rename ours).
 * Where that holds, no other user can exchange a directory for a symlink between our look at it and our use of it, so looking with
 * lstat and then acting by path is safe; root and we ourselves could do harm, but neither needs us for that.
 */
import { type BigIntStats, chmodSync, lstatSync, mkdirSync, opendirSync, readlinkSync, type Stats } from 'node:fs'
import { type ErrorCode, errnoOf, FirnError } from '#libs/errors/errors.js'
import { joinRaw, parentOf, type Raw, rawFromBytes, rawToBytes, shown } from '#libs/os/raw.js'
import { type Failure, failureOf, isOfDevice } from './obstacle.js'

export interface Target {
  /** Absolute, without symlinks. */
  readonly path: Raw
  /** Which directory it was when it was trusted. */
  readonly dev: number
  readonly ino: number
  /** It was made just now, or is empty: nothing can be there yet. */
  readonly fresh: boolean
}

/** As many symlinks as Linux follows in one path. */
const MOST_SYMLINKS = 40

/** Resolves, makes (0700) and judges the target. Throws `target-refused`. */
export function openTarget(asked: Raw): Target {
  if (!asked.startsWith('/') || asked.includes('\0')) throw refused(asked, 'it is not an absolute path')
  const ahead = asked.split('/').reverse()
  let path = '/' as Raw
  let symlinks = 0
  let fresh = false
  let stat = judged(asked, path, lstatSync('/'))
  while (ahead.length > 0) {
    const name = ahead.pop() as Raw
    if (name === '' || name === '.') continue
    const next = name === '..' ? parentOf(path) : joinRaw(path, name)
    let found = lstatOf(asked, next)
    fresh = found === undefined
    if (found === undefined) {
      make(asked, next)
      found = lstatOf(asked, next)
      if (found === undefined) throw refused(asked, `${shown(next)} vanished`)
    }
    if (found.isSymbolicLink()) {
      // Its directory was judged: nobody but its owner can exchange it, and its owner must be one we trust.
      if (!isOurs(found)) throw refused(asked, `${shown(next)} is a symlink that belongs to another user (${found.uid})`)
      if (++symlinks > MOST_SYMLINKS) throw refused(asked, 'its symlinks lead in a circle')
      const link = rawFromBytes(readlinkSync(rawToBytes(next), { encoding: 'buffer' }))
      ahead.push(...link.split('/').reverse())
      if (link.startsWith('/')) path = '/' as Raw
      continue
    }
    stat = judged(asked, next, found)
    path = next
  }
  return { path, dev: stat.dev, ino: stat.ino, fresh: fresh || isEmpty(path) }
}

/** False also where that cannot be seen: a directory that may be written to and not listed is a target, too. */
function isEmpty(path: Raw): boolean {
  try {
    const directory = opendirSync(rawToBytes(path))
    try {
      return directory.readSync() === null
    } finally {
      directory.closeSync()
    }
  } catch {
    return false
  }
}

/** Why a directory cannot be trusted; undefined where it can. */
export function whyNotTrusted(stat: Stats | BigIntStats): string | undefined {
  if (!isOurs(stat)) return `belongs to another user (${stat.uid})`
  const mode = Number(stat.mode)
  if ((mode & 0o022) !== 0 && (mode & 0o1000) === 0) return 'can be written by other users'
  return undefined
}

/** Whether something belongs to root or to us. */
export const isOurs = (stat: Stats | BigIntStats): boolean => Number(stat.uid) === 0 || isMine(stat)

export const isMine = (stat: Stats | BigIntStats): boolean => Number(stat.uid) === process.geteuid?.()

function judged(asked: Raw, path: Raw, stat: Stats): Stats {
  if (!stat.isDirectory()) throw refused(asked, `${shown(path)} is not a directory`)
  const why = whyNotTrusted(stat)
  if (why !== undefined) throw refused(asked, `${shown(path)} ${why}`)
  return stat
}

function lstatOf(asked: Raw, path: Raw): Stats | undefined {
  try {
    return lstatSync(rawToBytes(path), { throwIfNoEntry: false })
  } catch (error) {
    throw refused(asked, `${shown(path)}: ${failureOf(error).reason}`, error)
  }
}

function make(asked: Raw, path: Raw): void {
  try {
    mkdirSync(rawToBytes(path), 0o700)
    // A umask or an inherited setgid bit may have changed it.
    chmodSync(rawToBytes(path), 0o700)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw refused(asked, `${shown(path)} cannot be made: ${failureOf(error).reason}`, error)
  }
}

export function refused(target: Raw, why: string, cause?: unknown): FirnError {
  const options = cause === undefined ? {} : { cause }
  if (isFull(errnoOf(cause))) return full(target, why, options)
  return new FirnError('target-refused', `Nothing is restored into ${shown(target)}: ${why}.`, options)
}

/** What ends a retrieval though it began well: nothing more can be written, whatever the file. Undefined: it is one entry's concern. */
export const troubleOf = (target: Raw, failure: Failure): FirnError | undefined =>
  isOfDevice(failure.code) ? brokenBy(target, failure) : undefined

/** The same for what no entry can answer for: the journal, the staging directory, the directories at the end. */
export function brokenBy(target: Raw, { reason, code }: Failure): FirnError {
  if (isFull(code)) return full(target, reason)
  return stopped(code === 'EROFS' ? 'target-refused' : 'target-failed', target, reason)
}

const isFull = (code: string | undefined): boolean => code === 'ENOSPC' || code === 'EDQUOT'

const full = (target: Raw, why: string, options: ErrorOptions = {}): FirnError =>
  stopped('target-failed', target, `${why}; make room, and the same command goes on`, options)

const stopped = (code: ErrorCode, target: Raw, why: string, options: ErrorOptions = {}): FirnError =>
  new FirnError(code, `Nothing more is restored into ${shown(target)}: ${why}.`, options)
