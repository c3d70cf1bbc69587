/**
 * What a person may ask for, and what that means: `matchesQuery` is the definition that every index is measured by.
 *
 * Words are ANDed, in any case and whole; "words in quotes" stand in a row; `-word` and `-"some words"` must not occur. What is typed
 * is split like a path, so `foo.txt` is `"foo txt"`. A phrase lies within the path, within the description or within one tag of the
 * set; different phrases may lie in different ones.
 */
import { FirnError } from '#libs/errors/errors.js'
import { looseTextOf, type Raw } from '#libs/os/raw.js'
import { type Reading, readingOf } from './words.js'

export interface Query {
  /** At least one. */
  readonly all: readonly Phrase[]
  readonly none: readonly Phrase[]
}

/** Words in a row: as they are split at changes of case, or with case ignored. Either reading may be found, in its own kind of text. */
export type Phrase = Reading

export function parseQuery(text: string): Query {
  const all: Phrase[] = []
  const none: Phrase[] = []
  for (const { 0: token, 1: quoted, 2: closing, index } of text.matchAll(/-?"([^"]*)("?)|[^\s"]+/g)) {
    if (quoted !== undefined && closing === '') {
      throw new FirnError('usage', 'The query opens a quote that it does not close: put " at the end of the phrase too.')
    }
    // A hyphen excludes only at the beginning: `a-b` are two words in a row.
    const excludes = token.startsWith('-') && (index === 0 || /\s/.test(text[index - 1] as string))
    const phrase = readingOf(quoted ?? token)
    if (phrase.words.length > 0) (excludes ? none : all).push(phrase)
  }
  if (all.length > 0) return { all, none }
  const what = none.length > 0 ? 'says only what to leave out' : 'has no word to search for'
  throw new FirnError('usage', `The query ${what}: name at least one word that the files have (letters or digits).`)
}

export interface Searchable {
  readonly path: Raw
  /** Of its set. */
  readonly description: string
  readonly tags: readonly string[]
}

export function matchesQuery(query: Query, { path, description, tags }: Searchable): boolean {
  return matchesReadings(query, [readingOf(looseTextOf(path)), ...setReadings(description, tags)])
}

/** The same, for a caller who asks much of the same texts and splits them once. */
export function matchesReadings(query: Query, readings: readonly Reading[]): boolean {
  const has = (phrase: Phrase) => readings.some((reading) => hasPhrase(reading, phrase))
  return query.all.every(has) && !query.none.some(has)
}

export function hasPhrase(text: Reading, phrase: Phrase): boolean {
  if (inARow(text.words, phrase.words)) return true
  const same = text.whole === text.words && phrase.whole === phrase.words
  return !same && inARow(text.whole, phrase.whole)
}

function inARow(words: readonly string[], phrase: readonly string[]): boolean {
  const first = phrase[0] as string
  const last = words.length - phrase.length
  for (let at = words.indexOf(first); at >= 0 && at <= last; at = words.indexOf(first, at + 1)) {
    let matched = 1
    while (matched < phrase.length && words[at + matched] === phrase[matched]) matched++
    if (matched === phrase.length) return true
  }
  return false
}

/** Description and tags, split. Remembered by the array of tags, which lives as long as its set does in the caller's hands. */
export function setReadings(description: string, tags: readonly string[]): readonly Reading[] {
  const known = remembered.get(tags)
  if (known?.description === description) return known.readings
  const readings = [description, ...tags].map(readingOf)
  remembered.set(tags, { description, readings })
  return readings
}

const remembered = new WeakMap<readonly string[], { description: string; readings: readonly Reading[] }>()
