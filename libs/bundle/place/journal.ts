/**
 * The journal of the directories that a retrieval created: it is written before each mkdir and read backwards at the end (children
 * before parents), so that the directories get their metadata also after a crash, and memory does not grow with their number.
 * Each record is a path below the target and a NUL. It is appended in one write, so that two processes do not mix.
 *
 * It is not fsynced, which would cost more than all the rest: after a power cut directories may be unknown and stay 01700.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { joinRaw, type Raw, rawToBytes } from '#libs/os/raw.js'
import { JOURNAL } from './staging.js'

export interface Journal {
  append(at: Raw): void
  /** The newest records, newest first, and where the first of them begins in the journal; undefined when it is empty. */
  newest(): { ats: Raw[]; start: number } | undefined
  /** Forgets everything from `start` on. */
  truncate(start: number): void
  close(): void
}

/** Many records (each at most 4,096 bytes) for one read, few enough for one look-up in the catalog. */
const BLOCK_BYTES = 64 * 1024
const MOST_RECORDS = 500

export function openJournal(staging: Raw): Journal {
  const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW } = constants
  const fd = openSync(rawToBytes(joinRaw(staging, JOURNAL)), O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600)
  closeTornRecord(fd)
  return {
    append(at) {
      const record = Buffer.from(`${at}\0`, 'latin1')
      if (writeSync(fd, record) !== record.length) throw Object.assign(new Error('short write'), { code: 'ENOSPC' })
    },
    newest: () => newest(fd),
    truncate: (start) => ftruncateSync(fd, start),
    close: () => closeSync(fd),
  }
}

/** What a crash cut off becomes a record of its own: it names a directory that is not there or does not bear our mark. */
function closeTornRecord(fd: number): void {
  const { size } = fstatSync(fd)
  if (size === 0) return
  const last = Buffer.alloc(1)
  readSync(fd, last, 0, 1, size - 1)
  if (last[0] !== 0) writeSync(fd, '\0')
}

function newest(fd: number): { ats: Raw[]; start: number } | undefined {
  const { size } = fstatSync(fd)
  if (size === 0) return undefined
  const from = Math.max(0, size - BLOCK_BYTES)
  const block = Buffer.alloc(size - from)
  let read = 0
  while (read < block.length) {
    const more = readSync(fd, block, read, block.length - read, from + read)
    if (more === 0) break
    read += more
  }
  const text = block.toString('latin1', 0, read)
  // A block that begins inside a record leaves that one to the next block. One record that fills it is damage, and goes as a whole.
  const boundary = from === 0 ? 0 : text.indexOf('\0') + 1
  const begin = boundary === text.length ? 0 : boundary
  const records = text.slice(begin).split('\0')
  if (records.at(-1) === '') records.pop()
  const kept = records.slice(-MOST_RECORDS)
  const skipped = records.slice(0, records.length - kept.length).reduce((bytes, record) => bytes + record.length + 1, 0)
  return { ats: kept.reverse() as Raw[], start: from + begin + skipped }
}
