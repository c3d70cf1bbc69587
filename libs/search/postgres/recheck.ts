/** Which files of a run match: by their text, as `matchesQuery` says it, but without splitting what cannot match. */
import { looseTextOf, type Raw } from '#libs/os/raw.js'
import { hasPhrase, type Phrase, type Query } from '../query.js'
import { type Reading, readingOf } from '../words.js'
import { type Neighbours, unpack } from './run.js'
import type { SetAnswers } from './sets.js'

/** The seqs of the files that match. */
export type Recheck = (setId: string, files: string) => number[]

export function recheckFor(query: Query, sets: SetAnswers): Recheck {
  return (setId, files) => {
    if (sets.excluded.has(setId)) return []
    const all = query.all.filter((_, i) => !sets.have[i]?.has(setId))
    const seqs: number[] = []
    for (const neighbours of unpack(files)) addMatches(seqs, neighbours, all, query.none)
    return seqs
  }
}

const PLAIN = /^[\0-\x7f]*$/

function addMatches(
  seqs: number[],
  { directory, names, seqs: own }: Neighbours,
  all: readonly Phrase[],
  none: readonly Phrase[],
): void {
  // In plain text a word stands as it is, so what does not hold a phrase's last word need not be split: most directories and names.
  let split: Reading | undefined
  const above = () => {
    split ??= readingOf(looseTextOf(directory))
    return split
  }
  const plainAbove = plainOf(directory)
  const isAbove = (phrase: Phrase) => mayEndIn(plainAbove, phrase) && hasPhrase(above(), phrase)
  if (none.some(isAbove)) return
  // What the directory does not have ends in the name.
  const left = all.filter((phrase) => !isAbove(phrase))
  const together = plainOf(names)
  if (!left.every((phrase) => mayEndIn(together, phrase))) return
  const against = none.filter((phrase) => mayEndIn(together, phrase))
  if (left.length === 0 && against.length === 0) {
    for (const seq of own) seqs.push(seq)
    return
  }
  const apart = names.split('/') as Raw[]
  const plain = together?.split('/')
  for (const [i, name] of apart.entries()) {
    if (!left.every((phrase) => mayEndIn(plain?.[i], phrase))) continue
    const path = joined(above(), readingOf(looseTextOf(name)))
    if (left.every((phrase) => hasPhrase(path, phrase)) && !against.some((phrase) => hasPhrase(path, phrase)))
      seqs.push(own[i] as number)
  }
}

const plainOf = (names: string): string | undefined => (PLAIN.test(names) ? names.toLowerCase() : undefined)

const mayEndIn = (plain: string | undefined, { words, whole }: Phrase): boolean =>
  plain === undefined || plain.includes(words.at(-1) as string) || plain.includes(whole.at(-1) as string)

/** A path is split like its directory and its name one after the other, for `/` ends every word. */
function joined(above: Reading, name: Reading): Reading {
  const words = above.words.concat(name.words)
  const same = above.whole === above.words && name.whole === name.words
  return { words, whole: same ? words : above.whole.concat(name.whole) }
}
