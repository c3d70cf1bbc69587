/**
 * The manifest: line 1 says what bundle this is, then a line for each entry of it (docs/bundle-format.md). It is written as bytes and
 * read strictly: a catalog is rebuilt from nothing else.
 */
import { isUtf8 } from 'node:buffer'
import { FirnError } from '#libs/errors/errors.js'
import { jsonName, nameFromJson, type Raw, shownText } from '#libs/os/raw.js'
import { ENTRY_TYPES, type Entry, type EntryState, type EntryType, MOST_HOLES } from './entry.js'
import { type Xattrs, xattrsFromJson, xattrsToJson } from './xattrs.js'

export const FORMAT = 'firn-bundle/1'
/** The name of the last member of a bundle's tar. */
export const MANIFEST_NAME = '.firn/manifest.ndjson'

export interface ManifestHeader {
  readonly bundle: string
  readonly attempt: number
  readonly set: string
  readonly setStartedAt: Date
  readonly host: string
  readonly roots: readonly Raw[]
  /** When this attempt began: when its files were archived. */
  readonly createdAt: Date
  readonly description: string
  readonly tags: readonly string[]
  /** Where it was stored first (Vault.id). */
  readonly vault: string
  /** Records of its set follow, when its crawl has ended and when it is over: see set-record.ts. */
  readonly setRecord?: boolean
}

export interface Manifest {
  readonly header: ManifestHeader
  readonly entries: readonly Entry[]
}

export function headerLine(header: ManifestHeader): string {
  return `${JSON.stringify({
    format: FORMAT,
    bundle: header.bundle,
    attempt: header.attempt,
    set: header.set,
    set_started_at: header.setStartedAt.toISOString(),
    host: header.host,
    // A root that is not UTF-8 is an object with path_b64 in place of the text.
    roots: header.roots.map((root) => {
      const name = jsonName('path', root)
      return name['path'] ?? name
    }),
    created_at: header.createdAt.toISOString(),
    description: header.description,
    tags: header.tags,
    vault: header.vault,
    ...(header.setRecord && { set_record: true }),
  })}\n`
}

/** Fields that do not apply are left out. Times, inodes and devices are plain integers, also beyond 2^53. */
export function entryLine(entry: Entry): string {
  const { path, uname, gname, link, holes, xattrs } = entry
  let line =
    `{${nameField('path', path)},"type":"${entry.type}","size":${entry.size},"mtime_ns":${entry.mtimeNs},"ctime_ns":${entry.ctimeNs},` +
    `"atime_ns":${entry.atimeNs},"dev":${entry.dev},"ino":${entry.ino},"nlink":${entry.nlink},"mode":${entry.mode},` +
    `"uid":${entry.uid},"gid":${entry.gid}`
  if (uname !== '') line += `,"uname":${quoted(uname)}`
  if (gname !== '') line += `,"gname":${quoted(gname)}`
  if (entry.sha256 !== undefined) line += `,"sha256":"${entry.sha256}"`
  if (entry.offset !== undefined) line += `,"offset":${entry.offset}`
  if (entry.dataBundle !== undefined) line += `,"data_bundle":"${entry.dataBundle}"`
  if (holes !== undefined && holes.length > 0) line += `,"holes":${JSON.stringify(holes)}`
  if (link !== undefined) line += `,${nameField('link', link)}`
  if (xattrs !== undefined && Object.keys(xattrs).length > 0) line += `,${JSON.stringify(xattrsToJson(xattrs)).slice(1, -1)}`
  if (entry.fresh) line += ',"fresh":true'
  return `${line},"state":"${entry.state}"}\n`
}

/** Printable ASCII without quotes and backslashes: JSON has it as it is. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

const quoted = (text: string): string => (PLAIN.test(text) ? `"${text}"` : JSON.stringify(text))

const nameField = (key: string, name: Raw): string =>
  PLAIN.test(name) ? `"${key}":"${name}"` : JSON.stringify(jsonName(key, name)).slice(1, -1)

/** For those who have all of it; `readManifest` reads what others may have written. */
export function parseManifest(bytes: Uint8Array): Manifest {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // Decoding would make one and the same name of two.
  if (!isUtf8(buffer)) throw new FirnError('damaged', 'a manifest cannot be read: it is not UTF-8')
  let header: ManifestHeader | undefined
  const entries: Entry[] = []
  let number = 0
  // Line by line: a text has at most 512 MiB, a manifest may have more.
  for (let at = 0; at < buffer.length; ) {
    const end = buffer.indexOf(0x0a, at)
    number++
    if (end < 0) throw damaged(number, 'it does not end with a line break')
    const line = buffer.toString('utf8', at, end)
    if (header === undefined) header = parseHeader(line)
    else entries.push(parseEntry(line, number))
    at = end + 1
  }
  if (header === undefined) throw damaged(1, 'it is empty')
  return { header, entries }
}

/** Integers that JavaScript's numbers cannot hold become strings before the JSON is read. Inside strings quotes are escaped, so no value can match. */
const BIG_INTEGERS = /"([amc]time_ns|dev|ino)":(-?\d+)/g

