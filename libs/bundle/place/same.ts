/** Is what stands in an entry's place already what would be restored? Then an interrupted retrieval goes on past it. */
import { createHash } from 'node:crypto'
import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync, readSync } from 'node:fs'
import { type Raw, rawFromBytes, rawToBytes } from '#libs/os/raw.js'

/** Reads a file from its begin, a MiB at a time. */
export function readWhole(
  path: Raw,
  options: { check?: (stat: BigIntStats) => boolean; take: (bytes: Uint8Array) => void },
): boolean {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
  const fd = openSync(rawToBytes(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const stat = fstatSync(fd, { bigint: true })
    if (!stat.isFile() || options.check?.(stat) === false) return false
    const buffer = Buffer.allocUnsafe(1024 * 1024)
    for (let position = 0; ; ) {
      const read = readSync(fd, buffer, 0, buffer.length, position)
      if (read === 0) return true
      options.take(buffer.subarray(0, read))
      position += read
    }
  } finally {
    closeSync(fd)
  }
}

/** Same size, time of modification in nanoseconds, and SHA-256. `tick` is called with every MiB and may throw. */
export function isSameFile(path: Raw, expected: { size: number; mtimeNs: bigint; sha256: string }, tick: () => void): boolean {
  const looksSame = (stat: BigIntStats) => Number(stat.size) === expected.size && stat.mtimeNs === expected.mtimeNs
  const found = lstatSync(rawToBytes(path), { bigint: true })
  if (!found.isFile() || !looksSame(found)) return false
  const hash = createHash('sha256')
  const take = (bytes: Uint8Array) => {
    tick()
    hash.update(bytes)
  }
  // A FIFO that took the file's place meanwhile does not hang the open, and is not the same inode.
  const check = (stat: BigIntStats) => looksSame(stat) && stat.ino === found.ino && stat.dev === found.dev
  return readWhole(path, { check, take }) && hash.digest('hex') === expected.sha256
}

export function isSameSymlink(path: Raw, link: Raw): boolean {
  if (!lstatSync(rawToBytes(path)).isSymbolicLink()) return false
  return rawFromBytes(readlinkSync(rawToBytes(path), { encoding: 'buffer' })) === link
}
