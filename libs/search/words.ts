/**
 * What a word is: the one function that splits text, for paths, descriptions, tags and queries, and for every index alike.
 *
 * - A word is made of letters and digits (of any script, with their accents). Everything else only separates: `/ . _ -`, white space,
 *   punctuation, emoji, bytes that are not UTF-8.
 * - It ends where letters meet digits: `IMG0042.jpg` is `img 0042 jpg`. A token that is typed is split the same way and then means its
 *   words in a row, so `img0042`, `img` and `0042` all find that file (and `img0042` also finds `img_0042`).
 * - It ends where the case changes: `fooBar` is `foo bar`, `HTTPServer` is `http server`. But nobody should have to know how a name is
 *   written to find it, so there is a second reading, `wholeWordsOf`, in which case is ignored: `youtube` finds `YouTube.mp4`.
 * - A run of letters and digits with five or more groups of digits (a checksum, a random id) is a code and stays one word: its parts
 *   mean nothing to anybody, and would be half of the index.
 * - Scripts that put no spaces between words (Chinese, Japanese, Thai ...): each letter is a word, and what is typed means those
 *   letters in a row, so any part of a name finds it.
 * - Case and compatibility forms are folded: names in NFC and NFD, `Straße` and `STRASSE`, full-width and plain letters are the same.
 * - Longer words than 100 characters are cut into words of 100.
 *
 * Split again, words stay as they are: `wordsOf(wordsOf(text).join(' '))` is `wordsOf(text)`.
 */

/** The words of a text, in order, folded. */
export const wordsOf = (text: string): string[] => split(text, true)

/** The same with case ignored: changes of case separate nothing. */
export const wholeWordsOf = (text: string): string[] => split(text, false)

/** Both readings of a text; the very same array twice where no case changes within a word. */
export interface Reading {
  readonly words: readonly string[]
  readonly whole: readonly string[]
}

export function readingOf(text: string): Reading {
  const words = wordsOf(text)
  return { words, whole: MAY_CHANGE_CASE.test(text) ? wholeWordsOf(text) : words }
}

const MAX_WORD = 100
/** Of digits in a run, from which on it is a code. An `s01e02` has 2, `10h05m03s` 3, a checksum of 32 hex digits 7 or 8. */
const CODE_GROUPS = 5

const MAY_CHANGE_CASE = /[a-z][A-Z]|[A-Z]{2}[a-z]|[^\0-\x7f]/
const ASCII = /^[\0-\x7f]*$/

/** What a character does to a word. Zero is kept for "not looked at yet". */
const SEPARATOR = 1
const LOWER = 2
const UPPER = 3
const DIGIT = 4
/** A letter of a script without cases: Arabic, Hebrew, Korean ... */
const CASELESS = 5
/** A letter that is a word by itself. */
const ALONE = 6
/** Accents and the like: belongs to what stands before it. */
const JOINS = 7

function split(text: string, atCase: boolean): string[] {
  const plain = ASCII.test(text)
  const source = plain ? text : composed(text)
  // Lower case keeps the length of ASCII, and one call is cheaper than one a word.
  const folded = plain ? source.toLowerCase() : undefined
  const word = (start: number, end: number) => (folded === undefined ? fold(source.slice(start, end)) : folded.slice(start, end))

  const words: string[] = []
  const cuts: number[] = []
  const length = source.length
  let at = 0
  while (at < length) {
    const start = at
    let digitGroups = 0
    let last = SEPARATOR
    let lastAt = at
    let beforeLast = SEPARATOR
    let count = 0
    while (at < length) {
      let code = source.charCodeAt(at)
      if (code >= 0xd800 && code < 0xe000) code = source.codePointAt(at) as number
      let kind = KINDS[code] as number
      if (kind === 0) kind = learn(code)
      if (kind === SEPARATOR) break
      if (kind !== JOINS) {
        if (kind === UPPER && !atCase) kind = LOWER
        if (kind === last) {
          if (kind === ALONE) cuts[count++] = at
        } else {
          if (last !== SEPARATOR) {
            if (last !== UPPER || kind !== LOWER) cuts[count++] = at
            else if (beforeLast === UPPER) cuts[count++] = lastAt
          }
          if (kind === DIGIT) digitGroups++
        }
        beforeLast = last
        last = kind
        lastAt = at
      }
      at += code > 0xffff ? 2 : 1
    }
    const end = at
    at++
    if (end === start) continue
    if (digitGroups >= CODE_GROUPS) {
      const code = word(start, end)
      if (code.length <= MAX_WORD) {
        words.push(code)
        continue
      }
    }
    let from = start
    for (let i = 0; i < count; i++) {
      const to = cuts[i] as number
      push(words, word(from, to))
      from = to
    }
    push(words, word(from, end))
  }
  return words
}

function push(words: string[], word: string): void {
  let rest = word
  while (rest.length > MAX_WORD) {
    const low = rest.charCodeAt(MAX_WORD)
    const end = low >= 0xdc00 && low < 0xe000 ? MAX_WORD - 1 : MAX_WORD // not within a surrogate pair
    words.push(rest.slice(0, end))
    rest = rest.slice(end)
  }
  if (rest.length > 0) words.push(rest)
}

/** Compatibility composition, without what is not seen (joiners, soft hyphens). The iota below is a letter as soon as it is folded. */
const composed = (text: string): string =>
  text
    .normalize('NFKC')
    .replace(/\p{Default_Ignorable_Code_Point}+/gu, '')
    .replaceAll('\u0345', '\u03b9')
    .normalize('NFKC')

/**
 * By way of the upper case, which makes `ß` two letters; with one sigma, which `toLowerCase` chooses by its place, and one i, which has
 * a dot of its own where it comes from Turkish.
 */
const fold = (word: string): string =>
  word.toLowerCase().toUpperCase().toLowerCase().replaceAll('\u03c2', '\u03c3').replaceAll('i\u0307', 'i').normalize('NFKC')

/** By code point; filled as they occur. */
const KINDS = new Uint8Array(0x110000)

function learn(code: number): number {
  const character = String.fromCodePoint(code)
  const kind = PATTERNS.find(([pattern]) => pattern.test(character))?.[1] ?? SEPARATOR
  KINDS[code] = kind
  return kind
}

const PATTERNS: readonly (readonly [RegExp, number])[] = [
  [/[a-z]|\p{Ll}/u, LOWER],
  [/\p{Lu}|\p{Lt}/u, UPPER],
  [/\p{Nd}/u, DIGIT],
  [/(?=[\p{L}\p{Nl}])[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u, ALONE],
  [/[\p{M}\p{Lm}\p{Nl}\p{No}]/u, JOINS],
  [/\p{L}/u, CASELESS],
]