function record(line: string, number: number): Record<string, unknown> {
  const { rest, holes } = line.length > LONG_LINE ? withoutHoles(line, number) : { rest: line }
  let value: unknown
  try {
    value = JSON.parse(rest.replace(BIG_INTEGERS, '"$1":"$2"'))
  } catch (error) {
    throw new FirnError('damaged', `line ${number} of a manifest is not JSON`, { cause: error })
  }
  if (!isRecord(value)) throw damaged(number, 'it is no object')
  if (holes !== undefined) value['holes'] = holes
  return value
}

/** Up to here a line can hold nothing that takes much more memory than itself. */
const LONG_LINE = 65_536
/** An entry has its own few, and one for each xattr, whose names have 64 KiB together at most. */
const MOST_VALUES = 40_000
const HOLES = '"holes":[['

/**
 * Of a long line: JSON of brackets and commas alone takes fifty times as much memory as its text. Holes, of which a file may have a million,
 * are read by themselves; what remains has few values.
 */
function withoutHoles(line: string, number: number): { rest: string; holes?: [number, number][] } {
  const begin = line.indexOf(HOLES)
  const end = begin < 0 ? -1 : line.indexOf(']]', begin)
  const rest = end < 0 ? line : `${line.slice(0, begin)}"holes":0${line.slice(end + 2)}`
  let values = 0
  for (const mark of [',', '[', '{']) for (let at = rest.indexOf(mark); at >= 0; at = rest.indexOf(mark, at + 1)) values++
  if (values > MOST_VALUES) throw damaged(number, 'it has more values than any entry')
  return end < 0 ? { rest } : { rest, holes: pairsOf(line, begin + HOLES.length, end, number) }
}

