/**
 * Words as numbers: what stands in `w`. Two words may share a number, so that a key only says where to look; every hit is compared
 * with its text.
 *
 * Words that are countless by nature (numbers, codes) and pairs of neighbours share buckets: what an index costs is its distinct keys,
 * and most of these would occur once. A bucket still leaves one run of some hundred or thousand to compare. With 2^18 buckets each
 * instead, 391,000 real files took 1.5 times the CPU in Postgres and 1.5 times the index, and searches were no faster.
 */
import type { Reading } from '../words.js'

/**
 * The keys that whoever has this text must have, added to `keys`. A name goes on from where its directory ended, for a phrase may
 * begin in the one and end in the other.
 */
export function addKeys(keys: Set<number>, reading: Reading, before: Ends = START): Ends {
  const words = addRow(keys, reading.words, before.words)
  if (reading.whole !== reading.words) return { words, whole: addRow(keys, reading.whole, before.whole) }
  if (before.whole === before.words || reading.words.length === 0) return { words, whole: words }
  // Only its first word has another neighbour.
  addRow(keys, reading.whole.slice(0, 1), before.whole)
  return { words, whole: words }
}

/** The keys of a phrase: first as split at changes of case, then, where that differs, with case ignored. */
export function phraseKeys(phrase: Reading): number[][] {
  const readings = phrase.whole === phrase.words ? [phrase.words] : [phrase.words, phrase.whole]
  return readings.map((words) => {
    const keys = new Set<number>()
    addRow(keys, words, undefined)
    return [...keys]
  })
}

/** Of each reading the hash of its last word, unless that word has no pairs. */
export interface Ends {
  readonly words: number | undefined
  readonly whole: number | undefined
}

const START: Ends = { words: undefined, whole: undefined }

/** Numbers have no pairs: they tell enough by themselves. Returns the hash that the next word would be a pair with. */
function addRow(keys: Set<number>, words: readonly string[], before: number | undefined): number | undefined {
  let last = before
  for (const word of words) {
    const hash = hashOf(word)
    if (isCountless(word)) {
      keys.add(bucket(hash, NUMBER_BITS))
      last = undefined
    } else {
      keys.add(hash)
      if (last !== undefined) keys.add(PAIRS + bucket(Math.imul(last, 0x9e3779b1) ^ hash, PAIR_BITS))
      last = hash
    }
  }
  return last
}

const NUMBER_BITS = 16
const PAIR_BITS = 12
const PAIRS = 1 << NUMBER_BITS

/** FNV-1a over UTF-16 units: as fast as anything for words of six letters, and 32 bits as Postgres' int4 has them. */
function hashOf(word: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < word.length; at++) hash = Math.imul(hash ^ word.charCodeAt(at), 0x01000193)
  return hash | 0
}

/** The upper bits after the last mixing of murmur3, since those of FNV are weak. */
function bucket(hash: number, bits: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed >>> (32 - bits)
}

/** Numbers of four and more digits; codes, which begin or end with a digit or are long. */
const isCountless = (word: string): boolean =>
  word.length >= 4 && (word.length > 24 || isDigit(word.charCodeAt(0)) || isDigit(word.charCodeAt(word.length - 1)))

const isDigit = (code: number): boolean => code >= 48 && code < 58
