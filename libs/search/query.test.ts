import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { rawFromText } from '#libs/os/raw.js'
import { matchesQuery, parseQuery } from './query.js'
import { wordsOf } from './words.js'

const parts = (text: string) => {
  const { all, none } = parseQuery(text)
  return { all: all.map(({ words }) => words.join(' ')), none: none.map(({ words }) => words.join(' ')) }
}

const matches = (query: string, path: string, description = '', tags: string[] = []) =>
  matchesQuery(parseQuery(query), { path: rawFromText(path), description, tags })

describe('a query', () => {
  test.each([
    ['foo Bar', ['foo', 'bar'], []],
    ['  foo\tbar\n', ['foo', 'bar'], []],
    ['foo.txt IMG_0042', ['foo txt', 'img 0042'], []],
    ['"quoted phrase" word', ['quoted phrase', 'word'], []],
    ['a -b -"c d" -e.f', ['a'], ['b', 'c d', 'e f']],
    ['a-b -c', ['a b'], ['c']],
    ['a --b', ['a'], ['b']],
    ['x-"a b"', ['x', 'a b'], []],
    ['"a"-b', ['a', 'b'], []],
    ['foo"a b"bar', ['foo', 'a b', 'bar'], []],
    ['a - b', ['a', 'b'], []],
    ['a "" ... -- -"" -*', ['a'], []],
    ['"-a"', ['a'], []],
  ])('%j asks for %j without %j', (text, all, none) => {
    expect(parts(text)).toEqual({ all, none })
  })

  test.each(['"open', 'a "b c', 'a -"b', '"a" "'])('%j has a quote that is not closed', (text) => {
    expect(() => parseQuery(text)).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(/quote.*\.$/) }),
    )
  })

  test.each(['', '  ', '...', '""', '-', '🎉'])('%j has no word', (text) => {
    expect(() => parseQuery(text)).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(/no word.*\.$/) }),
    )
  })

  test.each(['-a', '-"a b" -c', '-a ...'])('%j only leaves out', (text) => {
    expect(() => parseQuery(text)).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(/leave out/) }),
    )
  })

  test('of any text is understood, or refused in a sentence', () => {
    const unit = fc.constantFrom(...'abZ01 "-./_é写 ')
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit }), fc.string({ unit: 'binary' })), (text) => {
        try {
          const { all, none } = parseQuery(text)
          expect(all.length).toBeGreaterThan(0)
          for (const { words, whole } of [...all, ...none]) {
            expect(words.length).toBeGreaterThan(0)
            expect(whole.length).toBeGreaterThan(0)
          }
        } catch (error) {
          expect(error).toMatchObject({ code: 'usage' })
        }
      }),
    )
  })

  test('is the same after it was written from its parts', () => {
    const words = fc.array(fc.stringMatching(/^[a-zA-Z]{1,8}$/), { minLength: 1, maxLength: 4 })
    const phrases = fc.array(words, { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(phrases, fc.array(words, { maxLength: 3 }), (all, none) => {
        const text = [...none.map((phrase) => `-"${phrase.join(' ')}"`), ...all.map((phrase) => `"${phrase.join('.')}"`)].join(
          ' ',
        )
        const split = (phrase: string[]) => wordsOf(phrase.join(' ')).join(' ')
        expect(parts(text)).toEqual({ all: all.map(split), none: none.map(split) })
      }),
    )
  })
})

describe('a file matches', () => {
  test('when every word occurs, in any case, in its path or its set', () => {
    expect(matches('report MAY', '/a/May/Report.pdf')).toBe(true)
    expect(matches('report june', '/a/May/Report.pdf')).toBe(false)
    expect(matches('report june', '/a/May/Report.pdf', 'all of June')).toBe(true)
    expect(matches('report june lab', '/a/May/Report.pdf', 'all of June', ['x', 'Lab 3'])).toBe(true)
  })

  test('by whole words only', () => {
    expect(matches('repor', '/a/report.pdf')).toBe(false)
    expect(matches('port', '/a/report.pdf')).toBe(false)
  })

  test('by a phrase that stands in a row, also from a directory into the name', () => {
    expect(matches('"may report"', '/a/May/Report.pdf')).toBe(true)
    expect(matches('"report may"', '/a/May/Report.pdf')).toBe(false)
    expect(matches('may/report.pdf', '/a/May/Report.pdf')).toBe(true)
    expect(matches('"a a b"', '/a/a/a/b')).toBe(true)
  })

  test('by no phrase that begins in one text and ends in another', () => {
    expect(matches('"pdf june"', '/a/report.pdf', 'june')).toBe(false)
    expect(matches('"one two"', '/a', '', ['one', 'two'])).toBe(false)
    expect(matches('"one two"', '/a', '', ['one two'])).toBe(true)
    expect(matches('"june one"', '/a', 'june', ['one'])).toBe(false)
  })

  test('unless a word that is left out occurs anywhere', () => {
    expect(matches('report -pdf', '/a/report.pdf')).toBe(false)
    expect(matches('report -june', '/a/report.pdf', 'June')).toBe(false)
    expect(matches('report -"pdf report"', '/a/report.pdf')).toBe(true)
    expect(matches('report -Tube', '/YouTube/report')).toBe(false)
    expect(matches('report -youtube', '/YouTube/report')).toBe(false)
  })

  test('however its name is written', () => {
    for (const path of ['/YouTube.mp4', '/youtube.mp4', '/YOUTUBE.MP4']) {
      for (const query of ['youtube', 'YouTube', 'YOUTUBE', 'youtube.mp4', 'mp4'])
        expect([query, path, matches(query, path)]).toEqual([query, path, true])
    }
    expect(matches('tube', '/YouTube.mp4')).toBe(true)
    expect(matches('tube', '/youtube.mp4')).toBe(false)
    expect(matches('"you tube"', '/YouTube.mp4')).toBe(true)
  })

  test('by its number, its letters, or both together', () => {
    for (const query of ['img', '0042', 'img0042', 'IMG0042.jpg', '"img 0042"'])
      expect(matches(query, '/x/IMG0042.JPG')).toBe(true)
    for (const query of ['42', 'img42', 'mg0042']) expect(matches(query, '/x/IMG0042.JPG')).toBe(false)
  })
})
