/** One entry of a stored bundle as a row of `file`: how it is written, and how it is read again. */
import type { Entry, EntryState, EntryType } from '#libs/bundle/entry.js'
import { FirnError } from '#libs/errors/errors.js'
import { joinRaw, nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { type BinaryRows, binaryRows } from './binary-rows.js'
import { boundedMap } from './bounded-map.js'
import type { FileRow } from './catalog.js'
import { cleanJson } from './clean-text.js'
import type { Connection, Runs } from './database.js'
import { type Directories, openDirectories, toRaw } from './directories.js'
import { type Owner, type Owners, openOwners, ownerKey } from './owners.js'

/** The numbers of the column `type`. */
export const TYPES: readonly EntryType[] = ['file', 'hardlink', 'symlink', 'directory']
/** The numbers of the column `state`. */
export const STATES: readonly EntryState[] = ['ok', 'changed']

export interface FileRows {
  /**
   * Makes the directories and owners that the entries need, before the transaction that writes the rows: several workers that share
   * directories then wait for each other no longer than a small statement.
   */
  prepare(host: number, entries: readonly Entry[]): Promise<PreparedRows>
  /** Reads rows of `FILE_COLUMNS`. */
  read(rows: readonly (readonly (string | null)[])[]): Promise<FileRow[]>
}

export interface PreparedRows {
  readonly rows: number
  /** Entries that are no directories, and the bytes of the regular files among them. */
  readonly files: number
  readonly bytes: number
  write(connection: Connection, bundle: bigint): Promise<void>
}

const WRITTEN =
  'file (bundle, seq, directory, name, type, state, size, mtime_ns, ctime_ns, atime_ns, dev, ino, nlink, mode, owner, sha256,' +
  ' data_offset, data_bundle, link, extra)'
const COLUMNS = 20

/** Of `file f`, for `read`. */
export const FILE_COLUMNS =
  `f.bundle, f.seq, f.directory, ${toRaw('f.name')}, f.type, f.state, f.size, f.mtime_ns, f.ctime_ns, f.atime_ns, f.dev, f.ino, f.nlink,` +
  ` f.mode, f.owner, encode(f.sha256, 'hex'), f.data_offset, f.data_bundle, ${toRaw('f.link')}, f.extra`

type FileTexts = readonly [
  bundle: string,
  seq: string,
  directory: string,
  name: Raw,
  type: string,
  state: string,
  size: string,
  mtime: string,
  ctime: string,
  atime: string,
  dev: string,
  ino: string,
  nlink: string,
  mode: string,
  owner: string,
  sha256: string | null,
  offset: string | null,
  dataBundle: string | null,
  link: Raw | null,
  extra: string | null,
]

/** What few entries have. Times are here as text where the column, 64 bits of nanoseconds, ends (before 1677, after 2262). */
interface Extra {
  xattrs?: Readonly<Record<string, string>>
  holes?: readonly (readonly [number, number])[]
  times?: { mtime: string; ctime: string; atime: string }
}

interface BundleFacts {
  readonly bundleId: string
  readonly setId: string
  readonly vaultId: string
  readonly archiveId: string
  readonly archivedAt: Date
}

/** Facts of stored bundles do not change. */
const BUNDLES_KEPT = 10_000

export function openFileRows(database: Runs): FileRows {
  const directories = openDirectories(database)
  const owners = openOwners(database)
  const bundles = boundedMap<string, BundleFacts>(BUNDLES_KEPT)
  return {
    prepare: (host, entries) => prepare(directories, owners, host, entries),
    async read(texts) {
      const rows = texts as unknown as readonly FileTexts[]
      const [directoryOf, ownerOf, bundleOf] = await Promise.all([
        directories.factsOf(new Set(rows.map((row) => row[2]))),
        owners.factsOf(new Set(rows.map((row) => row[14]))),
        bundleFacts(database, bundles, new Set(rows.map((row) => row[0]))),
      ])
      return rows.map((row) => {
        const directory = directoryOf.get(row[2])
        const owner = ownerOf.get(row[14])
        const bundle = bundleOf.get(row[0])
        if (!directory || !owner || !bundle) {
          throw new FirnError(
            'database',
            `The catalog contradicts itself: file ${row[0]}/${row[1]} names rows that are not there.`,
          )
        }
        return fileRowOf(row, bundle, directory.host, joinRaw(directory.path, row[3]), owner)
      })
    },
  }
}

async function prepare(directories: Directories, owners: Owners, host: number, entries: readonly Entry[]): Promise<PreparedRows> {
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
      entries.forEach((entry, seq) => {
        if (entry.state === 'void') return
        const directory = directoryIds.get(parentOf(entry.path)) as bigint
        writeEntry(out, entry, bundle, seq, directory, ownerIds.get(ownerKey(entry)) as number)
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
  out.int8(bundle)
  out.int4(seq)
  out.int8(directory)
  out.raw(nameOf(entry.path))
  out.int2(TYPES.indexOf(entry.type))
  out.int2(STATES.indexOf(entry.state))
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
    ...(xattrs && { xattrs }),
    ...(holes && { holes }),
    ...(wide && { times: { mtime: String(mtimeNs), ctime: String(ctimeNs), atime: String(atimeNs) } }),
  }
}

/** The times of a row whose `extra` may hold them. */
export function timesOf(mtime: string, ctime: string, extra: string): { mtimeNs: bigint; ctimeNs: bigint } {
  const { times } = JSON.parse(extra) as Extra
  return { mtimeNs: BigInt(times?.mtime ?? mtime), ctimeNs: BigInt(times?.ctime ?? ctime) }
}

/** An unsigned number from a column that keeps its 64 bits. */
export const unsigned = (text: string): bigint => (text.startsWith('-') ? BigInt.asUintN(64, BigInt(text)) : BigInt(text))

/** While it is put together. */
export type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** Plain assignments: spreading a dozen optional parts into each of millions of rows took ten times as long as reading them. */
function fileRowOf(texts: FileTexts, bundle: BundleFacts, host: string, path: Raw, owner: Owner): FileRow {
  const [
    bundleNumber,
    seq,
    ,
    ,
    type,
    state,
    size,
    mtime,
    ctime,
    atime,
    dev,
    ino,
    nlink,
    mode,
    ,
    sha256,
    offset,
    dataBundle,
    link,
  ] = texts
  const row: Writable<FileRow> = {
    bundleNumber: BigInt(bundleNumber),
    seq: Number(seq),
    bundleId: bundle.bundleId,
    setId: bundle.setId,
    host,
    vaultId: bundle.vaultId,
    archiveId: bundle.archiveId,
    archivedAt: bundle.archivedAt,
    path,
    type: TYPES[Number(type)] as EntryType,
    state: STATES[Number(state)] as EntryState,
    size: Number(size),
    mtimeNs: BigInt(mtime),
    ctimeNs: BigInt(ctime),
    atimeNs: BigInt(atime),
    dev: unsigned(dev),
    ino: unsigned(ino),
    nlink: Number(nlink),
    mode: Number(mode),
    uid: owner.uid,
    gid: owner.gid,
    uname: owner.uname,
    gname: owner.gname,
  }
  if (sha256 !== null) row.sha256 = sha256
  if (offset !== null) row.offset = Number(offset)
  if (dataBundle !== null) row.dataBundle = dataBundle
  if (link !== null) row.link = link
  const json = texts[19]
  if (json !== null) {
    const { xattrs, holes, times } = JSON.parse(json) as Extra
    if (xattrs) row.xattrs = xattrs
    if (holes) row.holes = holes
    if (times) {
      row.mtimeNs = BigInt(times.mtime)
      row.ctimeNs = BigInt(times.ctime)
      row.atimeNs = BigInt(times.atime)
    }
  }
  return row
}

async function bundleFacts(database: Runs, kept: ReturnType<typeof boundedMap<string, BundleFacts>>, numbers: Set<string>) {
  const found = new Map<string, BundleFacts>()
  const unknown: string[] = []
  for (const number of numbers) {
    const known = kept.get(number)
    if (known === undefined) unknown.push(number)
    else found.set(number, known)
  }
  if (unknown.length > 0) {
    const { rows } = await database.query<BundleFacts & { number: bigint }>(
      `SELECT b.number, b.id AS "bundleId", b.set AS "setId", v.id AS "vaultId", b.archive_id AS "archiveId",
         b.archived_at AS "archivedAt"
       FROM bundle b JOIN vault v ON v.number = b.vault WHERE b.number = ANY($1::bigint[])`,
      [unknown],
    )
    for (const { number, ...facts } of rows) {
      kept.set(String(number), facts)
      found.set(String(number), facts)
    }
  }
  return found
}
