import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type Raw, rawFromText } from '#libs/os/raw.js'
import { hasPhrase, matchesQuery, type Query } from '../query.js'
import { readingOf } from '../words.js'
import { isPlain, lookFor } from './plain-text.js'
import { recheckFor } from './recheck.js'
import { runsOf } from './run.js'

/** Names of which many have the words, in every case and between digits. */
const aName = fc.oneof(
  { weight: 8, arbitrary: fc.stringMatching(/^(report|rep|IMG|Img|ab|A|7|42|_|\.|-){1,9}$/) },
  { weight: 1, arbitrary: fc.stringMatching(/^(report|é|ß|中){1,4}$/) },
)
const aPhrase = fc
  .oneof(aName, fc.constantFrom('report', 'rep', 'img', 'ab', 'a', 'IMG', 'report 42', 'ab/rep'))
  .map(readingOf)
  .filter(({ words }) => words.length > 0)

test('a look says yes or no only where splitting the text says the same', () => {
  let yes = 0
  let no = 0
  fc.assert(
    fc.property(aName, aPhrase, (text, phrase) => {
      if (!isPlain(text)) return
      const answer = lookFor(phrase)({ text, low: text.toLowerCase() }, 0, text.length)
      const has = hasPhrase(readingOf(text), phrase)
      if (answer === 'yes') yes++
      if (answer === 'no') no++
      if (answer !== 'maybe') expect(answer).toBe(has ? 'yes' : 'no')
    }),
    { numRuns: 20_000 },
  )
  expect(Math.min(yes, no)).toBeGreaterThan(100)
})

test('the files of a run that match are those that the definition names', () => {
  const aPath = fc.array(aName, { minLength: 1, maxLength: 3 }).map((names) => `/${names.join('/')}` as string)
  const somePaths = fc.array(aPath, { minLength: 1, maxLength: 30 })
  const aQuery = fc.record({
    all: fc.array(aPhrase, { minLength: 1, maxLength: 3 }),
    none: fc.array(aPhrase, { maxLength: 2 }),
  })
  fc.assert(
    fc.property(somePaths, aQuery, (paths, query: Query) => {
      const files = paths.map((path, i) => ({ seq: i * 3, path: rawFromText(path) as Raw }))
      const recheck = recheckFor(query, { have: query.all.map(() => new Set<string>()), excluded: new Set() })
      const found = runsOf({ number: 1n, setId: 's', files }).flatMap((run) => recheck('s', run.files))
      const matching = files.filter(({ path }) => matchesQuery(query, { path, description: '', tags: [] }))
      expect(found.sort((a, b) => a - b)).toEqual(matching.map(({ seq }) => seq))
    }),
    { numRuns: 3_000 },
  )
})
