/**
 * Access to what lies below given roots, by descriptor. Every directory on the way is opened in its parent, which is open, and no symlink
 * is followed: the owner of a tree may exchange directories for symlinks at any moment, and still nothing outside the root is looked at,
 * listed, opened or removed. An entry is held (O_PATH) before it is opened, so that no device and no FIFO is ever opened.
 *
 * Systems without /proc (macOS) have no such descriptors: there each directory on the way is looked at first, which leaves a moment between
 * looking and opening.
 */
import { closeSync, constants, existsSync, lstatSync, openSync, readlinkSync, realpathSync, unlinkSync } from 'node:fs'
import { closeOpened, getXattr, getXattrOf, listXattrs, listXattrsOf, openIn, readLinkOf, renameIn, unlinkIn } from './libc.js'
import { listNames, type Names } from './list-names.js'
import { openQuietly } from './open-quietly.js'
import { isWithin, joinRaw, nameOf, parentOf, type Raw, rawFromBytes, rawToBytes } from './raw.js'
import { openStat, type Stat, statIn } from './stat.js'

const { O_DIRECTORY, O_NOFOLLOW } = constants
/** Of <fcntl.h>: the same number on every Linux, and not among Node's constants. */
const O_PATH = 0o10000000

const S_IFREG = 0o100000
const S_IFLNK = 0o120000

/** Longer paths could be neither given back nor restored. <limits.h> */
const PATH_MAX = 4096

/** Open directories of one access: of a deeper path the upper ones are closed, and opened again when the walk comes back to them. */
const MOST_OPEN = 64

/** A directory on the way. `fd` is -1 on systems without such descriptors. */
interface OpenDirectory {
  /** Where it really is. */
  readonly path: Raw
  readonly fd: number
}

/** Where a root really is: the way to it may go through symlinks, the root itself may be one. Throws what `realpathSync` throws. */
export const realRootOf = (root: Raw): Raw =>
  root === '/' ? root : joinRaw(rawFromBytes(realpathSync.native(rawToBytes(parentOf(root)), 'buffer')), nameOf(root))

export class TreeAccess implements Disposable {
  /** Where each root really is, known when it is first needed. */
  private readonly roots: Map<Raw, Raw | undefined>
  /** From `/` down, each in the one before; `/` stays. */
  private readonly chain: OpenDirectory[] = []
  private typed: Raw | undefined
  private directory: OpenDirectory | undefined

  /** `roots`: as the paths of entries begin. `realRoots`: where they were when the set was crawled; undefined: where they are now. */
  constructor(roots: readonly Raw[], realRoots: readonly (Raw | undefined)[] = []) {
    this.roots = new Map(roots.map((root, index) => [root, realRoots[index]]))
  }

  /** What an entry is, no symlink followed. Throws as `lstatSync`; ELOOP if a directory on the way is a symlink. */
  stat(path: Raw): Stat {
    const name = this.enter(path)
    return statIn(this.at.fd, name, place(this.at, name))
  }

  /** The names in a directory. Throws as `readdirSync`; ELOOP if it, or a directory on the way, is a symlink. */
  list(path: Raw): Names {
    this.enter(joinRaw(path, '.' as Raw))
    const { fd, path: real } = this.at
    return fd < 0 ? listNames(real) : listNames(`/proc/self/fd/${fd}` as Raw, { held: true })
  }

  /** Holds an entry, whatever it is, without opening it. Valid until the next call. */
  hold(path: Raw): HeldEntry {
    const name = this.enter(path)
    const at = place(this.at, name)
    if (this.at.fd < 0) return new HeldEntry(-1, at, statIn(-1, name, at))
    const fd = openHeld(this.at, name, O_PATH | O_NOFOLLOW)
    try {
      return new HeldEntry(fd, at, openStat(fd))
    } catch (error) {
      closeHeld(fd)
      throw error
    }
  }

  /** Removes an entry that is not a directory: its name in its parent. */
  unlink(path: Raw): void {
    const name = this.enter(path)
    if (this.at.fd < 0 || !unlinkIn(this.at.fd, name)) unlinkSync(Buffer.from(place(this.at, name), 'latin1'))
  }

