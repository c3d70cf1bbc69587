/** The names in a directory, byte-true, without moving the directory's atime where the system allows that. */
import { closeSync, constants, openSync, readdirSync } from 'node:fs'
import { readDirectoryRecords } from './libc.js'
import { type Raw, rawToBytes } from './raw.js'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NOATIME = 0 } = constants
const OPEN = O_RDONLY | O_DIRECTORY | O_NOFOLLOW

/** Some thousand names a call; used by one listing at a time, as listing is synchronous. */
const records = Buffer.allocUnsafe(256 * 1024)

/** Offsets in `struct linux_dirent64`: inode 8, offset 8, length of the record 2, type 1, then the name up to a NUL. */
const RECORD_LENGTH = 16
const NAME = 19

/** In byte order. One string a name: a directory of a million entries takes some 50 MB while it is walked. */
export function listNames(path: Raw): Raw[] {
  const fd = open(rawToBytes(path))
  const names: Raw[] = []
  try {
    for (;;) {
      const bytes = readDirectoryRecords(fd, records)
      if (bytes === undefined) return (readdirSync(rawToBytes(path), 'latin1') as Raw[]).sort(byBytes)
      if (bytes === 0) return names.sort(byBytes)
      for (let at = 0; at < bytes; at += records.readUInt16LE(at + RECORD_LENGTH)) {
        const name = records.toString('latin1', at + NAME, records.indexOf(0, at + NAME)) as Raw
        if (name !== '.' && name !== '..') names.push(name)
      }
    }
  } finally {
    closeSync(fd)
  }
}

/** O_NOATIME is for the owner and root only: others open without it. */
function open(path: Buffer): number {
  try {
    return openSync(path, OPEN | O_NOATIME)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
    return openSync(path, OPEN)
  }
}

const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
