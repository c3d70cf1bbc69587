import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { joinRaw, looseTextOf, type Raw, rawFromBytes, rawFromText } from '#libs/os/raw.js'
import { readingOf } from '../words.js'
import { phraseKeys } from './keys.js'
import { bundleOf, firstRunOf, type Neighbours, runsOf, seqAt, seqsOf, unpack } from './run.js'

const aName = fc.oneof(
  fc.stringMatching(/^[a-cA-C01_.]{1,12}$/).map(rawFromText),
  fc
    .uint8Array({ minLength: 1, maxLength: 8 })
    .map((bytes) => rawFromBytes(bytes.map((byte) => (byte === 0 || byte === 47 ? 1 : byte)))),
)
const aPath = fc.array(aName, { minLength: 1, maxLength: 4 }).map((names) => `/${names.join('/')}` as Raw)
const someFiles = fc.array(fc.record({ seq: fc.nat(2 ** 31 - 1), path: aPath }), { maxLength: 300 })

const namesOf = (files: string, { from, namesAt, to }: Neighbours): Raw[] =>
  files
    .slice(namesAt, to)
    .split('/')
    .map((name) => joinRaw(files.slice(from, namesAt) as Raw, name as Raw))

describe('the runs of a bundle', () => {
  test('hold each file once, and give it back byte for byte', () => {
    fc.assert(
      fc.property(someFiles, (files) => {
        const runs = runsOf({ number: 5n, setId: 's', files })
        const unpacked = runs.flatMap((run) =>
          unpack(run.files).flatMap((neighbours) =>
            namesOf(run.files, neighbours).map((path, i) => {
              expect(seqAt(neighbours.stretches, i)).toBe(seqsOf(neighbours.stretches)[i])
              return { seq: seqAt(neighbours.stretches, i), path }
            }),
          ),
        )
        const order = (list: readonly { seq: number; path: Raw }[]) => list.map(({ seq, path }) => `${path}\0${seq}`).sort()
        expect(order(unpacked)).toEqual(order(files))
      }),
    )
  })

  test('have the keys of every part of every path', () => {
    fc.assert(
      fc.property(someFiles, fc.nat(), fc.integer({ min: 1, max: 4 }), (files, at, many) => {
        for (const run of runsOf({ number: 5n, setId: 's', files })) {
          for (const neighbours of unpack(run.files)) {
            for (const path of namesOf(run.files, neighbours)) {
              const { words, whole } = readingOf(looseTextOf(path))
              for (const reading of [words, whole]) {
                const from = at % Math.max(1, reading.length)
                const phrase = reading.slice(from, from + many)
                for (const key of phraseKeys({ words: phrase, whole: phrase })[0] ?? []) expect(run.keys.has(key)).toBe(true)
              }
            }
          }
        }
      }),
    )
  })

  test('are as many as they must be, with ids of their bundle in a row', () => {
    const files = Array.from({ length: 130 }, (_, i) => ({ seq: i, path: rawFromText(`/d${i % 10}/f${i}`) }))
    const runs = runsOf({ number: 2n ** 38n, setId: 's', files })
    expect(runs.map(({ id }) => id)).toEqual([0n, 1n, 2n].map((place) => firstRunOf(2n ** 38n) + place))
    expect(runs.every(({ id }) => bundleOf(id) === 2n ** 38n)).toBe(true)
  })

  test('are the same in whatever order the files come', () => {
    fc.assert(
      fc.property(someFiles, (files) => {
        expect(runsOf({ number: 1n, setId: 's', files: files.toReversed() })).toEqual(runsOf({ number: 1n, setId: 's', files }))
      }),
    )
  })
})

test('two words of one hash have one key', () => {
  // So the suite's test with these two is one of collisions. https://softwareengineering.stackexchange.com/questions/49550
  const key = (word: string) => phraseKeys(readingOf(word))
  expect(key('costarring')).toEqual(key('liquid'))
})