  /**
   * Gives an entry another name in its directory. Throws EEXIST where that name is taken, EINVAL or ENOSYS where it cannot be kept from being
   * replaced.
   */
  rename(path: Raw, name: Raw): void {
    const from = this.enter(path)
    if (this.at.fd < 0 || !renameIn(this.at.fd, from, name)) throw failure('ENOSYS', path)
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.chain.splice(0)) closeHeld(fd)
    this.typed = undefined
  }

  private get at(): OpenDirectory {
    return this.directory as OpenDirectory
  }

  /** Makes the entry's parent the current directory; the entry's name in it. */
  private enter(path: Raw): Raw {
    if (path.length >= PATH_MAX) throw failure('ENAMETOOLONG', path)
    const slash = path.lastIndexOf('/')
    // Neighbours have one parent; a root has its own way.
    if (this.typed !== undefined && slash === this.typed.length && path.startsWith(this.typed) && !this.roots.has(path)) {
      return path.slice(slash + 1) as Raw
    }
    const real = this.realPath(path)
    this.typed = undefined
    this.directory = this.descend(real === '/' ? real : parentOf(real))
    if (path !== '/' && !this.roots.has(path)) this.typed = path.slice(0, slash) as Raw
    return real === '/' ? ('.' as Raw) : nameOf(real)
  }

  private realPath(path: Raw): Raw {
    for (let root = path; ; root = parentOf(root)) {
      if (this.roots.has(root)) {
        const real = this.roots.get(root) ?? realRootOf(root)
        this.roots.set(root, real)
        if (path === root) return real
        return joinRaw(real, path.slice(root === '/' ? 1 : root.length + 1) as Raw)
      }
      if (root === '/') throw failure('EXDEV', path)
    }
  }

  private descend(real: Raw): OpenDirectory {
    const { chain } = this
    while (chain.length > 1 && !isWithin(real, (chain.at(-1) as OpenDirectory).path)) closeHeld((chain.pop() as OpenDirectory).fd)
    if (chain.length === 0)
      chain.push({ path: '/' as Raw, fd: hasDescriptors() ? openHeld(undefined, '/' as Raw, O_PATH | O_DIRECTORY) : -1 })
    let at = chain.at(-1) as OpenDirectory
    if (at.path === real) return at
    for (const name of real.slice(at.path === '/' ? 1 : at.path.length + 1).split('/') as Raw[]) {
      at = { path: joinRaw(at.path, name), fd: openDirectory(at, name) }
      chain.push(at)
      if (chain.length > MOST_OPEN) for (const { fd } of chain.splice(1, 1)) closeHeld(fd)
    }
    return at
  }
}

/** An entry that is held: whatever takes its name meanwhile, it is this one that is looked at and read. */
export class HeldEntry implements Disposable {
  readonly stat: Stat
  private readonly fd: number
  private readonly path: string
  private data = -1

  constructor(fd: number, at: string, stat: Stat) {
    this.fd = fd
    this.path = at
    this.stat = stat
  }

  /** Opens it for reading, if it is a regular file (else EINVAL), without moving its atime if that is permitted. Closed with the entry. */
  read(): number {
    if (this.stat.format !== S_IFREG) throw failure('EINVAL', this.path as Raw)
    if (this.fd >= 0) this.data = openQuietly(`/proc/self/fd/${this.fd}` as Raw, { held: true })
    else {
      this.data = openQuietly(this.path as Raw)
      const { dev, ino } = openStat(this.data)
      if (dev !== this.stat.dev || ino !== this.stat.ino) throw failure('ELOOP', this.path as Raw)
    }
    return this.data
  }

  /** The target of a symlink. */
  readLink(): Raw {
    return (this.fd < 0 ? undefined : readLinkOf(this.fd)) ?? (readlinkSync(Buffer.from(this.path, 'latin1'), 'latin1') as Raw)
  }

  listXattrs(): Raw[] {
    const fd = this.data < 0 ? this.fd : this.data
    return fd < 0 ? listXattrs(this.path as Raw) : listXattrsOf(fd)
  }

  /** The raw value, undefined if there is none. */
  getXattr(name: string): Buffer | undefined {
    const fd = this.data < 0 ? this.fd : this.data
    return fd < 0 ? getXattr(this.path as Raw, name) : getXattrOf(fd, name)
  }

  [Symbol.dispose](): void {
    if (this.data >= 0) closeSync(this.data)
    closeHeld(this.fd)
  }
}

let descriptors: boolean | undefined

function hasDescriptors(): boolean {
  descriptors ??= process.platform === 'linux' && existsSync('/proc/self/fd')
  return descriptors
}

/** A path for Node's calls: through the descriptor, if there is one. */
const place = ({ path, fd }: OpenDirectory, name: Raw): string => (fd < 0 ? joinRaw(path, name) : `/proc/self/fd/${fd}/${name}`)

function openDirectory(parent: OpenDirectory, name: Raw): number {
  const at = place(parent, name)
  try {
    if (parent.fd < 0) {
      if (!lstatSync(Buffer.from(at, 'latin1')).isDirectory()) throw failure('ENOTDIR', at as Raw)
      return -1
    }
    return openHeld(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    // The kernel's answer to a symlink here is that it is not a directory.
    const isLink = (error as NodeJS.ErrnoException).code === 'ENOTDIR' && statIn(parent.fd, name, at).format === S_IFLNK
    throw isLink ? failure('ELOOP', at as Raw) : error
  }
}

function openHeld(parent: OpenDirectory | undefined, name: Raw, flags: number): number {
  return openIn(parent?.fd ?? -1, name, flags) ?? openSync(Buffer.from(parent ? place(parent, name) : name, 'latin1'), flags)
}

function closeHeld(fd: number): void {
  if (fd >= 0 && !closeOpened(fd)) closeSync(fd)
}

const failure = (code: string, path: Raw): Error => Object.assign(new Error(`${code}: ${JSON.stringify(path)}`), { code })
