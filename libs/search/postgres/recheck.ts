/** Which files of a run match: by their text, as `matchesQuery` says it, but without splitting what a look is enough for. */
import { looseTextOf, type Raw } from '#libs/os/raw.js'
import { hasPhrase, type Phrase, type Query } from '../query.js'
import { type Reading, readingOf } from '../words.js'
import { type BothCases, endOf, isPlain, type Look, lookFor, placeOf } from './plain-text.js'
import { type Neighbours, seqAt, seqsOf, unpack } from './run.js'
import type { SetAnswers } from './sets.js'

/** The seqs of the files that match. */
export type Recheck = (setId: string, files: string) => number[]

interface Sought {
  readonly phrase: Phrase
  readonly look: Look
}

export function recheckFor(query: Query, sets: SetAnswers): Recheck {
  const sought = (phrase: Phrase): Sought => ({ phrase, look: lookFor(phrase) })
  const every = query.all.map(sought)
  const none = query.none.map(sought)
  return (setId, files) => {
    if (sets.excluded.has(setId)) return []
    const all = every.filter((_, i) => !sets.have[i]?.has(setId))
    const seqs: number[] = []
    // No character of a raw name becomes two in lower case: what lies where does not change.
    const both = { text: files, low: files.toLowerCase() }
    const plain = isPlain(files)
    for (const neighbours of unpack(files)) {
      // One name that is not plain is no reason to split all others.
      if (plain || isPlain(files.slice(neighbours.from, neighbours.to))) lookThrough(seqs, both, neighbours, all, none)
      else splitAll(seqs, files, neighbours, all, none)
    }
    return seqs
  }
}

/** The definition. */
function splitAll(
  seqs: number[],
  files: string,
  { from, namesAt, to, stretches }: Neighbours,
  all: readonly Sought[],
  none: readonly Sought[],
): void {
  const above = readingOf(looseTextOf(files.slice(from, namesAt) as Raw))
  const names = files.slice(namesAt, to).split('/') as Raw[]
  for (const [i, name] of names.entries()) {
    const path = joined(above, readingOf(looseTextOf(name)))
    const has = ({ phrase }: Sought) => hasPhrase(path, phrase)
    if (all.every(has) && !none.some(has)) seqs.push(seqAt(stretches, i))
  }
}

function lookThrough(
  seqs: number[],
  both: BothCases,
  { from, namesAt, to, stretches }: Neighbours,
  all: readonly Sought[],
  none: readonly Sought[],
): void {
  const { text, low } = both
  let split: Reading | undefined
  const above = () => {
    split ??= readingOf(text.slice(from, namesAt))
    return split
  }
  const isAbove = ({ phrase, look }: Sought) => {
    const answer = look(both, from, namesAt)
    return answer === 'maybe' ? hasPhrase(above(), phrase) : answer === 'yes'
  }
  if (none.some(isAbove)) return
  // What the directory does not have ends in the name.
  const left = all.filter((one) => !isAbove(one))
  const ends = ({ phrase }: Sought) => placeOf(both, endOf(phrase), namesAt, to) >= 0
  if (!left.every(ends)) return
  const against = none.filter(ends)
  if (left.length === 0 && against.length === 0) {
    for (const seq of seqsOf(stretches)) seqs.push(seq)
    return
  }
  /** Of the path whose name lies there; the directory alone does not have it. */
  const has = ({ phrase, look }: Sought, at: number, end: number) => {
    const answer = look(both, at, end)
    if (answer !== 'maybe') return answer === 'yes'
    return hasPhrase(joined(above(), readingOf(text.slice(at, end))), phrase)
  }
  const mayEndIn = left.map(({ phrase }) => finder(low, endOf(phrase)))
  for (let i = 0, at = namesAt; at <= to; i++) {
    const slash = text.indexOf('/', at)
    const end = slash < 0 ? to : Math.min(slash, to)
    const mayMatch = mayEndIn.every((isIn) => isIn(at, end))
    if (mayMatch && left.every((one) => has(one, at, end)) && !against.some((one) => has(one, at, end)))
      seqs.push(seqAt(stretches, i))
    at = end + 1
  }
}

/** Whether a word begins in a piece of the text; the pieces come in order, and what lies between two finds is passed over once. */
function finder(low: string, word: string): (from: number, to: number) => boolean {
  let next = -1
  return (from, to) => {
    if (next < from) {
      next = low.indexOf(word, from)
      if (next < 0) next = Number.POSITIVE_INFINITY
    }
    return next < to
  }
}

/** A path is split like its directory and its name one after the other, for `/` ends every word. */
function joined(above: Reading, name: Reading): Reading {
  const words = above.words.concat(name.words)
  const same = above.whole === above.words && name.whole === name.words
  return { words, whole: same ? words : above.whole.concat(name.whole) }
}
