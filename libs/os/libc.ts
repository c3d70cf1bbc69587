/**
 * System calls that Node lacks, from the machine's own libc: times in nanoseconds, extended attributes, holes, locks. The one door to
 * koffi. Where it does not load (another platform, a build without it) Firn goes on with what Node can do, and says so once.
 */
import { closeSync, constants, lutimesSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { getSystemErrorName } from 'node:util'
import { type FileLock, LOCK_POLL_MS, lockByOwnerFile } from './file-lock.js'
import { type Raw, rawToBytes } from './raw.js'

interface Libc {
  utimensat(dirfd: number, path: Buffer, times: Buffer, flags: number): number
  llistxattr(path: Buffer, list: Buffer, bytes: number): number
  lgetxattr(path: Buffer, name: Buffer, value: Buffer, bytes: number): number
  lsetxattr(path: Buffer, name: Buffer, value: Buffer, bytes: number, flags: number): number
  lseek(fd: number, offset: number, whence: number): number
  flock(fd: number, operation: number): number
  fcntl(fd: number, command: number, argument: number): number
  /** glibc has it since 2.30. */
  getdents64?(fd: number, buffer: Buffer, bytes: number): number
  /** glibc has it since 2.28, musl since 1.2.5. */
  statx?(dirfd: number, path: Buffer, flags: number, mask: number, answer: Buffer): number
  renameat2?(fromFd: number, from: Buffer, toFd: number, to: Buffer, flags: number): number
  openat(dirfd: number, path: Buffer, flags: number, mode: number): number
  close(fd: number): number
  readlinkat(dirfd: number, path: Buffer, target: Buffer, bytes: number): number
  unlinkat(dirfd: number, path: Buffer, flags: number): number
  flistxattr(fd: number, list: Buffer, bytes: number): number
  fgetxattr(fd: number, name: Buffer, value: Buffer, bytes: number): number
  listxattr(path: Buffer, list: Buffer, bytes: number): number
  getxattr(path: Buffer, name: Buffer, value: Buffer, bytes: number): number
  errno(): number
}

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_NO_AUTOMOUNT = 0x800
const AT_EMPTY_PATH = 0x1000
const STATX_BASIC_STATS = 0x7ff
const PATH_MAX = 4096
/** Of <fcntl.h>, the same on every Linux. */
const O_CLOEXEC = 0o2000000
const SEEK_DATA = 3
const SEEK_HOLE = 4
const F_SETLEASE = 1024
const F_GETLEASE = 1025
const F_RDLCK = 0
const LOCK_EX = 2
const LOCK_NB = 4

let loaded: Libc | undefined
let notice: string | undefined

/** Loads at the first call: 15 ms that `--help` need not wait for. */
function libc(): Libc | undefined {
  if (loaded !== undefined || notice !== undefined) return loaded
  if (process.platform !== 'linux') {
    notice = `On ${process.platform} times are kept to the microsecond, and extended attributes and holes are not kept.`
    return undefined
  }
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
    const self = koffi.load(null) // libc is loaded already, whatever its name
    loaded = {
      utimensat: self.func('int utimensat(int dirfd, const uint8_t *path, const uint8_t *times, int flags)'),
      llistxattr: self.func('intptr_t llistxattr(const uint8_t *path, _Out_ uint8_t *list, uintptr_t size)'),
      lgetxattr: self.func('intptr_t lgetxattr(const uint8_t *path, const uint8_t *name, _Out_ uint8_t *value, uintptr_t size)'),
      lsetxattr: self.func(
        'int lsetxattr(const uint8_t *path, const uint8_t *name, const uint8_t *value, uintptr_t size, int flags)',
      ),
      lseek: self.func('int64_t lseek(int fd, int64_t offset, int whence)'),
      flock: self.func('int flock(int fd, int operation)'),
      // Variadic in C; Linux passes the last argument of this and of openat as it passes a named one.
      fcntl: self.func('int fcntl(int fd, int command, int argument)'),
      openat: self.func('int openat(int dirfd, const uint8_t *path, int flags, unsigned int mode)'),
      close: self.func('int close(int fd)'),
      readlinkat: self.func('intptr_t readlinkat(int dirfd, const uint8_t *path, _Out_ uint8_t *target, uintptr_t size)'),
      unlinkat: self.func('int unlinkat(int dirfd, const uint8_t *path, int flags)'),
      flistxattr: self.func('intptr_t flistxattr(int fd, _Out_ uint8_t *list, uintptr_t size)'),
      fgetxattr: self.func('intptr_t fgetxattr(int fd, const uint8_t *name, _Out_ uint8_t *value, uintptr_t size)'),
      listxattr: self.func('intptr_t listxattr(const uint8_t *path, _Out_ uint8_t *list, uintptr_t size)'),
      getxattr: self.func('intptr_t getxattr(const uint8_t *path, const uint8_t *name, _Out_ uint8_t *value, uintptr_t size)'),
      errno: () => koffi.errno(),
    } as Libc
    try {
      loaded.getdents64 = self.func('intptr_t getdents64(int fd, _Out_ uint8_t *buffer, uintptr_t size)') as never
    } catch {
      // directories are read in Node's way, which may move their atime
    }
    try {
      loaded.statx = self.func(
        'int statx(int dirfd, const uint8_t *path, int flags, unsigned int mask, _Out_ uint8_t *answer)',
      ) as never
    } catch {
      // entries are looked at in Node's way
    }
    try {
      loaded.renameat2 = self.func(
        'int renameat2(int fromfd, const uint8_t *from, int tofd, const uint8_t *to, unsigned int flags)',
      ) as never
    } catch {
      // nothing is moved aside
    }
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error)
    notice = `koffi does not load (${why}): times are kept to the microsecond, and extended attributes and holes are not kept.`
  }
  return loaded
}

