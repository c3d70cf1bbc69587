/** Why one entry could not be placed, in words for its owner. */
import { errnoOf } from '#libs/errors/errors.js'

/** Something about one entry that stops it and nothing else. Many may be thrown where nothing is wrong: none takes down where it was. */
export class Obstacle extends Error {
  constructor(reason: string) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(reason)
    Error.stackTraceLimit = limit
  }
}

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'it is larger than this file system can hold',
  EIO: 'the device failed',
  ENAMETOOLONG: 'its name is too long for this file system',
  EILSEQ: 'this file system refuses its name',
  EINVAL: 'this file system refuses it',
  EISDIR: 'a directory stands in its place',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files',
}

const OF_DEVICE: ReadonlySet<string | undefined> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'])

/** What the device as a whole refuses, which nobody may take for a peculiarity of one entry or attribute. */
export const isOfDevice = (code: string | undefined): boolean => OF_DEVICE.has(code)

export interface Failure {
  /** A part of a sentence: `permission denied`. */
  readonly reason: string
  /** The system's code, where there is one. */
  readonly code?: string
}

export function failureOf(error: unknown): Failure {
  if (error instanceof Obstacle) return { reason: error.message }
  const code = errnoOf(error)
  if (code === undefined) return { reason: error instanceof Error ? error.message : String(error) }
  return { reason: WORDS[code] ?? `the system answered ${code}`, code }
}
