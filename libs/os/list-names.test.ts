import { closeSync, lstatSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { listNames, type Names } from './list-names.js'
import { type Raw, rawFromBytes, rawFromText } from './raw.js'
import { scratchDirectory } from './scratch-directory.js'
import { runScript, WITHOUT_KOFFI } from './test-process.js'

const directory = scratchDirectory()
const namesOf = (names: Names): Raw[] => Array.from({ length: names.count }, (_, index) => names.name(index))
const touch = (parent: string, name: Raw) =>
  closeSync(openSync(Buffer.concat([Buffer.from(`${parent}/`), Buffer.from(name, 'latin1')]), 'w'))

/** Few letters, so that names share their beginnings; all that a name may hold, also a newline and what is not UTF-8. */
const letter = fc.constantFrom(0x01, 0x0a, 0x20, 0x2e, 0x30, 0x31, 0x61, 0x7f, 0x80, 0xc3, 0xff)
const name = fc
  .tuple(fc.constantFrom('', 'a-shared-beginning-'), fc.array(letter, { minLength: 1, maxLength: 12 }))
  .map(([beginning, letters]) => `${beginning}${rawFromBytes(Uint8Array.from(letters))}` as Raw)
  .filter((raw) => raw !== '.' && raw !== '..')

describe('listing names', () => {
  test('gives every name once, byte for byte and in byte order', () => {
    fc.assert(
      fc.property(fc.uniqueArray(name, { maxLength: 60 }), (names) => {
        const at = mkdtempSync(join(directory, 'names-'))
        for (const raw of names) touch(at, raw)
        expect(namesOf(listNames(rawFromText(at)))).toEqual([...names].sort())
        rmSync(at, { recursive: true })
      }),
      { numRuns: 60 },
    )
  })

  test('gives more names than one call of the system does', () => {
    const at = join(directory, 'many')
    mkdirSync(at)
    const names = Array.from({ length: 12_000 }, (_, i) => `${(i * 7919) % 12_007}-${'x'.repeat(i % 40)}` as Raw)
    for (const raw of names) touch(at, raw)
    expect(namesOf(listNames(rawFromText(at)))).toEqual([...names].sort())
  })

  test('gives the longest name, and nothing for an empty directory', () => {
    const at = join(directory, 'long')
    mkdirSync(at)
    expect(listNames(rawFromText(at)).count).toBe(0)
    touch(at, 'x'.repeat(255) as Raw)
    expect(namesOf(listNames(rawFromText(at)))).toEqual(['x'.repeat(255)])
  })

  test('never calls a directory something else', () => {
    const at = join(directory, 'types')
    mkdirSync(join(at, 'a-directory'), { recursive: true })
    writeFileSync(join(at, 'b-file'), '')
    symlinkSync('a-directory', join(at, 'c-symlink'))
    const names = listNames(rawFromText(at))
    expect(names.mayBeDirectory(0)).toBe(true)
    if (process.platform === 'linux') expect([1, 2].map((index) => names.mayBeDirectory(index))).toEqual([false, false])
  })

  const onLinux = process.platform === 'linux' ? test : test.skip
  onLinux('leaves the time of the last reading as it is', () => {
    const at = join(directory, 'quiet')
    mkdirSync(at)
    writeFileSync(join(at, 'x'), '')
    const before = new Date('2001-02-03T04:05:06Z')
    utimesSync(at, before, new Date('2002-02-03T04:05:06Z'))
    expect(listNames(rawFromText(at)).count).toBe(1)
    expect(lstatSync(at).atime).toEqual(before)
  })

  test('refuses what is no directory, and a symlink to one', () => {
    writeFileSync(join(directory, 'file'), '')
    symlinkSync('/', join(directory, 'link'))
    expect(() => listNames(rawFromText(join(directory, 'file')))).toThrow(/ENOTDIR/)
    expect(() => listNames(rawFromText(join(directory, 'link')))).toThrow(/ENOTDIR|ELOOP/)
    expect(() => listNames(rawFromText(join(directory, 'nothing')))).toThrow(/ENOENT/)
  })

  test('is the same where koffi does not load, only without types', () => {
    const at = join(directory, 'fallback')
    mkdirSync(join(at, 'z'), { recursive: true })
    for (const raw of ['b', 'a\n', '\xff', '\xfe\xff', 'é']) touch(at, raw as Raw)
    const script = `const names = list.listNames(${JSON.stringify(at)})
      say(Array.from({ length: names.count }, (_, i) => [names.name(i), names.mayBeDirectory(i)]))`
    const listed = runScript({ list: new URL('./list-names.js', import.meta.url).href }, script, { before: WITHOUT_KOFFI })
    expect(listed).toEqual(namesOf(listNames(rawFromText(at))).map((raw) => [raw, true]))
  })
})