/** One sentence for people where system calls are missing, else undefined. */
export function libcNotice(): string | undefined {
  libc()
  return notice
}

/** Sets atime and mtime of the entry itself, never of what a symlink points to. Nanoseconds since 1970, also negative. */
export function setTimes(path: Raw, atimeNs: bigint, mtimeNs: bigint): void {
  const c = libc()
  if (c === undefined) {
    // As text: for a negative number Node would take the time of now.
    const seconds = (ns: bigint) => String(Number(ns / 1000n) / 1e6)
    lutimesSync(rawToBytes(path), seconds(atimeNs), seconds(mtimeNs))
    return
  }
  const times = Buffer.alloc(32)
  writeTimespec(times, 0, atimeNs)
  writeTimespec(times, 16, mtimeNs)
  if (c.utimensat(AT_FDCWD, terminated(path), times, AT_SYMLINK_NOFOLLOW) < 0) throw failure(c, 'utimensat', path)
}

/** Seconds round down, so that the nanoseconds are never negative. */
function writeTimespec(buffer: Buffer, at: number, ns: bigint): void {
  const nanoseconds = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
  buffer.writeBigInt64LE((ns - nanoseconds) / 1_000_000_000n, at)
  buffer.writeBigInt64LE(nanoseconds, at + 8)
}

/** Names of the extended attributes of the entry itself; none where the file system has none. */
export function listXattrs(path: Raw): Raw[] {
  const c = libc()
  return c === undefined ? [] : namesIn(grown(c, 'llistxattr', path, (list) => c.llistxattr(terminated(path), list, list.length)))
}

/** The raw value, or undefined where there is none. `name`: one character a byte. */
export function getXattr(path: Raw, name: string): Buffer | undefined {
  const c = libc()
  if (c === undefined) return undefined
  return grown(c, 'lgetxattr', path, (value) => c.lgetxattr(terminated(path), terminated(name), value, value.length))
}

/** The same of what a descriptor holds, also one opened with O_PATH. */
export function listXattrsOf(fd: number): Raw[] {
  const c = libc()
  if (c === undefined) return []
  const held = heldPath(fd)
  const list = (buffer: Buffer) => {
    const bytes = c.flistxattr(fd, buffer, buffer.length)
    // O_PATH takes no call but by its place in /proc, which leads to the entry itself, a symlink too.
    return bytes < 0 && errnoName(c) === 'EBADF' ? c.listxattr(terminated(held), buffer, buffer.length) : bytes
  }
  return namesIn(grown(c, 'flistxattr', held, list))
}

/** The same of what a descriptor holds, also one opened with O_PATH. */
export function getXattrOf(fd: number, name: string): Buffer | undefined {
  const c = libc()
  if (c === undefined) return undefined
  const held = heldPath(fd)
  const key = terminated(name)
  return grown(c, 'fgetxattr', held, (value) => {
    const bytes = c.fgetxattr(fd, key, value, value.length)
    return bytes < 0 && errnoName(c) === 'EBADF' ? c.getxattr(terminated(held), key, value, value.length) : bytes
  })
}

