import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  isWithin,
  joinRaw,
  jsonName,
  looseTextOf,
  nameFromJson,
  nameOf,
  parentOf,
  type Raw,
  rawFromBytes,
  rawFromText,
  rawToBytes,
  shown,
  shownJson,
  shownText,
  textOf,
} from './raw.js'

const bytes = fc.uint8Array({ min: 1, maxLength: 40 })

describe('a raw name', () => {
  test('is its bytes, whatever they are', () => {
    fc.assert(
      fc.property(bytes, (name) => {
        expect(Uint8Array.from(rawToBytes(rawFromBytes(name)))).toEqual(name)
      }),
    )
  })

  test('compares as its bytes do', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        const [x, y] = [rawFromBytes(a), rawFromBytes(b)]
        expect(x < y ? -1 : x > y ? 1 : 0).toBe(Buffer.compare(a, b))
      }),
    )
  })

  test('goes through JSON, as text where it is text', () => {
    fc.assert(
      fc.property(bytes, (name) => {
        const raw = rawFromBytes(name)
        expect(nameFromJson('path', JSON.parse(JSON.stringify(jsonName('path', raw))))).toBe(raw)
      }),
    )
    expect(jsonName('path', rawFromText('/é'))).toEqual({ path: '/é' })
    expect(jsonName('path', '/\xff' as Raw)).toEqual({ path_b64: 'L/8=' })
    expect(nameFromJson('path', {})).toBeUndefined()
  })

  test('has a text where it is UTF-8', () => {
    expect(textOf(rawFromText('grün'))).toBe('grün')
    expect(textOf('gr\xfcn' as Raw)).toBeUndefined()
    expect(looseTextOf('gr\xfcn' as Raw)).toBe('gr\ufffdn')
  })

  test('is shown without anything that a terminal would obey', () => {
    expect(shown(rawFromText('grün'))).toBe('grün')
    expect(shown('gr\xfcn' as Raw)).toBe('gr\\xfcn')
    expect(shown(rawFromText('a\nb\tc\u001b[31m'))).toBe('a\\nb\\tc\\x1b[31m')
    expect(shown(rawFromText('right-to-left \u202e'))).toBe('right-to-left \\u{202e}')
    fc.assert(fc.property(bytes, (name) => expect(shown(rawFromBytes(name))).not.toMatch(/\p{Cc}/u)))
  })
})

describe('a raw path', () => {
  test('is its directory and its name', () => {
    expect([parentOf('/a/b' as Raw), nameOf('/a/b' as Raw)]).toEqual(['/a', 'b'])
    expect([parentOf('/a' as Raw), nameOf('/a' as Raw)]).toEqual(['/', 'a'])
    expect([parentOf('/' as Raw), nameOf('/' as Raw)]).toEqual(['/', ''])
    for (const path of ['/a', '/a/b', '/a/b/c'] as Raw[]) expect(joinRaw(parentOf(path), nameOf(path))).toBe(path)
  })

  test('lies within its directories only', () => {
    const isIn = (path: string, directory: string) => isWithin(path as Raw, directory as Raw)
    expect([isIn('/a/b', '/a'), isIn('/a', '/a'), isIn('/a', '/'), isIn('/', '/')]).toEqual([true, true, true, true])
    expect([isIn('/ab', '/a'), isIn('/a', '/a/b'), isIn('/', '/a')]).toEqual([false, false, false])
  })
})

test('other text is shown without what a terminal or a reader could take for something else', () => {
  for (const harmful of ['\n', '\r', '\x1b[2J', '\x9b31m', '\u202e', '\u2028', '\u200f', '\ud800']) {
    const text = `host${harmful}name`
    expect(shownText(text)).toMatch(/^host[\x20-\x7e]+name$/)
    const json = shownJson(JSON.stringify({ text }))
    expect(json).toMatch(/^[\x20-\x7e]+$/)
    expect(JSON.parse(json)).toEqual({ text })
  }
  expect(shownText('Zoë, 東京')).toBe('Zoë, 東京')
})
