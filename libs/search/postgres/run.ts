/**
 * A run: up to 64 files of one bundle that follow each other by directory and name, as one row. Such neighbours share most of their
 * words, so that a word is written once where a row per file would write it 64 times; the text of the files tells them apart.
 *
 * `files` holds, packed: the number of files; of each the difference of its seq to the one before; then the text, each directory
 * followed by its names. (Numbers as varints of 7 bits, differences zigzag; the text as bytes: `directory NUL name / name NUL directory
 * NUL name`. Neither NUL nor `/` can stand in a name.)
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
  readonly files: Uint8Array
}

/** Files that lie in one directory. */
export interface Neighbours {
  readonly directory: Raw
  /** With a `/` between them: most are never looked at one by one. */
  readonly names: string
  readonly seqs: readonly number[]
}

/**
 * More files a run make the index smaller and searches read more that they do not need. 64 is a sweet spot (1,000,000 files, 20 a
 * directory: 32 take 1.3 times the space and time of 64, 128 take 0.85 times).
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

function pack(groups: readonly Group[]): Uint8Array {
  const text = groups.map(({ directory, names }) => `${directory}\0${names.join('/')}`).join('\0')
  const seqs = groups.flatMap((group) => group.seqs)
  const bytes = Buffer.allocUnsafe((seqs.length + 1) * MOST_VARINT + text.length)
  let at = 0
  const varint = (value: number) => {
    let rest = value
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest & 0x7f) | 0x80
    bytes[at++] = rest
  }
  varint(seqs.length)
  let before = 0
  for (const seq of seqs) {
    const difference = seq - before
    varint(difference < 0 ? -2 * difference - 1 : 2 * difference)
    before = seq
  }
  return bytes.subarray(0, at + bytes.write(text, at, 'latin1'))
}

/** Of a whole number below 2^53. */
const MOST_VARINT = 8

export function unpack(files: Uint8Array): Neighbours[] {
  let at = 0
  const varint = () => {
    let value = 0
    for (let unit = 1; ; unit *= 0x80) {
      const byte = files[at++] as number
      value += (byte & 0x7f) * unit
      if (byte < 0x80) return value
    }
  }
  const seqs: number[] = []
  let before = 0
  for (let left = varint(); left > 0; left--) {
    const zigzag = varint()
    before += zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
    seqs.push(before)
  }
  const parts = Buffer.from(files.buffer, files.byteOffset + at, files.length - at)
    .toString('latin1')
    .split('\0')
  const groups: Neighbours[] = []
  for (let part = 0, taken = 0; part < parts.length; part += 2) {
    const names = parts[part + 1] as string
    const until = taken + countNames(names)
    groups.push({ directory: parts[part] as Raw, names, seqs: seqs.slice(taken, until) })
    taken = until
  }
  return groups
}

function countNames(names: string): number {
  let count = 1
  for (let at = names.indexOf('/'); at >= 0; at = names.indexOf('/', at + 1)) count++
  return count
}
