/**
 * The packing of one bundle, synchronous. Every entry is read as it is now, not as the crawler saw it; what moves while it is read is
 * tried once more at the end, and whatever cannot be read is named. The tar stays valid whatever the files do.
 */
import { closeSync, readlinkSync } from 'node:fs'
import { errnoOf } from '#libs/errors/errors.js'
import { findHoles } from '#libs/os/libc.js'
import { openQuietly } from '#libs/os/open-quietly.js'
import { type Raw, rawFromText, rawToBytes } from '#libs/os/raw.js'
import type { Entry, EntryType, HeldBytes, PlannedEntry, Problem } from './entry.js'
import { entryLine, headerLine, MANIFEST_NAME } from './manifest.js'
import { openOwnerNames } from './owner-names.js'
import type { Packed, PackRequest } from './pack.js'
import { decodePlan } from './plan.js'
import { copyData, type Digest, hashData, readWhole } from './read-data.js'
import { fstatNow, KINDS, lstatNow, type StatNow, unmoved } from './stat-now.js'
import { BLOCK, type MemberHead, type PreparedHead, padded, prepareHead } from './tar-header.js'
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
  ELOOP: 'was a file and is a symlink now',
  ENXIO: 'was a file and is a special file now',
  EIO: 'an input/output error',
}

/** What the names of one inode share: the manifest's line of the first. */
type Data = Entry & Required<Pick<Entry, 'sha256' | 'offset'>>

