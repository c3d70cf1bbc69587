import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { readingOf, wholeWordsOf, wordsOf } from './words.js'

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.string({ unit: fc.constantFrom(...'aAbB01 /_-.éÉßİı写ーไ\u0301\u200d\ud83d'), maxLength: 60 }),
  fc.string({ unit: fc.constantFrom(...'aB1'), minLength: 90, maxLength: 400 }),
)

describe('the words of a text', () => {
  test.each([
    ['/data/my-file_v2.tar.gz', 'data my file v 2 tar gz'],
    ['fooBar HTTPServer iPhone12Pro README ReadMe', 'foo bar http server i phone 12 pro readme read me'],
    ['IMG0042.JPG 2024-05-01T10:20', 'img 0042 jpg 2024 05 01 t 10 20'],
    ['s01e02 x86_64 3D', 's 01 e 02 x 86 64 3 d'],
    ["don't stop\t(now)\n100%", 'don t stop now 100'],
    ['旅行写真.jpg コーヒー photo写真', '旅 行 写 真 jpg コー ヒー photo 写 真'],
    ['한국어 사진photo', '한국어 사진 photo'],
    ['ไทยแลนด์', 'ไ ท ย แ ล น ด์'],
    ['שלום مرحبا Привет', 'שלום مرحبا привет'],
    ['Straße STRASSE ẞ', 'strasse strasse ss'],
    ['ΟΔΟΣ οδος', 'οδοσ οδοσ'],
    ['İstanbul istanbul ISTANBUL ısı', 'istanbul istanbul istanbul isi'],
    ['ｆｕｌｌ ﬁle x² ½ Ⅷ', 'full file x 2 1 2 viii'],
    ['می\u200cخواهم co\u00adoperate', 'میخواهم cooperate'],
    ['🎉 ... /-/ \ufffd', ''],
    ['', ''],
  ])('of %j are "%s"', (text, words) => {
    expect(wordsOf(text).join(' ')).toBe(words)
  })

  test('with case ignored are not separated by it', () => {
    expect(wholeWordsOf('/YouTube/fooBar HTTPServer iPhone12Pro.JPG').join(' ')).toBe(
      'youtube foobar httpserver iphone 12 pro jpg',
    )
  })

  test('keep codes in one piece, in any case, and leave other mixtures of letters and digits apart', () => {
    const md5 = 'd41d8cd98f00b204e9800998ecf8427e'
    expect(wordsOf(`/objects/${md5}.bin`)).toEqual(['objects', md5, 'bin'])
    expect(wordsOf(md5.toUpperCase())).toEqual([md5])
    expect(wordsOf('10h05m03s')).toEqual(['10', 'h', '05', 'm', '03', 's'])
  })

  test('are cut at 100 characters, never within one', () => {
    expect(wordsOf('x'.repeat(250)).map((word) => word.length)).toEqual([100, 100, 50])
    expect(wordsOf(`x${'𝒳'.normalize('NFKC')}${'\u{10400}'.repeat(120)}`).every((word) => !/\p{Cs}/u.test(word))).toBe(true)
    expect(wordsOf('a1'.repeat(60))).toHaveLength(120)
  })

  test('are the same for names in NFC and in NFD', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(wordsOf(text.normalize('NFD'))).toEqual(wordsOf(text.normalize('NFC')))
      }),
    )
  })

  test('stay as they are when they are split again', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        for (const split of [wordsOf, wholeWordsOf]) expect(split(split(text).join(' '))).toEqual(split(text))
      }),
      { numRuns: 500 },
    )
  })

  test('stay as they are whatever character they hold', () => {
    const alphabetic = /[\p{L}\p{M}\p{N}]/u
    for (let code = 0; code < 0x20000; code += code < 0x3400 ? 1 : 13) {
      const character = String.fromCodePoint(code)
      if (!alphabetic.test(character)) continue
      for (const text of [character, `a${character}b`, `א${character}א`, `1${character}e\u0301`]) {
        const words = wordsOf(text)
        const again = wordsOf(words.join(' '))
        if (words.join() !== again.join()) throw new Error(`U+${code.toString(16)} in ${JSON.stringify([text, words, again])}`)
      }
    }
  })

  test('of a path are those of its directory, then those of its name', () => {
    fc.assert(
      fc.property(anyText, anyText, (directory, name) => {
        expect(wordsOf(`${directory}/${name}`)).toEqual([...wordsOf(directory), ...wordsOf(name)])
      }),
    )
  })

  test('do not depend on case when case is ignored', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'aAbBzZ01 /_-.'), maxLength: 60 }), (text) => {
        expect(wholeWordsOf(text.toUpperCase())).toEqual(wholeWordsOf(text.toLowerCase()))
        expect(wholeWordsOf(text)).toEqual(wordsOf(text.toLowerCase()))
      }),
    )
  })

  test('are one and the same list in both readings where case does not change', () => {
    const plain = readingOf('/srv/IMG_0042.jpg')
    expect(plain.whole).toBe(plain.words)
    fc.assert(
      fc.property(anyText, (text) => {
        expect(readingOf(text)).toEqual({ words: wordsOf(text), whole: wholeWordsOf(text) })
      }),
    )
  })
})
