/** What every search index must show: one suite, called by the test of each implementation. Brute force over the texts is the judge. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { looseTextOf, type Raw, rawFromBytes, rawFromText } from '#libs/os/raw.js'
import { matchesReadings, parseQuery, setReadings } from './query.js'
import type { Hit, IndexedBundle, IndexedSet, SearchIndex } from './search-index.js'
import { type Reading, readingOf, wordsOf } from './words.js'

/** A place for one index, empty at first. */
export interface IndexPlace {
  /** A view of it, as a process would have it. The suite closes it. */
  open(): Promise<SearchIndex>
  /** How many connections the views hold at this moment for calls that are under way. */
  busy(): Promise<number>
  /** Removes the place. */
  drop(): Promise<void>
}

export function describeSearchIndex(name: string, makePlace: () => Promise<IndexPlace>): void {
  describe(`the search index ${name}`, () => {
    let place: IndexPlace
    let index: SearchIndex
    const sets = makeSets()
    const bundles = makeBundles(sets)

    beforeAll(async () => {
      place = await makePlace()
      index = await place.open()
    })
    afterAll(async () => {
      await index.close()
      await place.drop()
    })

    /** Fails where a hit comes twice. */
    async function find(text: string, options: { setIds?: readonly string[] } = {}): Promise<string[]> {
      const found = new Set<string>()
      for await (const page of index.search(parseQuery(text), options)) {
        for (const hit of page) {
          if (found.has(keyOf(hit))) throw new Error(`${keyOf(hit)} was found twice by ${text}`)
          found.add(keyOf(hit))
        }
      }
      return [...found].sort()
    }

    // Thousands of paths are asked some hundred times: each is split once.
    const readings = new Map<Raw, Reading>()
    function readingOfPath(path: Raw): Reading {
      const known = readings.get(path)
      if (known !== undefined) return known
      const reading = readingOf(looseTextOf(path))
      readings.set(path, reading)
      return reading
    }

    function bruteForce(text: string, among: readonly IndexedBundle[], setsNow: readonly IndexedSet[] = sets): string[] {
      const query = parseQuery(text)
      const setOf = new Map(setsNow.map((set) => [set.id, set]))
      return among
        .flatMap(({ number, setId, files }) => {
          const { description, tags } = setOf.get(setId) as IndexedSet
          const ofSet = setReadings(description, tags)
          const matching = files.filter(({ path }) => matchesReadings(query, [readingOfPath(path), ...ofSet]))
          return matching.map(({ seq }) => keyOf({ bundleNumber: number, seq }))
        })
        .sort()
    }

    async function fill(): Promise<void> {
      await index.clear()
      for (const set of sets) await index.putSet(set)
      for (const bundle of bundles.slice(0, 5)) await index.addBundle(bundle)
      await index.addBundles(bundles.slice(5))
      await index.settle()
    }

    describe('over some thousand files', () => {
      beforeAll(fill)

      test('finds exactly what brute force finds', async () => {
        for (const text of makeQueries(bundles)) expect([text, await find(text)]).toEqual([text, bruteForce(text, bundles)])
      }, 300_000)

      test('finds a file by whatever words of its path are typed, in any case', async () => {
        const all = bundles.flatMap((bundle) => bundle.files.map((file) => ({ ...file, bundleNumber: bundle.number })))
        const some = fc.constantFrom(...all.filter(({ path }) => wordsOf(looseTextOf(path)).length > 1))
        const property = fc.asyncProperty(
          some,
          fc.nat(),
          fc.integer({ min: 1, max: 4 }),
          fc.nat(2),
          async (file, at, many, style) => {
            const words = wordsOf(looseTextOf(file.path))
            const from = at % words.length
            const picked = words.slice(from, from + many)
            const text = [picked.join(' '), `"${picked.join(' ').toUpperCase()}"`, picked.join('-')][style] as string
            expect(await find(text)).toContain(keyOf(file))
          },
        )
        await fc.assert(property, { numRuns: 60 })
      })

      test('gives the newest bundles first', async () => {
        let before = bundles.at(-1)?.number as bigint
        for await (const page of index.search(parseQuery('jpg'))) {
          for (const { bundleNumber } of page) {
            expect(bundleNumber <= before).toBe(true)
            before = bundleNumber
          }
        }
      })

      test('looks only into the sets that are asked for', async () => {
        const setIds = sets.slice(1, 3).map(({ id }) => id)
        const within = bundles.filter(({ setId }) => setIds.includes(setId))
        for (const text of ['jpg', 'archive jpg', 'data -jpg']) {
          expect(await find(text, { setIds })).toEqual(bruteForce(text, within))
        }
        expect(await find('jpg', { setIds: [] })).toEqual([])
        expect(await find('jpg', { setIds: ['no such set'] })).toEqual([])
      })

      test('holds nothing for a consumer that stops early, or is slow', async () => {
        for (let turn = 0; turn < 20; turn++) {
          for await (const page of index.search(parseQuery('frame'))) {
            expect(page.length).toBeGreaterThan(0)
            break
          }
        }
        const slow = index.search(parseQuery('frame'))[Symbol.asyncIterator]()
        await slow.next()
        expect(await place.busy()).toBe(0)
        await slow.return?.()
      })

      test('is seen by other processes', async () => {
        const other = await place.open()
        try {
          const pages = await everyPage(other.search(parseQuery('frame 0042')))
          expect(pages.flat().map(keyOf).sort()).toEqual(bruteForce('frame 0042', bundles))
        } finally {
          await other.close()
        }
      })

      test('does nothing for a call that is aborted before it begins', async () => {
        const signal = AbortSignal.abort(new RangeError('enough'))
        await expect(index.clear({ signal })).rejects.toThrow('enough')
        await expect(index.removeBundles([1n], { signal })).rejects.toThrow('enough')
        await expect(index.addBundle({ ...(bundles[0] as IndexedBundle), files: [] }, { signal })).rejects.toThrow('enough')
        await expect(everyPage(index.search(parseQuery('jpg'), { signal }))).rejects.toThrow('enough')
        expect(await find('jpg')).toEqual(bruteForce('jpg', bundles))
      })

      test('ends a search that is aborted between two pages', async () => {
        const stop = new AbortController()
        const reading = (async () => {
          for await (const _ of index.search(parseQuery('frame'), { signal: stop.signal })) stop.abort(new RangeError('enough'))
        })()
        await expect(reading).rejects.toThrow('enough')
      })
    })

    describe('that changes', () => {
      const QUERIES = ['jpg', 'frame 0042', 'archive', '"lab two" jpg', 'data -jpg', 'photo -archive']
      beforeAll(fill)

      async function expectAll(among: readonly IndexedBundle[], setsNow: readonly IndexedSet[] = sets): Promise<void> {
        for (const text of QUERIES) expect([text, await find(text)]).toEqual([text, bruteForce(text, among, setsNow)])
      }

      test('takes a bundle again without changing anything', async () => {
        for (const bundle of bundles.slice(0, 3)) await index.addBundle(bundle)
        await index.addBundles(bundles.slice(2, 6))
        await expectAll(bundles)
      })

      test('takes one bundle from several at once', async () => {
        const bundle = bundles.at(-1) as IndexedBundle
        const other = await place.open()
        await Promise.all([index, other, index, other].map((one) => one.addBundle(bundle)))
        await other.close()
        await expectAll(bundles)
      })

      test('forgets what a bundle had before, when it is added with other files', async () => {
        const [first, ...rest] = bundles as [IndexedBundle, ...IndexedBundle[]]
        const changed = { ...first, files: first.files.slice(0, 3) }
        await index.addBundle(changed)
        await expectAll([changed, ...rest])
        await index.addBundle(first)
      })

      test('forgets bundles that are removed, and has them again when they are added', async () => {
        const numbers = bundles.slice(1, 4).map(({ number }) => number)
        await index.removeBundles([...numbers, 999_999n])
        await index.removeBundles(numbers)
        await expectAll(bundles.filter(({ number }) => !numbers.includes(number)))
        await index.addBundles(bundles.slice(1, 4))
        await expectAll(bundles)
      })

      test('sees new tags and descriptions of sets whose bundles it has', async () => {
        const changed = sets.map((set, i) => ({
          ...set,
          description: `now photo ${i}`,
          tags: i === 0 ? ['archive'] : ['lab two', ...set.tags],
        }))
        for (const set of changed) await index.putSet(set)
        await expectAll(bundles, changed)
        for (const set of sets) await index.putSet(set)
        await expectAll(bundles)
      })

      test('finds files of a set that it was told nothing of', async () => {
        const bundle = { number: 77_777n, setId: 'unheard of', files: [{ seq: 3, path: rawFromText('/orphan/quokka.jpg') }] }
        await index.addBundle(bundle)
        expect(await find('quokka -nothing')).toEqual(['77777/3'])
        await index.removeBundles([77_777n])
      })

      test('takes a bundle without files', async () => {
        await index.addBundle({ number: 88_888n, setId: (sets[0] as IndexedSet).id, files: [] })
        await index.addBundles([])
        await expectAll(bundles)
      })

      test('takes any path and any text', async () => {
        const name = fc
          .uint8Array({ minLength: 1, maxLength: 40 })
          .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 47 ? 1 : byte)))
          .map(rawFromBytes)
        const path = fc.array(name, { minLength: 1, maxLength: 5 }).map((names) => `/${names.join('/')}` as Raw)
        const text = fc.string({ unit: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)), maxLength: 30 })
        const property = fc.asyncProperty(
          fc.array(path, { minLength: 1, maxLength: 9 }),
          text,
          fc.array(text),
          async (paths, said, tags) => {
            const set = { id: 'any', description: said, tags }
            const bundle = { number: 99_999n, setId: 'any', files: paths.map((one, i) => ({ seq: (i * 7919) % 10, path: one })) }
            await index.putSet(set)
            await index.addBundle(bundle)
            for (const source of [...paths.map(looseTextOf), said, ...tags]) {
              const query = `"${wordsOf(source).join(' ')}"`
              if (query === '""') continue
              expect(await find(query, { setIds: ['any'] })).toEqual(bruteForce(query, [bundle], [set]))
            }
          },
        )
        await fc.assert(property, { numRuns: 40 })
        await index.removeBundles([99_999n])
      })

      test('tells which bundles it lacks', async () => {
        const numbers = bundles.map(({ number }) => number)
        expect(await index.lacking(numbers)).toEqual([])
        expect(await index.lacking([])).toEqual([])
        await index.removeBundles(numbers.slice(0, 2))
        expect((await index.lacking([999_999n, ...numbers])).sort()).toEqual([...numbers.slice(0, 2), 999_999n].sort())
        await index.addBundles(bundles.slice(0, 2))
        expect(await index.lacking(numbers)).toEqual([])
      })

      test('is searched as it was until a rebuild is over, and then as that filled it', async () => {
        const some = bundles.slice(2, 7)
        await index.rebuild(async (next) => {
          for (const set of sets) await next.putSet(set)
          await next.addBundle(some[0] as IndexedBundle)
          await next.addBundles(some.slice(1))
          await expectAll(bundles)
        })
        await expectAll(some)
        await index.addBundles(bundles)
        await expectAll(bundles)
      })

      test('keeps what it had where a rebuild fails', async () => {
        const failing = index.rebuild(async (next) => {
          await next.addBundle(bundles[0] as IndexedBundle)
          throw new RangeError('no more')
        })
        await expect(failing).rejects.toThrow('no more')
        await expectAll(bundles)
      })

      test('lacks, after a rebuild, at most what others added meanwhile', async () => {
        const other = await place.open()
        const orphan = { number: 66_666n, setId: 'unheard of', files: [{ seq: 3, path: rawFromText('/orphan/quokka.jpg') }] }
        await other.addBundle(bundles[0] as IndexedBundle)
        await index.rebuild(async (next) => {
          await next.addBundles(bundles)
          await other.addBundle(orphan)
          await other.removeBundles([66_665n])
        })
        for (const number of await index.lacking([66_666n])) await other.addBundle({ ...orphan, number })
        expect(await find('quokka')).toEqual(['66666/3'])
        await other.removeBundles([66_666n])
        await other.close()
        await expectAll(bundles)
      })

      test('is whole after two rebuilds at a time, of which one at most succeeds at a time', async () => {
        const other = await place.open()
        const rebuilds = [index, other].map((one) => one.rebuild((next) => next.addBundles(bundles)))
        const ends = await Promise.allSettled(rebuilds)
        await other.close()
        expect(ends.some(({ status }) => status === 'fulfilled')).toBe(true)
        await expectAll(bundles)
        await index.rebuild((next) => next.addBundles(bundles))
        await expectAll(bundles)
      })

      test('is empty after it was cleared', async () => {
        await index.clear()
        for (const text of QUERIES) expect(await find(text)).toEqual([])
        await fill()
        await expectAll(bundles)
      })
    })
  })
}

