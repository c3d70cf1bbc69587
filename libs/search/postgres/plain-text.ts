/**
 * Whether a phrase is in a piece of ASCII text, without splitting it: most finds, and nearly all that are none, are told by the characters
 * around them. `words.ts` says what a word is; where that takes more than a look, the answer is `maybe`.
 */
import type { Phrase } from '../query.js'

/** A text as it is and in lower case. A piece of it, which must be plain, is named by where it begins and ends. */
export interface BothCases {
  readonly text: string
  readonly low: string
}

export type Answer = 'yes' | 'no' | 'maybe'

/** Other characters take more than a byte. */
export const isPlain = (text: string): boolean => Buffer.byteLength(text) === text.length

/** What occurs wherever the phrase does: its last word, whose letters are also those at the end of the other reading. */
export const endOf = ({ words }: Phrase): string => words.at(-1) as string

/** Where `word` begins in the piece, or -1. */
export function placeOf({ low }: BothCases, word: string, from: number, to: number): number {
  const at = low.indexOf(word, from)
  return at < 0 || at + word.length > to ? -1 : at
}

/** For a phrase: what a look at a piece of text tells. */
export type Look = (plain: BothCases, from: number, to: number) => Answer

export function lookFor(phrase: Phrase): Look {
  const end = endOf(phrase)
  if (phrase.words.length > 1 || phrase.whole.length > 1 || !/^[a-z]{1,100}$/.test(end))
    return (plain, from, to) => (placeOf(plain, end, from, to) < 0 ? 'no' : 'maybe')
  return (plain, from, to) => {
    let answer: Answer = 'no'
    for (let at = placeOf(plain, end, from, to); at >= 0; at = placeOf(plain, end, at + 1, to)) {
      const here = wordAt(plain, at, at + end.length, from, to)
      if (here === 'yes') return here
      if (here === 'maybe') answer = here
    }
    return answer
  }
}

/** With so many groups of digits in a row with letters, the letters are no word (a code; `words.ts`). */
const CODE_GROUPS = 5

/** Are these letters a word? */
function wordAt({ text, low }: BothCases, start: number, end: number, from: number, to: number): Answer {
  let first = start
  while (first > from && isLetter(low.charCodeAt(first - 1))) first--
  let last = end
  while (last < to && isLetter(low.charCodeAt(last))) last++
  // Part of more letters: a word only where the case changes.
  if (first !== start || last !== end) return text.slice(first, last) === low.slice(first, last) ? 'no' : 'maybe'
  return digitGroups(low, first, last, from, to) < CODE_GROUPS ? 'yes' : 'maybe'
}

/** Of the letters and digits in a row that these letters are among. */
function digitGroups(low: string, start: number, end: number, from: number, to: number): number {
  let groups = 0
  let inDigits = false
  const count = (code: number): boolean => {
    const digit = isDigit(code)
    if (!digit && !isLetter(code)) return false
    if (digit && !inDigits) groups++
    inDigits = digit
    return true
  }
  for (let at = start - 1; at >= from && count(low.charCodeAt(at)); ) at--
  inDigits = false
  for (let at = end; at < to && count(low.charCodeAt(at)); ) at++
  return groups
}

const isLetter = (code: number): boolean => code >= 97 && code <= 122
const isDigit = (code: number): boolean => code >= 48 && code <= 57