const heldPath = (fd: number): Raw => `/proc/self/fd/${fd}` as Raw

const namesIn = (list: Buffer | undefined): Raw[] =>
  list === undefined || list.length === 0 ? [] : (list.toString('latin1', 0, list.length - 1).split('\0') as Raw[])

export function setXattr(path: Raw, name: string, value: Buffer): void {
  const c = libc()
  if (c === undefined) throw Object.assign(new Error(`ENOTSUP: ${notice}`), { code: 'ENOTSUP', syscall: 'lsetxattr' })
  const { length } = value
  // An empty value still needs an address to point at.
  const bytes = length === 0 ? Buffer.alloc(1) : value
  if (c.lsetxattr(terminated(path), terminated(name), bytes, length, 0) < 0) throw failure(c, 'lsetxattr', path)
}

/** Most lists and values fit at once; Linux allows 64 KiB each. */
const SIZES = [1024, 65_536]
const first = Buffer.alloc(1024)
const NOTHING = Buffer.alloc(0)

function grown(c: Libc, call: string, path: Raw, get: (buffer: Buffer) => number): Buffer | undefined {
  for (const size of SIZES) {
    // Nearly all have none: that costs no memory of its own.
    const buffer = size === SIZES[0] ? first : Buffer.alloc(size)
    const bytes = Number(get(buffer))
    if (bytes >= 0) return bytes === 0 ? NOTHING : Buffer.from(buffer.subarray(0, bytes))
    const code = errnoName(c)
    if (code === 'ENODATA' || code === 'ENOTSUP' || code === 'EOPNOTSUPP') return undefined
    if (code !== 'ERANGE' || size === SIZES.at(-1)) throw failure(c, call, path)
  }
  return undefined
}

/**
 * The holes of an open file of `size` bytes, [offset, length], ascending; none where the file system does not tell. The search ends after
 * one more than `most`; default: no limit.
 */
export function findHoles(fd: number, size: number, most = Number.POSITIVE_INFINITY): [number, number][] {
  const c = libc()
  const holes: [number, number][] = []
  if (c === undefined) return holes
  for (let at = 0; at < size && holes.length <= most; ) {
    const hole = Number(c.lseek(fd, at, SEEK_HOLE))
    if (hole < 0 || hole >= size) return holes
    const data = Number(c.lseek(fd, hole, SEEK_DATA))
    // ENXIO: no data follows, the hole goes on to the end.
    const end = data < 0 || data > size ? size : data
    // Written to meanwhile: no hole any more.
    if (end > hole) holes.push([hole, end - hole])
    at = Math.max(end, hole + 1)
  }
  return holes
}

/**
 * The next records of an open directory (`struct linux_dirent64`) into the buffer; how many bytes, 0 at the end. Undefined where this
 * cannot be had.
 */
export function readDirectoryRecords(fd: number, buffer: Buffer): number | undefined {
  const c = libc()
  if (c?.getdents64 === undefined) return undefined
  const bytes = Number(c.getdents64(fd, buffer, buffer.length))
  if (bytes < 0) throw failure(c, 'getdents64', '' as Raw)
  return bytes
}

/** The path of one look at a time: 100,000 looks need not make 100,000 buffers. */
const pathBytes = Buffer.allocUnsafe(PATH_MAX)

/**
 * What is there itself, no symlink followed, as `struct statx` into the buffer of 256 bytes. `directory`: descriptor of the directory that
 * a relative path starts from. False if the answer cannot be had.
 */
export function statx(path: Raw, answer: Buffer, directory = AT_FDCWD): boolean {
  const c = libc()
  if (c?.statx === undefined || path.length >= PATH_MAX || path.includes('\0')) return false
  pathBytes[pathBytes.write(path, 'latin1')] = 0
  return c.statx(directory, pathBytes, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, answer) === 0
}

/** Closes what `openIn` opened: in a thread, Node warns of descriptors that it did not open itself. False if the call cannot be had. */
export function closeOpened(fd: number): boolean {
  const c = libc()
  c?.close(fd)
  return c !== undefined
}

/** Opens a name in an open directory, for `closeOpened`. Throws what `openSync` throws; undefined if the call cannot be had. */
export function openIn(directory: number, name: Raw, flags: number): number | undefined {
  const c = libc()
  if (c === undefined) return undefined
  // As Node opens: a program that is started must not keep directories of a tree open.
  const fd = c.openat(directory, terminated(name), flags | O_CLOEXEC, 0)
  if (fd < 0) throw failure(c, 'openat', name)
  return fd
}

