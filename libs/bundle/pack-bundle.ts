/**
 * The packing of one bundle, synchronous. Every entry is read as it is now, not as the crawler saw it; what moves while it is read is
 * tried once more at the end, and whatever cannot be read is named. The tar stays valid whatever the files do.
 */
import { errnoOf } from '#libs/errors/errors.js'
import { findHoles } from '#libs/os/libc.js'
import { type Raw, rawFromText } from '#libs/os/raw.js'
import { type HeldEntry, TreeAccess } from '#libs/os/tree-access.js'
import {
  type Entry,
  type EntryState,
  type EntryType,
  type HeldBytes,
  MOST_HOLES,
  type PlannedEntry,
  type Problem,
} from './entry.js'
import { entryLine, headerLine, MANIFEST_NAME } from './manifest.js'
import { openOwnerNames } from './owner-names.js'
import type { Packed, PackRequest } from './pack.js'
import { decodePlan } from './plan.js'
import { copyData, type Digest, type Holes, hashData, readWhole } from './read-data.js'
import { isFresh, isUnmoved, KINDS, type StatNow, statNow } from './stat-now.js'
import { BLOCK, type PreparedHead, padded, prepareHead, writePrepared } from './tar-header.js'
import type { TarSink } from './tar-sink.js'
import { readXattrs, xattrRecords } from './xattrs.js'

/** A tar ends on a whole record of 20 blocks, as every tar writes it. */
const RECORD_BYTES = 20 * BLOCK

const VANISHED = 'vanished before it was read'
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: VANISHED,
  ENOTDIR: VANISHED,
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ELOOP: 'lies behind a symlink now, which is not followed',
  EXDEV: 'does not lie below a root of its set',
  EIO: 'an input/output error',
}

/** A line of the manifest while it is put together: one shape for all, which the engine is fast with. */
type Line = { -readonly [K in keyof Entry]: Entry[K] }

/** What the names of one inode share: the manifest's line of the one that carries the data. */
type Data = Entry & Required<Pick<Entry, 'sha256' | 'offset'>>

/** `checkStopped` throws when the packing is to end; asked between entries and between the steps of a large file. */
export const packBundle = (request: PackRequest, sink: TarSink, checkStopped: () => void): Packed =>
  new BundlePacking(request, sink, checkStopped).run()

/** A class, and not closures made for each bundle: V8 forgets the machine code of closures that nobody has any more. */
class BundlePacking {
  private readonly request: PackRequest
  private readonly sink: TarSink
  private readonly checkStopped: () => void
  private readonly lines: string[]
  private readonly entries: Entry[] = []
  private readonly problems: Problem[] = []
  private readonly names = openOwnerNames()
  private readonly tree: TreeAccess
  /** Data of linked inodes, by the path that the plan calls the first name. */
  private readonly linked = new Map<Raw, Data>()
  private readonly again: PlannedEntry[] = []

  constructor(request: PackRequest, sink: TarSink, checkStopped: () => void) {
    this.request = request
    this.sink = sink
    this.checkStopped = checkStopped
    this.lines = [headerLine(request.header)]
    this.tree = new TreeAccess(request.header.roots, request.realRoots)
  }

  run(): Packed {
    const { sink, entries, problems } = this
    try {
      for (const planned of decodePlan(this.request.plan)) this.packOne(planned, false)
      for (const planned of this.again.splice(0)) this.packOne(planned, true)
    } finally {
      this.tree[Symbol.dispose]()
    }

    const manifest = bytesOf(this.lines)
    writeHead(sink, manifestHead(manifest.length, this.request.header.createdAt))
    sink.write(manifest)
    sink.zeros(padded(manifest.length) - manifest.length + 2 * BLOCK)
    sink.zeros((RECORD_BYTES - (sink.position % RECORD_BYTES)) % RECORD_BYTES)
    const { bytes: tarBytes, sha256: tarSha256 } = sink.end()
    return { tarBytes, tarSha256, manifest, entries, problems }
  }

  private packOne(planned: PlannedEntry, last: boolean): void {
    this.checkStopped()
    try {
      const held = this.tree.hold(planned.path)
      try {
        this.packHeld(planned, held, last)
      } finally {
        held[Symbol.dispose]()
      }
    } catch (error) {
      const code = errnoOf(error)
      if (code === undefined) throw error
      this.fail(planned.path, REASONS[code] ?? code)
    }
  }