async function everyPage<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const page of pages) all.push(page)
  return all
}

const keyOf = ({ bundleNumber, seq }: Hit): string => `${bundleNumber}/${seq}`

function makeSets(): IndexedSet[] {
  return [
    {
      id: '018f0000-0000-7000-8000-000000000001',
      description: 'Archive of the photo desk, spring 2024',
      tags: ['photo', 'lab one'],
    },
    { id: '018f0000-0000-7000-8000-000000000002', description: '', tags: ['lab two', 'RawData'] },
    { id: '018f0000-0000-7000-8000-000000000003', description: 'nightly; "quoted" 100% of Übersicht', tags: [] },
    { id: '018f0000-0000-7000-8000-000000000004', description: 'archive', tags: ['frame', '写真', 'v2.1'] },
  ]
}

/** Three bundles a set; the first holds the large directory. Made the same each time. */
function makeBundles(sets: readonly IndexedSet[]): IndexedBundle[] {
  const choose = chooser(20)
  const pick = <T>(from: readonly T[]): T => from[choose(from.length)] as T
  const name = (): Raw => {
    const stem = pick([
      () => `${pick(NOUNS)}_${pick(NOUNS)}`,
      () => `IMG${String(choose(3_000)).padStart(4, '0')}`,
      () => `${pick(NOUNS)}${pick(CAMEL)}`,
      () => pick(CAMEL),
      () => `${pick(NOUNS)}-v${choose(4)}.${choose(10)}`,
      () => `${2020 + choose(5)}-${String(1 + choose(12)).padStart(2, '0')} ${pick(NOUNS)}`,
      () => pick(FOREIGN),
      () => 'x'.repeat(choose(60)) + pick(NOUNS),
      () => Array.from({ length: 32 }, () => choose(16).toString(16)).join(''),
      () => String(choose(100_000)),
    ])()
    const ending = pick(['.jpg', '.JPG', '.tar.gz', '.txt', '.Json', '', '.', '~'])
    return pick([rawFromText, rawFromText, rawFromText, latin1])(stem + ending)
  }
  const directories: Raw[] = Array.from({ length: 60 }, (_, i) => {
    const depth = i === 7 ? 120 : 1 + choose(5)
    const parts = Array.from({ length: depth }, () => pick([...NOUNS, ...CAMEL, ...FOREIGN, 'data', 'a.b', 'Session 4']))
    return rawFromText(`/${parts.join('/')}`)
  })
  const bundles: IndexedBundle[] = []
  for (const [s, set] of sets.entries()) {
    for (let b = 0; b < 3; b++) {
      const files: { seq: number; path: Raw }[] = []
      let seq = 0
      const add = (path: string) => {
        seq += 1 + choose(3) // the directories between them have numbers too
        files.push({ seq, path: path as Raw })
      }
      if (s === 0 && b === 0) for (let i = 0; i < 5_000; i++) add(`/data/scans/frame_${String(i).padStart(4, '0')}.jpg`)
      else {
        for (let i = 0; i < 150; i++) {
          const directory = pick(directories)
          for (let n = choose(6); n >= 0; n--) add(`${directory}/${name()}`)
        }
        add('/top')
        add(`/${'deep/'.repeat(300)}frame 0042.jpg`)
        add('/-/..../_')
      }
      // Gaps and an order of its own between numbers, as failed attempts leave them.
      bundles.push({ number: BigInt(1 + s * 40 + b * 3 + (s === 3 ? 5_000_000_000 : 0)), setId: set.id, files })
    }
  }
  return bundles
}