/** The target of a symlink that a descriptor (O_PATH) holds; undefined if the call cannot be had. */
export function readLinkOf(fd: number): Raw | undefined {
  const c = libc()
  if (c === undefined) return undefined
  const target = Buffer.alloc(PATH_MAX)
  const bytes = Number(c.readlinkat(fd, EMPTY_PATH, target, target.length))
  if (bytes < 0) throw failure(c, 'readlinkat', heldPath(fd))
  return target.toString('latin1', 0, bytes) as Raw
}

/** Removes a name, not a directory's, from an open directory. False if the call cannot be had. */
export function unlinkIn(directory: number, name: Raw): boolean {
  const c = libc()
  if (c === undefined) return false
  if (c.unlinkat(directory, terminated(name), 0) < 0) throw failure(c, 'unlinkat', name)
  return true
}

/** Of <linux/fs.h>: refuse with EEXIST where the new name is taken. */
const RENAME_NOREPLACE = 1

/**
 * Gives a name of an open directory another name there, which must be free. Throws EEXIST where it is not, EINVAL where the file system cannot
 * promise that; false if the call cannot be had.
 */
export function renameIn(directory: number, from: Raw, to: Raw): boolean {
  const c = libc()
  if (c?.renameat2 === undefined) return false
  if (c.renameat2(directory, terminated(from), directory, terminated(to), RENAME_NOREPLACE) < 0)
    throw failure(c, 'renameat2', from)
  return true
}

const EMPTY_PATH = Buffer.from([0])

/** The same of an open file. */
export function statxOpen(fd: number, answer: Buffer): boolean {
  const c = libc()
  if (c?.statx === undefined) return false
  return c.statx(fd, EMPTY_PATH, AT_EMPTY_PATH, STATX_BASIC_STATS, answer) === 0
}

/** An exclusive lock on a file (made where it is not there), waited for; the kernel frees it when the process ends. */
export async function flock(path: string, options: { signal?: AbortSignal } = {}): Promise<FileLock> {
  const c = libc()
  if (c === undefined) return lockByOwnerFile(path, options)
  options.signal?.throwIfAborted()
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    while (c.flock(fd, LOCK_EX | LOCK_NB) < 0) {
      const code = errnoName(c)
      if (code !== 'EAGAIN' && code !== 'EWOULDBLOCK' && code !== 'EINTR') throw failure(c, 'flock', path as Raw)
      await sleep(LOCK_POLL_MS, undefined, options)
    }
  } catch (error) {
    closeSync(fd)
    throw error
  }
  let held = true
  return {
    release() {
      if (!held) return
      held = false
      try {
        closeSync(fd)
      } catch {
        // The lock ends with its descriptor, and that is gone whatever a failing disk has to say.
      }
    },
  }
}

/** As libc takes it: up to a NUL. One inside would cut it short and mean something else. */
function terminated(text: string, encoding: 'latin1' | 'utf8' = 'latin1'): Buffer {
  if (text.includes('\0')) throw Object.assign(new Error(`EINVAL: a NUL in ${JSON.stringify(text)}`), { code: 'EINVAL' })
  return Buffer.from(`${text}\0`, encoding)
}

const errnoName = (c: Libc): string => getSystemErrorName(-c.errno())

function failure(c: Libc, call: string, path: Raw): Error {
  const code = errnoName(c)
  return Object.assign(new Error(`${code}: ${call} ${JSON.stringify(path)}`), { code, syscall: call })
}

const ignore = () => {}

/**
 * A read lease on a file that is open for reading: while it is held nobody has the file open for writing, or mapped so, and who opens it for
 * that breaks the lease, which `holdsReadLease` tells. `written`: somebody has it open for writing. Undefined: there is no lease to be had (the
 * file system has none, or the file is another user's). It ends with the descriptor.
 */
export function takeReadLease(fd: number): 'taken' | 'written' | undefined {
  const system = libc()
  if (system === undefined) return undefined
  // The kernel tells a holder by this signal that its lease breaks, and it would end the process.
  if (!process.listeners('SIGIO').includes(ignore)) process.on('SIGIO', ignore)
  if (system.fcntl(fd, F_SETLEASE, F_RDLCK) === 0) return 'taken'
  return errnoName(system) === 'EAGAIN' ? 'written' : undefined
}

export const holdsReadLease = (fd: number): boolean => libc()?.fcntl(fd, F_GETLEASE, 0) === F_RDLCK