  private packHeld(planned: PlannedEntry, held: HeldEntry, last: boolean): void {
    const stat = statNow(held.stat)
    if (planned.type === 'file') this.packFile(planned, held, stat, last)
    else if (planned.type === 'hardlink') this.packLink(planned, held, stat, last)
    else this.packNameless(planned, held, stat)
  }

  /** Symlinks and directories. */
  private packNameless({ path, type }: PlannedEntry, held: HeldEntry, stat: StatNow): void {
    if (stat.type !== type) this.failType(path, type, stat)
    else {
      const line = this.lineOf(path, type, held, stat)
      if (type === 'symlink') line.link = held.readLink()
      writeHead(this.sink, headOf(line, line.link))
      this.write(line)
    }
  }

  /** A further name of an inode: a link to the data, if they are there and still its own; else a file of its own. */
  private packLink(planned: PlannedEntry, held: HeldEntry, stat: StatNow, last: boolean): void {
    const { path } = planned
    const { again } = this
    const first = firstNameOf(planned)
    const data = this.linked.get(first)
    if (data !== undefined && stat.type === 'file' && stat.dev === data.dev && stat.ino === data.ino) {
      // Times and mode are those of the data as they were read: with newer ones, a later run would take old bytes for unchanged.
      const line: Entry = { ...data, path, type: 'hardlink', link: data.path }
      if (data.dataBundle === undefined) writeHead(this.sink, headOf(line, memberName(data.path, 'file')))
      if (data.state === 'changed') this.changed(path)
      this.write(line)
    } else if (!last && again.some((waiting) => firstNameOf(waiting) === first)) again.push(planned)
    else this.packFile({ ...planned, type: 'file' }, held, stat, last)
  }

  private packFile(planned: PlannedEntry, entry: HeldEntry, before: StatNow, last: boolean): void {
    const { sink } = this
    const { path, held } = planned
    if (before.type !== 'file') {
      this.failType(path, 'file', before)
      return
    }
    const fd = entry.read()
    const line = this.lineOf(path, 'file', entry, before)
    const holes = before.sparse ? findHoles(fd, before.size, MOST_HOLES) : NO_HOLES
    if (holes.length > 0 && holes.length <= MOST_HOLES) line.holes = holes
    const head = headOf(line, undefined)
    const started = sink.position
    const stored = this.storeData(fd, head, before.size, holes, held)
    const { digest } = stored
    const whole = digest !== undefined && isUnmoved(fd, before)
    if (stored.held !== undefined) {
      // Nothing was written of it, and its bytes are there even if it moved.
      if (!whole && !last) {
        this.retry(planned, last)
        return
      }
      if (!whole) this.changed(path)
      line.dataBundle = stored.held.bundle
      this.writeData(planned, line, stored.held.sha256, stored.held.offset, whole ? 'ok' : 'changed')
    } else if (whole) this.writeData(planned, line, digest, started + head.bytes, 'ok')
    else if (last && digest !== undefined) {
      this.changed(path)
      this.writeData(planned, line, digest, started + head.bytes, 'changed')
    } else {
      if (!sink.takeBack(started)) this.writeVoid(line, started + head.bytes)
      if (stored.failure !== undefined) throw stored.failure
      this.retry(planned, last)
    }
  }

  /**
   * Writes head and data of a file; or, where they are the bytes that `held` says, nothing. The member is whole whatever happens: without
   * a digest its end is zeros, because the file ended early or could not be read on (`failure`).
   */
  private storeData(
    fd: number,
    head: PreparedHead,
    size: number,
    holes: Holes,
    held: HeldBytes | undefined,
  ): { digest: Digest; held?: HeldBytes; failure?: unknown } {
    const { sink, checkStopped } = this
    const memberBytes = head.bytes + padded(size)
    if (memberBytes <= sink.capacity) {
      sink.reserve(memberBytes)
      const { buffer, at } = sink
      const digest = readWhole(fd, buffer, at + head.bytes, size, at + memberBytes)
      if (held !== undefined && digest === held.sha256) return { digest, held }
      writePrepared(head, buffer, at)
      sink.advance(memberBytes)
      return { digest }
    }
    if (held !== undefined) {
      const digest = hashData(fd, size, holes, checkStopped)
      if (digest === held.sha256) return { digest, held }
    }
    writeHead(sink, head)
    const end = sink.position + padded(size)
    let digest: Digest
    let failure: unknown
    try {
      digest = copyData(fd, sink, size, holes, checkStopped)
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      failure = error
    }
    sink.zeros(end - sink.position)
    return failure === undefined ? { digest } : { digest, failure }
  }

