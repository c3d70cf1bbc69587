/**
 * The record of a set, beside its bundles: what a crawl saw that no manifest says. NDJSON, gzipped: the set, a line for each of its
 * bundles, of its problems, of the names that were gone and of those it removed, and a last line that proves the others
 * (docs/bundle-format.md). It is written and read as a stream.
 */
import { createHash } from 'node:crypto'
import { FirnError } from '#libs/errors/errors.js'
import { jsonName, type Raw } from '#libs/os/raw.js'
import type { ProblemKind } from './entry.js'
import { isPath, isRecord, nameIn, SHA256, UUID } from './manifest.js'
import { linesOf, textOf } from './manifest-stream.js'
import { unpacked } from './sidecar.js'

export const RECORD_FORMAT = 'firn-set/1'

export interface RecordHeader {
  readonly set: string
  readonly host: string
  readonly roots: readonly Raw[]
  readonly options: Readonly<Record<string, unknown>>
  readonly description: string
  readonly tags: readonly string[]
  /** Vault.id. */
  readonly vault: string
  readonly startedAt: Date
  readonly finishedAt?: Date
  /** Of the set, as catalogs call it. */
  readonly state: string
  /** Why it was ended by force. */
  readonly reason?: string
  /** By what they count: `found`, `archived` ... */
  readonly counts: Readonly<Record<string, number>>
  /** What its roots looked like. */
  readonly marks?: Readonly<Record<string, unknown>>
}

/** One that is stored has what it is stored as; any other has none of it, and may say why. */
export interface RecordBundle {
  readonly bundle: string
  readonly attempt: number
  readonly state: string
  readonly key?: string
  /** Of the tar. */
  readonly bytes?: number
  /** Of the tar, hex. */
  readonly sha256?: string
  readonly files: number
  readonly entries: number
  /** Of the files. */
  readonly fileBytes: number
  readonly reason?: string
}

export interface RecordProblem {
  readonly kind: ProblemKind
  readonly path: Raw
  readonly reason: string
  /** Id of the bundle that met it, if one did. */
  readonly bundle?: string
}

export interface RecordGone {
  readonly path: Raw
  readonly at: Date
}

export type RecordPart =
  | { readonly kind: 'header'; readonly header: RecordHeader }
  | { readonly kind: 'bundle'; readonly bundle: RecordBundle }
  | { readonly kind: 'problem'; readonly problem: RecordProblem }
  | { readonly kind: 'gone' | 'removed'; readonly gone: RecordGone }

/** The bytes of a record before they are packed. The header must come first. */
export async function* recordLines(parts: AsyncIterable<RecordPart>): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  let lines = 0
  for await (const part of parts) {
    const line = Buffer.from(`${JSON.stringify(jsonOf(part))}\n`)
    hash.update(line)
    lines++
    yield line
  }
  yield Buffer.from(`${JSON.stringify({ lines, sha256: hash.digest('hex') })}\n`)
}

function jsonOf(part: RecordPart): Record<string, unknown> {
  switch (part.kind) {
    case 'header': {
      const { header } = part
      return {
        format: RECORD_FORMAT,
        set: header.set,
        host: header.host,
        // As in a manifest: a root that is not UTF-8 is an object with path_b64 in place of the text.
        roots: header.roots.map((root) => jsonName('path', root)['path'] ?? jsonName('path', root)),
        options: header.options,
        description: header.description,
        tags: header.tags,
        vault: header.vault,
        started_at: header.startedAt.toISOString(),
        finished_at: header.finishedAt?.toISOString(),
        state: header.state,
        reason: header.reason,
        counts: header.counts,
        marks: header.marks,
      }
    }
    case 'bundle': {
      const { bundle, attempt, state, key, bytes, sha256, files, entries, fileBytes, reason } = part.bundle
      return { bundle, attempt, state, key, bytes, sha256, files, entries, file_bytes: fileBytes, reason }
    }
    case 'problem': {
      const { kind, path, reason, bundle } = part.problem
      return { problem: kind, ...jsonName('path', path), reason, of_bundle: bundle }
    }
    default:
      return { [part.kind]: true, ...jsonName('path', part.gone.path), at: part.gone.at.toISOString() }
  }
}

/** A record of a million gone names has some hundred megabytes; zeros without an end are refused. */
const MAX_BYTES = 64 * 2 ** 30

/**
 * The parts of a record in their order. It is whole only when they are at their end without an error: its last line comes last. Throws
 * `damaged` for what `recordLines` did not make, and what reading throws.
 */