/** `checkStopped` throws when the packing is to end; asked between entries and between the steps of a large file. */
export function packBundle(request: PackRequest, sink: TarSink, checkStopped: () => void): Packed {
  const { header, keep } = request
  const lines = [headerLine(header)]
  const problems: Problem[] = []
  const names = openOwnerNames()
  /** Data of linked inodes, by the path that the plan calls the first name. */
  const linked = new Map<Raw, Data>()
  let again: PlannedEntry[] = []

  const fail = (path: Raw, reason: string) => problems.push({ path, kind: 'failed', reason })
  const write = (entry: Entry) => lines.push(entryLine(entry))

  /** The manifest's line and the tar's head of an entry without data as it is now. */
  const describe = (path: Raw, type: EntryType, { size, ...stat }: StatNow, link?: Raw): { entry: Entry; head: PreparedHead } => {
    const xattrs = type === 'hardlink' ? undefined : readXattrs(path, keep)
    const entry: Entry = {
      ...plain(stat),
      path,
      type,
      size,
      ...names.of(stat),
      ...(link !== undefined && { link }),
      ...(xattrs && { xattrs }),
      state: 'ok',
    }
    const head: MemberHead = {
      ...entry,
      name: memberName(path, type),
      size: type === 'file' ? size : 0,
      ...(link !== undefined && { link: type === 'hardlink' ? memberName(link, type) : link }),
      ...(xattrs && { records: xattrRecords(xattrs) }),
    }
    return { entry, head: prepareHead(head) }
  }

  const packNameless = ({ path, type }: PlannedEntry): void => {
    const stat = lstatNow(path)
    if (stat === undefined) fail(path, VANISHED)
    else if (stat.type !== type) fail(path, `was ${KINDS[type]} and is ${KINDS[stat.type]} now`)
    else {
      const link = type === 'symlink' ? (readlinkSync(rawToBytes(path), 'latin1') as Raw) : undefined
      const { entry, head } = describe(path, type, stat, link)
      writeHead(sink, head)
      write(entry)
    }
  }

  /** A further name of an inode: a link to the data, if they are there and still its own; else a file of its own. */
  const packLink = (planned: PlannedEntry, last: boolean): void => {
    const { path } = planned
    const first = planned.link ?? path
    const data = linked.get(first)
    const stat = lstatNow(path)
    if (stat === undefined) fail(path, VANISHED)
    else if (data !== undefined && stat.type === 'file' && stat.dev === data.dev && stat.ino === data.ino) {
      const { entry, head } = describe(path, 'hardlink', { ...stat, size: data.size }, data.path)
      if (data.dataBundle === undefined) writeHead(sink, head)
      const { sha256, offset, dataBundle, holes, state } = data
      write({ ...entry, sha256, offset, ...(dataBundle !== undefined && { dataBundle }), ...(holes && { holes }), state })
    } else if (!last && again.some((waiting) => waiting.path === first)) again.push(planned)
    else packFile({ ...planned, type: 'file' }, first, last)
  }

  /** `first`: the path under which the other names of its inode look for its data. */
  const packFile = (planned: PlannedEntry, first: Raw, last: boolean): void => {
    const { path, held } = planned
    const fd = openQuietly(path)
    try {
      const { sparse, ...before } = fstatNow(fd)
      if (before.type !== 'file') {
        fail(path, `was a file and is ${KINDS[before.type]} now`)
        return
      }
      const holes = sparse ? findHoles(fd, before.size) : []
      const described = describe(path, 'file', before)
      const entry: Entry = { ...described.entry, ...(holes.length > 0 && { holes }) }
      const done = (line: Data) => {
        write(line)
        if (before.nlink > 1) linked.set(first, line)
      }
      const started = sink.position
      const stored = storeData(fd, described.head, before.size, holes, held)
      const changed = stored.digest === undefined || !unmoved(before, fstatNow(fd))
      if (stored.digest !== undefined && stored.held !== undefined && !changed) {
        const { bundle: dataBundle, offset } = stored.held
        done({ ...entry, sha256: stored.digest, offset, dataBundle })
        return
      }
      if (stored.held !== undefined) {
        // It moved while it was hashed: nothing was written of it.
        retry(planned, last)
        return
      }
      const offset = started + described.head.bytes
      if (!changed) done({ ...entry, sha256: stored.digest as string, offset })
      else if (last && stored.digest !== undefined) {
        problems.push({ path, kind: 'changed', reason: 'changed while it was read, twice; it is kept as it was read' })
        done({ ...entry, sha256: stored.digest, offset, state: 'changed' })
      } else {
        if (!sink.takeBack(started)) write({ ...entry, offset, state: 'void' })
        retry(planned, last)
      }
    } finally {
      closeSync(fd)
    }
  }

  const retry = (planned: PlannedEntry, last: boolean) => {
    if (last) fail(planned.path, 'changed while it was read, twice, and could not be kept')
    else again.push(planned)
  }

  /** Writes head and data of a file; or, where they are the bytes that `held` says, nothing. */
  const storeData = (
    fd: number,
    head: PreparedHead,
    size: number,
    holes: readonly (readonly [number, number])[],
    held: HeldBytes | undefined,
  ): { digest: Digest; held?: HeldBytes } => {
    const memberBytes = head.bytes + padded(size)
    if (memberBytes <= sink.capacity) {
      sink.reserve(memberBytes)
      const { buffer, at } = sink
      const digest = readWhole(fd, buffer, at + head.bytes, size, at + memberBytes)
      if (held !== undefined && digest === held.sha256) return { digest, held }
      head.write(buffer, at)
      sink.advance(memberBytes)
      return { digest }
    }
    if (held !== undefined) {
      const digest = hashData(fd, size, holes, checkStopped)
      if (digest === held.sha256) return { digest, held }
    }
    writeHead(sink, head)
    const digest = copyData(fd, sink, size, holes, checkStopped)
    sink.zeros(padded(size) - size)
    return { digest }
  }

  const packOne = (planned: PlannedEntry, last: boolean): void => {
    checkStopped()
    try {
      if (planned.type === 'file') packFile(planned, planned.path, last)
      else if (planned.type === 'hardlink') packLink(planned, last)
      else packNameless(planned)
    } catch (error) {
      const code = errnoOf(error)
      if (code === undefined) throw error
      fail(planned.path, REASONS[code] ?? code)
    }
  }

  for (const planned of decodePlan(request.plan)) packOne(planned, false)
  const second = again
  again = []
  for (const planned of second) packOne(planned, true)

  const manifest = Buffer.from(lines.join(''))
  writeHead(sink, prepareHead(manifestHead(manifest.length, header.createdAt)))
  sink.write(manifest)
  sink.zeros(padded(manifest.length) - manifest.length + 2 * BLOCK)
  sink.zeros((RECORD_BYTES - (sink.position % RECORD_BYTES)) % RECORD_BYTES)
  const { bytes: tarBytes, sha256: tarSha256 } = sink.end()
  return { tarBytes, tarSha256, manifest, problems }
}

/** A head with many xattrs may be larger than a buffer. */
function writeHead(sink: TarSink, head: PreparedHead): void {
  if (head.bytes <= sink.capacity) {
    sink.reserve(head.bytes)
    head.write(sink.buffer, sink.at)
    sink.advance(head.bytes)
  } else {
    const apart = Buffer.alloc(head.bytes)
    head.write(apart, 0)
    sink.write(apart)
  }
}

/** Relative, as tars have it; `/` itself is `./`. */
function memberName(path: Raw, type: EntryType): Raw {
  if (path === '/') return './' as Raw
  return (type === 'directory' ? `${path.slice(1)}/` : path.slice(1)) as Raw
}

/** Without what only the moment needs. */
const plain = ({ type: _, ...stat }: Omit<StatNow, 'size'>) => stat

const manifestHead = (size: number, createdAt: Date): MemberHead => ({
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