/** A name as an old machine wrote it: not UTF-8, where it holds accents. */
const latin1 = (text: string): Raw => text.replace(/[^\0-\xff]/g, '?') as Raw

function makeQueries(bundles: readonly IndexedBundle[]): string[] {
  const choose = chooser(21)
  const pick = <T>(from: readonly T[]): T => from[choose(from.length)] as T
  const word = () => pick([...NOUNS, ...CAMEL, ...FOREIGN, ...SET_WORDS, 'jpg', 'txt', 'gz', 'tar', 'data', 'nowhere', 'zebra'])
  const typed = () => {
    const path = looseTextOf(pick(pick(bundles).files).path)
    const names = path.split('/').slice(-2)
    return pick([names.at(-1) as string, names.join('/'), (names.at(-1) as string).toUpperCase(), pick(wordsOf(path)) ?? 'top'])
  }
  const safe = (text: string) => text.replace(/^-+|["\s]/g, '') || 'jpg'
  const random = Array.from({ length: 160 }, () => {
    const one = () => pick([word, word, () => safe(typed())])()
    return pick([
      () => one(),
      () => `${one()} ${word()}`,
      () => `"${word()} ${word()}"`,
      () => `${one()} -${word()}`,
      () => `${word()} ${word()} -"${word()} ${pick(['jpg', 'txt', 'gz'])}"`,
      () => `"${typed().replaceAll('"', ' ')} " ${word()}`,
      () => `${word()} ${word()} ${word()}`,
      () => `-${word()} ${one()} -${word()}`,
    ])()
  })
  return [
    ...[
      'frame',
      'FRAME_0042.JPG',
      '"scans frame" 0042',
      'frame -jpg',
      '0042',
      'img0042',
      'tar.gz',
      '"tar gz"',
      'youtube',
      'YouTube',
      'you tube',
    ],
    ...[
      'archive photo',
      '"lab one"',
      '"one photo"',
      '"photo lab"',
      'rawdata',
      'RawData',
      'raw data',
      '-photo jpg',
      '-archive jpg',
      'quoted',
    ],
    ...[
      '写',
      '写真',
      '真写',
      'v2.1',
      'ubersicht',
      'übersicht',
      'u\u0308bersicht',
      'STRASSE',
      'straße',
      '"data scans"',
      'top',
      'deep',
      'json -txt -gz',
    ],
    ...random.filter((text) => wordsOf(text.replace(/-"[^"]*"|-\S+/g, '')).length > 0),
  ]
}

const NOUNS = ['alpha', 'beta', 'photo', 'frame', 'report', 'img', 'index', 'lab', 'Copy of', 'survey']
const CAMEL = ['YouTube', 'youtube', 'YOUTUBE', 'fooBar', 'HTTPServer', 'RawData', 'rawdata', 'iPhone12Pro', 'ReadMe', 'readme']
const FOREIGN = [
  'Übersicht',
  'U\u0308bersicht',
  'straße',
  'STRASSE',
  '旅行写真',
  '写真',
  'Ελλάς',
  'ΕΛΛΑΣ',
  'Привет',
  'naïve',
  'ไทย',
  '🎉party',
]
const SET_WORDS = ['archive', 'spring', 'one', 'two', 'nightly', '2024', 'desk', 'RawData']

/** Whole numbers below `n`, the same in each run. */
function chooser(seed: number): (n: number) => number {
  let state = seed
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
}