  private lineOf(path: Raw, type: EntryType, entry: HeldEntry, stat: StatNow): Line {
    const line: Line = {
      path,
      type,
      size: stat.size,
      mtimeNs: stat.mtimeNs,
      ctimeNs: stat.ctimeNs,
      atimeNs: stat.atimeNs,
      dev: stat.dev,
      ino: stat.ino,
      nlink: stat.nlink,
      mode: stat.mode,
      uid: stat.uid,
      gid: stat.gid,
      uname: this.names.user(stat.uid),
      gname: this.names.group(stat.gid),
      state: 'ok',
    }
    const xattrs = readXattrs(entry, this.request.keep)
    if (xattrs !== undefined) line.xattrs = xattrs
    return line
  }

  private writeData(planned: PlannedEntry, line: Line, sha256: string, offset: number, state: EntryState): void {
    line.sha256 = sha256
    line.offset = offset
    line.state = state
    if (isFresh(line)) line.fresh = true
    this.write(line)
    if (line.nlink > 1) this.linked.set(firstNameOf(planned), line as Data)
  }

  /** A member that some of went out already, and that is not the file. */
  private writeVoid(line: Line, offset: number): void {
    line.offset = offset
    line.state = 'void'
    this.write(line)
  }

  private write(line: Entry): void {
    this.lines.push(entryLine(line))
    this.entries.push(line)
  }

  private retry(planned: PlannedEntry, last: boolean): void {
    if (last) this.fail(planned.path, 'changed while it was read, twice, and could not be kept')
    else this.again.push(planned)
  }

  private changed(path: Raw): void {
    this.problems.push({ path, kind: 'changed', reason: 'changed while it was read, twice; it is kept as it was read' })
  }

  private failType(path: Raw, was: EntryType, { type }: StatNow): void {
    this.fail(path, `was ${KINDS[was]} and is ${KINDS[type]} now`)
  }

  private fail(path: Raw, reason: string): void {
    this.problems.push({ path, kind: 'failed', reason })
  }
}

/** A thousand at a time: a buffer for each would take longer than all of them, and a text has at most 512 MiB. */
const LINES_AT_ONCE = 1_000

function bytesOf(lines: readonly string[]): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < lines.length; at += LINES_AT_ONCE) parts.push(Buffer.from(lines.slice(at, at + LINES_AT_ONCE).join('')))
  return Buffer.concat(parts)
}

const NO_HOLES: [number, number][] = []

/** The path under which the names of an inode look for its data. */
const firstNameOf = ({ link, path }: PlannedEntry): Raw => link ?? path

/** The tar's head of an entry. `link`: as tars have it, of a hard link without the leading slash. */
const headOf = (line: Entry, link: Raw | undefined): PreparedHead =>
  prepareHead({
    name: memberName(line.path, line.type),
    type: line.type,
    size: line.type === 'file' ? line.size : 0,
    mode: line.mode,
    uid: line.uid,
    gid: line.gid,
    uname: line.uname,
    gname: line.gname,
    mtimeNs: line.mtimeNs,
    link,
    // The member that has the data has the attributes of its inode.
    records: line.xattrs === undefined || line.type === 'hardlink' ? undefined : xattrRecords(line.xattrs),
  })

/** A head with many xattrs may be larger than a buffer. */
function writeHead(sink: TarSink, head: PreparedHead): void {
  if (head.bytes <= sink.capacity) {
    sink.reserve(head.bytes)
    writePrepared(head, sink.buffer, sink.at)
    sink.advance(head.bytes)
  } else {
    const apart = Buffer.alloc(head.bytes)
    writePrepared(head, apart, 0)
    sink.write(apart)
  }
}

/** Relative, as tars have it; `/` itself is `./`. */
function memberName(path: Raw, type: EntryType): Raw {
  if (path === '/') return './' as Raw
  return (type === 'directory' ? `${path.slice(1)}/` : path.slice(1)) as Raw
}

const manifestHead = (size: number, createdAt: Date): PreparedHead =>
  prepareHead({
    name: rawFromText(MANIFEST_NAME),
    type: 'file',
    size,
    mode: 0o644,
    uid: 0,
    gid: 0,
    uname: '',
    gname: '',
    mtimeNs: BigInt(Math.floor(createdAt.getTime() / 1000)) * 1_000_000_000n,
  })
