/**
 * The directory that files are restored into, and whether it can be trusted.
 * All safety against other users of the machine rests on the rule of `followTrusted`: where it holds, looking with lstat and then acting
 * by path is safe; root and we ourselves could do harm, but neither needs us for that.
 */
import { chmodSync, mkdirSync, opendirSync } from 'node:fs'
import { type ErrorCode, errnoOf, FirnError } from '#libs/errors/errors.js'
import { type Raw, rawToBytes, shown } from '#libs/os/raw.js'
import { followTrusted, NotTrusted } from '#libs/os/trusted-path.js'
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

/** Resolves, makes (0700) and judges the target. Throws `target-refused`. */
export function openTarget(asked: Raw): Target {
  if (!asked.startsWith('/') || asked.includes('\0')) throw refused(asked, 'it is not an absolute path')
  try {
    const { path, stat } = followTrusted(asked, (missing) => make(asked, missing))
    if (stat === undefined || !stat.isDirectory()) throw refused(asked, `${shown(path)} is not a directory`)
    return { path, dev: stat.dev, ino: stat.ino, fresh: isEmpty(path) }
  } catch (error) {
    if (error instanceof FirnError) throw error
    throw refused(asked, error instanceof NotTrusted ? error.message : failureOf(error).reason, error)
  }
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
