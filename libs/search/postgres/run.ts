/**
 * A run: up to 64 files of one bundle that follow each other by directory and name, as one row. Such neighbours share most of their
 * words, so that a word is written once where a row per file would write it 64 times; the text of the files tells them apart.
 *
 * `files` is one text: a line of JSON that says of each directory its length, the length of its names together, and their seqs as
 * stretches (first, count, first, count ...); then the directories, each followed by its names with a `/` between them. Text and not
 * bytea, because pg hands over text as it is; a byte of a name is the character of that number, as in `Raw`.
 */
import { looseTextOf, nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import type { IndexedBundle } from '../search-index.js'
import { readingOf } from '../words.js'
import { addKeys, type Ends } from './keys.js'

export interface Run {
  readonly id: bigint
  readonly setId: string
  /** The words of all its files and the pairs of neighbours among them; see `keys.ts`. */
  readonly keys: ReadonlySet<number>
  readonly files: string
}

/** Files that lie in one directory: where in the text of their run. Most are never looked at one by one. */
export interface Neighbours {
  /** The directory begins. */
  readonly from: number
  /** It ends, and the names begin, with a `/` between them. */
  readonly namesAt: number
  /** They end. */
  readonly to: number
  /** Their seqs, in the order of the names: first, count, first, count ... */
  readonly stretches: readonly number[]
}

/**
 * More files a run make the index smaller, and let searches read more that they do not need. Of 391,000 real files (a Linux machine's
 * /usr and node_modules) a file took 74 bytes with 32 a run, 57 with 64 and 44 with 128, for the same CPU from 64 on.
 */
const RUN_FILES = 64

/** A run's id is its bundle's number and its place therein: so the newest bundles are at one end, and a bundle's runs in one stretch. */
const PLACE_BITS = 24n

export const firstRunOf = (bundleNumber: bigint): bigint => bundleNumber << PLACE_BITS

export const bundleOf = (runId: bigint): bigint => runId >> PLACE_BITS

export function runsOf(bundle: IndexedBundle): Run[] {
  const files = inOrder(bundle)
  const first = firstRunOf(bundle.number)
  const runs: Run[] = []
  const addDirectory = directoryKeys()
  for (let at = 0; at < files.length; at += RUN_FILES) {
    const groups: Group[] = []
    for (const file of files.slice(at, at + RUN_FILES)) {
      const last = groups.at(-1)
      const group = last?.directory === file.directory ? last : { directory: file.directory, names: [], seqs: [] }
      if (group !== last) groups.push(group)
      group.names.push(file.name)
      group.seqs.push(file.seq)
    }
    const keys = new Set<number>()
    for (const group of groups) {
      const ends = addDirectory(group.directory, keys)
      for (const name of group.names) addKeys(keys, readingOf(looseTextOf(name)), ends)
    }
    runs.push({ id: first + BigInt(runs.length), setId: bundle.setId, keys, files: pack(groups) })
  }
  return runs
}

function inOrder(bundle: IndexedBundle): FileOfRun[] {
  const byDirectory = new Map<Raw, FileOfRun[]>()
  for (const { seq, path } of bundle.files) {
    const directory = parentOf(path)
    const file = { seq, directory, name: nameOf(path) }
    const others = byDirectory.get(directory)
    if (others === undefined) byDirectory.set(directory, [file])
    else others.push(file)
  }
  const directories = [...byDirectory].sort(([a], [b]) => compare(a, b))
  return directories.flatMap(([, files]) => files.sort((a, b) => compare(a.name, b.name) || a.seq - b.seq))
}

interface Group {
  readonly directory: Raw
  readonly names: Raw[]
  readonly seqs: number[]
}

interface FileOfRun {
  readonly seq: number
  readonly directory: Raw
  readonly name: Raw
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Adds the keys of a directory; those of the last one are remembered, for a directory of many runs. */
function directoryKeys(): (directory: Raw, keys: Set<number>) => Ends {
  let known: { directory: Raw; keys: Set<number>; ends: Ends } | undefined
  return (directory, keys) => {
    if (known?.directory !== directory) {
      const own = new Set<number>()
      known = { directory, keys: own, ends: addKeys(own, readingOf(looseTextOf(directory))) }
    }
    for (const key of known.keys) keys.add(key)
    return known.ends
  }
}

function pack(groups: readonly Group[]): string {
  const head: number[][] = []
  let text = ''
  for (const { directory, names, seqs } of groups) {
    const together = names.join('/')
    head.push([directory.length, together.length, ...stretchesOf(seqs)])
    text += directory + together
  }
  return `${JSON.stringify(head)}\n${text}`
}

export function unpack(files: string): Neighbours[] {
  const lines = headOf(files)
  let at = lines.end
  return lines.groups.map((group) => {
    const [directory, names] = group as [number, number]
    const from = at
    const namesAt = from + directory
    at = namesAt + names
    return { from, namesAt, to: at, stretches: group.slice(2) }
  })
}

/** The line of JSON, lists of whole numbers in a list; by hand, for a search reads a thousand of them. */
function headOf(files: string): { groups: number[][]; end: number } {
  const groups: number[][] = []
  let group: number[] = []
  let number = -1
  for (let at = 1; ; at++) {
    const code = files.charCodeAt(at)
    if (code >= ZERO && code <= NINE) {
      number = Math.max(0, number) * 10 + code - ZERO
      continue
    }
    if (number >= 0) group.push(number)
    number = -1
    if (code === LINE_END) return { groups, end: at + 1 }
    if (code === CLOSING && group.length > 0) {
      groups.push(group)
      group = []
    }
    if (Number.isNaN(code)) throw new RangeError('a run without a head')
  }
}

const ZERO = 48
const NINE = 57
const CLOSING = 93
const LINE_END = 10

function stretchesOf(seqs: readonly number[]): number[] {
  const stretches: number[] = []
  let next: number | undefined
  for (const seq of seqs) {
    if (seq === next) stretches[stretches.length - 1]! += 1
    else stretches.push(seq, 1)
    next = seq + 1
  }
  return stretches
}

export function seqsOf(stretches: readonly number[]): number[] {
  const seqs: number[] = []
  for (let at = 0; at < stretches.length; at += 2) {
    const first = stretches[at] as number
    const count = stretches[at + 1] as number
    for (let i = 0; i < count; i++) seqs.push(first + i)
  }
  return seqs
}

/** Of the name at this place. */
export function seqAt(stretches: readonly number[], place: number): number {
  let before = 0
  for (let at = 0; at < stretches.length; at += 2) {
    const count = stretches[at + 1] as number
    if (place < before + count) return (stretches[at] as number) + place - before
    before += count
  }
  throw new RangeError(`there is no name ${place}`)
}