export async function* readRecord(gzipped: AsyncIterable<Uint8Array>): AsyncGenerator<RecordPart> {
  const hash = createHash('sha256')
  let held: Buffer | undefined
  let lines = 0
  for await (const line of linesOf(unpacked(gzipped), MAX_BYTES)) {
    // The last line is known by what does not follow.
    if (held !== undefined) {
      hash.update(held)
      yield partOf(textOf(held, ++lines), lines)
    }
    held = Buffer.from(line)
  }
  if (held === undefined || lines === 0) throw new FirnError('damaged', 'the record of a set is empty')
  const end = objectOf(textOf(held, lines + 1), lines + 1)
  if (end['lines'] !== lines || end['sha256'] !== hash.digest('hex')) {
    throw new FirnError('damaged', 'the last line of the record of a set does not fit the others')
  }
}

const KINDS: ReadonlySet<unknown> = new Set<ProblemKind>(['skipped', 'failed', 'changed'])

function partOf(line: string, number: number): RecordPart {
  const json = objectOf(line, number)
  const fails = (what: string) => new FirnError('damaged', `line ${number} of the record of a set cannot be read: ${what}`)
  const text = (key: string): string => {
    const value = json[key]
    if (typeof value !== 'string') throw fails(`${key} is no text`)
    return value
  }
  const id = (key: string): string => {
    const value = text(key)
    if (!UUID.test(value)) throw fails(`${key} is no id`)
    return value
  }
  const count = (key: string): number => {
    const value = json[key]
    if (!Number.isSafeInteger(value) || (value as number) < 0) throw fails(`${key} is no count`)
    return value as number
  }
  const time = (key: string): Date => {
    const value = new Date(text(key))
    if (Number.isNaN(value.getTime())) throw fails(`${key} is no time`)
    return value
  }
  const object = (key: string): Record<string, unknown> => {
    const value = json[key]
    if (!isRecord(value)) throw fails(`${key} is no object`)
    return value
  }
  const list = (key: string): unknown[] => {
    const value = json[key]
    if (!Array.isArray(value)) throw fails(`${key} is no list`)
    return value
  }
  const path = (from: Record<string, unknown>): Raw => {
    const name = nameIn('path', from)
    if (!isPath(name)) throw fails('path is no absolute path')
    return name
  }

  if (number === 1) {
    if (json['format'] !== RECORD_FORMAT) throw fails(`its format is not ${RECORD_FORMAT}`)
    const tags = list('tags')
    if (!tags.every((tag) => typeof tag === 'string')) throw fails('a tag is no text')
    const counts = object('counts')
    if (!Object.values(counts).every((value) => Number.isSafeInteger(value) && (value as number) >= 0))
      throw fails('counts are none')
    return {
      kind: 'header',
      header: {
        set: id('set'),
        host: text('host'),
        roots: list('roots').map((root) => path(isRecord(root) ? root : { path: root })),
        options: object('options'),
        description: text('description'),
        tags: tags as string[],
        vault: text('vault'),
        startedAt: time('started_at'),
        ...(json['finished_at'] !== undefined && { finishedAt: time('finished_at') }),
        state: text('state'),
        ...(json['reason'] !== undefined && { reason: text('reason') }),
        counts: counts as Record<string, number>,
        ...(json['marks'] !== undefined && { marks: object('marks') }),
      },
    }
  }
  if (json['bundle'] !== undefined) {
    if (json['sha256'] !== undefined && !SHA256.test(text('sha256'))) throw fails('sha256 is none')
    return {
      kind: 'bundle',
      bundle: {
        bundle: id('bundle'),
        attempt: count('attempt'),
        state: text('state'),
        ...(json['key'] !== undefined && { key: text('key'), bytes: count('bytes'), sha256: text('sha256') }),
        files: count('files'),
        entries: count('entries'),
        fileBytes: count('file_bytes'),
        ...(json['reason'] !== undefined && { reason: text('reason') }),
      },
    }
  }
  if (json['problem'] !== undefined) {
    const kind = json['problem']
    if (!KINDS.has(kind)) throw fails('no problem is called so')
    const problem = { kind: kind as ProblemKind, path: path(json), reason: text('reason') }
    return { kind: 'problem', problem: json['of_bundle'] === undefined ? problem : { ...problem, bundle: id('of_bundle') } }
  }
  const kind = json['gone'] === true ? 'gone' : json['removed'] === true ? 'removed' : undefined
  if (kind === undefined) throw fails('it is none of the lines of a record')
  return { kind, gone: { path: path(json), at: time('at') } }
}

function objectOf(line: string, number: number): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new FirnError('damaged', `line ${number} of the record of a set is not JSON`, { cause: error })
  }
  if (!isRecord(value)) throw new FirnError('damaged', `line ${number} of the record of a set is no object`)
  return value
}