/** `1,2],[3,4` between two places of a line. */
function pairsOf(line: string, begin: number, end: number, number: number): [number, number][] {
  let count = 1
  for (let at = line.indexOf('],[', begin); at >= 0 && at < end; at = line.indexOf('],[', at + 3)) count++
  if (count > MOST_HOLES) throw damaged(number, 'it has more holes than any entry')
  const pairs: [number, number][] = []
  for (let at = begin; at < end; ) {
    const close = line.indexOf(']', at)
    const to = close < 0 || close > end ? end : close
    const [, offset, length] = /^(\d{1,16}),(\d{1,16})$/.exec(line.slice(at, Math.min(to, at + 34))) ?? []
    if (offset === undefined || (to < end && line.slice(to, to + 3) !== '],['))
      throw damaged(number, 'holes is not a list of pairs')
    pairs.push([Number(offset), Number(length)])
    at = to + 3
  }
  return pairs
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** A name as text or as bytes; undefined where it is neither, or both. */
export function nameIn(key: string, json: Record<string, unknown>): Raw | undefined {
  const b64 = json[`${key}_b64`]
  if (b64 !== undefined && (json[key] !== undefined || typeof b64 !== 'string' || !BASE64.test(b64))) return undefined
  const name = nameFromJson(key, json)
  return name === undefined || name === '' || name.includes('\0') ? undefined : name
}

/** `//`, `/./`, `/../` or a slash at the end: no path that the kernel would call by one name only. */
const CROOKED = /\/(?:\.{0,2})(?:\/|$)/

export const isPath = (name: Raw | undefined): name is Raw =>
  name === '/' || (name?.startsWith('/') === true && !CROOKED.test(name))

export function parseHeader(line: string): ManifestHeader {
  const json = record(line, 1)
  if (json['format'] !== FORMAT) {
    throw damaged(1, `its format is ${said(json['format'])}, and this version of Firn reads ${FORMAT}`)
  }
  const text = (key: string): string => {
    const value = json[key]
    if (typeof value !== 'string') throw damaged(1, `${key} is no text`)
    return value
  }
  const time = (key: string): Date => {
    const value = new Date(text(key))
    if (Number.isNaN(value.getTime())) throw damaged(1, `${key} is no time`)
    return value
  }
  const list = (key: string): unknown[] => {
    const value = json[key]
    if (!Array.isArray(value)) throw damaged(1, `${key} is no list`)
    return value
  }
  const attempt = json['attempt']
  if (!Number.isSafeInteger(attempt) || (attempt as number) < 1) throw damaged(1, 'attempt is no positive integer')
  const tags = list('tags')
  if (!tags.every((tag) => typeof tag === 'string')) throw damaged(1, 'a tag is no text')
  return {
    bundle: uuid(text('bundle'), 1),
    attempt: attempt as number,
    set: uuid(text('set'), 1),
    setStartedAt: time('set_started_at'),
    host: text('host'),
    roots: list('roots').map((root) => {
      const name = nameIn('path', isRecord(root) ? root : { path: root })
      if (!isPath(name)) throw damaged(1, 'a root is no absolute path')
      return name
    }),
    createdAt: time('created_at'),
    description: text('description'),
    tags: tags as string[],
    vault: text('vault'),
    ...(json['set_record'] === true && { setRecord: true }),
  }
}

const TYPES: ReadonlySet<unknown> = new Set(ENTRY_TYPES)
const STATES: ReadonlySet<unknown> = new Set<EntryState>(['ok', 'changed', 'void'])
const INTEGER = /^-?\d{1,30}$/
/** A kernel's seconds have 64 bits. */
const MOST_NS = 2n ** 63n * 1_000_000_000n
const MOST_UINT64 = 2n ** 64n - 1n
export const SHA256 = /^[0-9a-f]{64}$/
export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export function parseEntry(line: string, number: number): Entry {
  const json = record(line, number)
  const integer = (key: string, most = Number.MAX_SAFE_INTEGER): number => {
    const value = json[key]
    if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > most)
      throw damaged(number, `${key} is no integer that fits`)
    return value as number
  }
  const big = (key: string, least: bigint, most: bigint): bigint => {
    const value = json[key]
    if (typeof value !== 'string' || !INTEGER.test(value)) throw damaged(number, `${key} is no integer`)
    const integer = BigInt(value)
    if (integer < least || integer > most) throw damaged(number, `${key} is no integer that fits`)
    return integer
  }
  const { type, state, sha256, data_bundle: dataBundle, holes, uname = '', gname = '' } = json
  const xattrs = parseXattrs(json, number)
  const path = nameIn('path', json)
  if (!isPath(path)) throw damaged(number, 'path is no absolute path')
  if (!TYPES.has(type)) throw damaged(number, `type ${said(type)} is unknown`)
  if (!STATES.has(state)) throw damaged(number, `state ${said(state)} is unknown`)
  if (typeof uname !== 'string' || typeof gname !== 'string') throw damaged(number, 'a name of the owner is no text')
  if (sha256 !== undefined && !(typeof sha256 === 'string' && SHA256.test(sha256))) throw damaged(number, 'sha256 is none')
  if ((type === 'file' || type === 'hardlink') && state !== 'void' && (sha256 === undefined || json['offset'] === undefined)) {
    throw damaged(number, 'a file has no sha256 or no offset')
  }
  const link = nameIn('link', json)
  if (type === 'symlink' ? link === undefined : type === 'hardlink' && !isPath(link))
    throw damaged(number, 'a link has no target')
  const size = integer('size')
  return {
    path,
    type: type as EntryType,
    size,
    mtimeNs: big('mtime_ns', -MOST_NS, MOST_NS),
    ctimeNs: big('ctime_ns', -MOST_NS, MOST_NS),
    atimeNs: big('atime_ns', -MOST_NS, MOST_NS),
    dev: big('dev', 0n, MOST_UINT64),
    ino: big('ino', 0n, MOST_UINT64),
    nlink: integer('nlink', 2 ** 32 - 1),
    mode: integer('mode', 0o7777),
    uid: integer('uid', 2 ** 32 - 1),
    gid: integer('gid', 2 ** 32 - 1),
    uname,
    gname,
    ...(sha256 !== undefined && { sha256: sha256 as string }),
    ...(json['offset'] !== undefined && { offset: integer('offset') }),
    ...(dataBundle !== undefined && { dataBundle: uuid(String(dataBundle), number) }),
    ...(holes !== undefined && { holes: parseHoles(holes, size, number) }),
    ...(link !== undefined && { link }),
    ...(xattrs !== undefined && { xattrs }),
    ...(json['fresh'] === true && { fresh: true }),
    state: state as EntryState,
  }
}

function parseHoles(holes: unknown, size: number, number: number): [number, number][] {
  if (!Array.isArray(holes)) throw damaged(number, 'holes is no list')
  let end = 0
  return holes.map((hole: unknown) => {
    const [offset, length] = Array.isArray(hole) ? hole : []
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < end || length < 1 || offset + length > size) {
      throw damaged(number, 'a hole does not lie in its file')
    }
    end = offset + length
    return [offset, length]
  })
}

function parseXattrs(json: Record<string, unknown>, number: number): Xattrs | undefined {
  for (const key of ['xattrs', 'xattrs_b64']) {
    const xattrs = json[key]
    if (xattrs === undefined) continue
    if (!isRecord(xattrs)) throw damaged(number, `${key} is no object`)
    const isBase64 = (value: unknown) => typeof value === 'string' && BASE64.test(value)
    if (!Object.values(xattrs).every(isBase64)) throw damaged(number, 'an xattr is no base64')
    if (key === 'xattrs_b64' && !Object.keys(xattrs).every(isBase64)) throw damaged(number, 'the name of an xattr is no base64')
  }
  return xattrsFromJson(json as Parameters<typeof xattrsFromJson>[0])
}

function uuid(text: string, number: number): string {
  if (!UUID.test(text)) throw damaged(number, `${said(text)} is not an id`)
  return text
}

const damaged = (number: number, what: string) => new FirnError('damaged', `line ${number} of a manifest cannot be read: ${what}`)

/** What a manifest holds instead of what it should: not all of it, and nothing that a terminal takes for a command. */
const said = (value: unknown): string => shownText(String(JSON.stringify(value)).slice(0, 100))
