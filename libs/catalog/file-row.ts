/** One entry of a stored bundle as a row of `file`: how it is written, and how it is read again. */
import { ENTRY_TYPES, type Entry, type EntryState, type EntryType } from '#libs/bundle/entry.js'
import { xattrsFromJson, xattrsToJson } from '#libs/bundle/xattrs.js'
import { joinRaw, nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { type BinaryRows, binaryRows } from './binary-rows.js'
import type { FileRow, LocatedRow } from './catalog.js'
import { cleanJson } from './clean-text.js'
import type { Connection, Runs } from './database.js'
import { type Directories, openDirectories } from './directories.js'
import { type Owner, type Owners, openOwners, ownerKey } from './owners.js'
import { type PackedRows, queryPacked } from './packed-rows.js'
import { contradiction, type RowReader, rowReaders, type Unpacked, type Writable } from './row-reader.js'

/** The numbers of the column `state`. */
export const STATES: readonly EntryState[] = ['ok', 'changed', 'ok']
/** The one of them that is `fresh`. */
export const FRESH = 2

/** Reads whole rows, of `FILE_COLUMNS`. */
export interface FileRows extends RowReader<FileRow> {
  /** Reads only where rows lie. */
  readonly located: RowReader<LocatedRow>
  /**
   * Makes the directories and owners that the entries need, before the transaction that writes the rows: several workers that share
   * directories then wait for each other no longer than a small statement. `firstSeq`: of the first entry, default 0.
   */
  prepare(host: number, entries: readonly Entry[], firstSeq?: number): Promise<PreparedRows>
  /** Where the files of a bundle lie, without its directories. */
  pathsOf(bundle: bigint): Promise<{ seq: number; path: Raw }[]>
}

export interface RowCounts {
  readonly rows: number
  /** Entries that are no directories, and the bytes of the regular files among them. */
  readonly files: number
  readonly bytes: number
}

export interface PreparedRows extends RowCounts {
  write(connection: Connection, bundle: bigint): Promise<void>
}

const WRITTEN =
  'file (bundle, seq, directory, name, type, state, size, mtime_ns, ctime_ns, atime_ns, dev, ino, nlink, mode, owner, sha256,' +
  ' data_offset, data_bundle, link, extra)'
const COLUMNS = 20

/** Of `file f`, for `read`. */
export const FILE_COLUMNS =
  'f.bundle, f.seq, f.directory, f.name, f.type, f.state, f.size, f.mtime_ns, f.ctime_ns, f.atime_ns, f.dev, f.ino, f.nlink, f.mode, f.owner,' +
  ' f.sha256, f.data_offset, f.data_bundle, f.link, f.extra'

/** The same, for `located`. */
const LOCATION_COLUMNS = 'f.bundle, f.seq, f.directory, f.name, f.type, f.size, f.data_offset, f.data_bundle'

/** What few entries have. Times are here as text where the column, 64 bits of nanoseconds, ends (before 1677, after 2262). */
interface Extra {
  xattrs?: Record<string, string>
  xattrs_b64?: Record<string, string>
  holes?: readonly (readonly [number, number])[]
  times?: { mtime: string; ctime: string; atime: string }
}

export function openFileRows(database: Runs): FileRows {
  const directories = openDirectories(database)
  const owners = openOwners(database)
  const readerOf = rowReaders(database, directories)
  const whole = readerOf<Writable<FileRow>>(FILE_COLUMNS, async (packed) => {
    const { ownerIds, ...unpacked } = readColumns(packed)
    const ownerOf = await owners.factsOf(new Set(ownerIds))
    unpacked.rows.forEach((row, index) => {
      const owner = ownerOf.get(ownerIds[index] as number)
      if (!owner) throw contradiction(row)
      row.uid = owner.uid
      row.gid = owner.gid
      row.uname = owner.uname
      row.gname = owner.gname
    })
    return unpacked
  })

  return {
    prepare: (host, entries, firstSeq = 0) => prepare(directories, owners, host, entries, firstSeq),
    ...whole,
    located: readerOf<Writable<LocatedRow>>(LOCATION_COLUMNS, readLocations),
    pathsOf: (bundle) => pathsOf(database, directories, bundle),
  }
}

/** Two statements instead of a join, for which Postgres would hash all directories there are. */
async function pathsOf(database: Runs, directories: Directories, bundle: bigint): Promise<{ seq: number; path: Raw }[]> {
  const select = `SELECT seq, directory, name FROM file WHERE bundle = $1 AND type <> ${ENTRY_TYPES.indexOf('directory')} ORDER BY seq`
  const packed = await queryPacked(database, select, [bundle], { name: 'paths-of-bundle' })
  const found: { seq: number; directory: number; name: Raw }[] = []
  while (packed.next()) found.push({ seq: packed.int4(), directory: packed.int4(), name: packed.raw() })
  const paths = await directories.pathsOf(new Set(found.map(({ directory }) => directory)))
  return found.map(({ seq, directory, name }) => ({ seq, path: joinRaw(paths.get(directory) as Raw, name) }))
}

async function prepare(
  directories: Directories,
  owners: Owners,
  host: number,
  entries: readonly Entry[],
  firstSeq: number,
): Promise<PreparedRows> {
  const paths = new Set<Raw>()
  const wanted = new Map<string, Owner>()
  let rows = 0
  let files = 0
  let bytes = 0
  for (const entry of entries) {
    if (entry.state === 'void') continue
    rows++
    if (entry.type !== 'directory') files++
    if (entry.type === 'file') bytes += entry.size
    paths.add(parentOf(entry.path))
    const key = ownerKey(entry)
    if (!wanted.has(key)) wanted.set(key, entry)
  }
  const directoryIds = await directories.idsOf(host, paths)
  const ownerIds = await owners.idsOf(wanted)

  return {
    rows,
    files,
    bytes,
    async write(connection, bundle) {
      const out = binaryRows()
      entries.forEach((entry, index) => {
        if (entry.state === 'void') return
        const directory = directoryIds.get(parentOf(entry.path)) as bigint
        writeEntry(out, entry, bundle, firstSeq + index, directory, ownerIds.get(ownerKey(entry)) as number)
      })
      await connection.copy(WRITTEN, out.finish())
    },
  }
}

const MOST_NS = 2n ** 63n - 1n
const LEAST_NS = -(2n ** 63n)
const MOST_LINKS = 2 ** 31 - 1
const clamped = (ns: bigint) => (ns > MOST_NS ? MOST_NS : ns < LEAST_NS ? LEAST_NS : ns)

function writeEntry(out: BinaryRows, entry: Entry, bundle: bigint, seq: number, directory: bigint, owner: number): void {
  out.row(COLUMNS)
  out.int4(Number(bundle))
  out.int4(seq)
  out.int4(Number(directory))
  out.raw(nameOf(entry.path))
  out.int2(ENTRY_TYPES.indexOf(entry.type))
  out.int2(entry.fresh && entry.state === 'ok' ? FRESH : STATES.indexOf(entry.state))
  out.count(entry.size)
  out.int8(clamped(entry.mtimeNs))
  out.int8(clamped(entry.ctimeNs))
  out.int8(clamped(entry.atimeNs))
  out.int8(entry.dev)
  out.int8(entry.ino)
  out.int4(Math.min(entry.nlink, MOST_LINKS))
  out.int2(entry.mode)
  out.int4(owner)
  if (entry.sha256 === undefined) out.none()
  else out.hex(entry.sha256)
  if (entry.offset === undefined) out.none()
  else out.count(entry.offset)
  if (entry.dataBundle === undefined) out.none()
  else out.hex(entry.dataBundle.replaceAll('-', ''))
  if (entry.link === undefined) out.none()
  else out.raw(entry.link)
  const extra = extraOf(entry)
  if (extra === undefined) out.none()
  else out.jsonb(cleanJson(extra))
}

function extraOf({ xattrs, holes, mtimeNs, ctimeNs, atimeNs }: Entry): Extra | undefined {
  const wide = clamped(mtimeNs) !== mtimeNs || clamped(ctimeNs) !== ctimeNs || clamped(atimeNs) !== atimeNs
  if (xattrs === undefined && holes === undefined && !wide) return undefined
  return {
    ...(xattrs && xattrsToJson(xattrs)),
    ...(holes && { holes }),
    ...(wide && { times: { mtime: String(mtimeNs), ctime: String(ctimeNs), atime: String(atimeNs) } }),
  }
}

/** The times of a row whose `extra` may hold them. */
export function timesOf(extra: string): { mtimeNs: bigint; ctimeNs: bigint; atimeNs: bigint } | undefined {
  const { times } = JSON.parse(extra) as Extra
  return times && { mtimeNs: BigInt(times.mtime), ctimeNs: BigInt(times.ctime), atimeNs: BigInt(times.atime) }
}

const NEVER = new Date(0)

/**
 * What the columns hold; what they only name (directory, owner, bundle) is filled in afterwards. Plain assignments: spreading a dozen
 * optional parts into each of millions of rows took ten times as long as reading them.
 */
function readColumns(packed: PackedRows) {
  const rows: Writable<FileRow>[] = []
  const names: Raw[] = []
  const directoryIds: number[] = []
  const ownerIds: number[] = []
  let state: number
  while (packed.next()) {
    const bundleNumber = BigInt(packed.int4())
    const seq = packed.int4()
    directoryIds.push(packed.int4())
    names.push(packed.raw())
    const row: Writable<FileRow> = {
      bundleNumber,
      seq,
      bundleId: '',
      setId: '',
      host: '',
      vaultId: '',
      archiveId: '',
      archivedAt: NEVER,
      path: '' as Raw,
      uid: 0,
      gid: 0,
      uname: '',
      gname: '',
      // In the order of the columns: each call reads the next.
      type: ENTRY_TYPES[packed.int2()] as EntryType,
      // biome-ignore lint/suspicious/noAssignInExpressions: read here, and looked at once more below
      state: STATES[(state = packed.int2())] as EntryState,
      size: packed.count(),
      mtimeNs: packed.int8(),
      ctimeNs: packed.int8(),
      atimeNs: packed.int8(),
      dev: packed.unsigned(),
      ino: packed.unsigned(),
      nlink: packed.int4(),
      mode: packed.int2(),
    }
    ownerIds.push(packed.int4())
    const sha256 = packed.optionalHex()
    const offset = packed.optionalCount()
    const dataBundle = packed.optionalUuid()
    const link = packed.optionalRaw()
    const extra = packed.optionalJsonb()
    if (state === FRESH) row.fresh = true
    if (sha256 !== undefined) row.sha256 = sha256
    if (offset !== undefined) row.offset = offset
    if (dataBundle !== undefined) row.dataBundle = dataBundle
    if (link !== undefined) row.link = link
    if (extra !== undefined) {
      const json = JSON.parse(extra) as Extra
      const { holes } = json
      const xattrs = xattrsFromJson(json)
      if (xattrs) row.xattrs = xattrs
      if (holes) row.holes = holes
      Object.assign(row, timesOf(extra))
    }
    rows.push(row)
  }
  return { rows, names, directoryIds, ownerIds }
}

function readLocations(packed: PackedRows): Unpacked<Writable<LocatedRow>> {
  const rows: Writable<LocatedRow>[] = []
  const names: Raw[] = []
  const directoryIds: number[] = []
  while (packed.next()) {
    const bundleNumber = BigInt(packed.int4())
    const seq = packed.int4()
    directoryIds.push(packed.int4())
    names.push(packed.raw())
    const row: Writable<LocatedRow> = {
      bundleNumber,
      seq,
      bundleId: '',
      setId: '',
      host: '',
      vaultId: '',
      archiveId: '',
      archivedAt: NEVER,
      path: '' as Raw,
      type: ENTRY_TYPES[packed.int2()] as EntryType,
      size: packed.count(),
    }
    const offset = packed.optionalCount()
    const dataBundle = packed.optionalUuid()
    if (offset !== undefined) row.offset = offset
    if (dataBundle !== undefined) row.dataBundle = dataBundle
    rows.push(row)
  }
  return { rows, names, directoryIds }
}
