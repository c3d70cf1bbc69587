/** What every source must pass: the promises of the port, on entries that the source's own test puts where the source finds them. */
import { describe, expect, test } from '@jest/globals'
import { nameRanges } from '#libs/bundle/name-ranges.js'
import type { Raw } from '#libs/os/raw.js'
import type { Source, WalkPage, WalkRequest } from './source.js'

export interface SourcePlace extends AsyncDisposable {
  readonly source: Source
  /** Empty. A directory of its own. */
  readonly root: Raw
  /** Makes empty files below the root, with their directories. */
  makeFiles(relatives: readonly string[]): Promise<void>
}

/** How many files no page can hold. */
const MANY = 30_000

export function sourceSuite(name: string, openPlace: () => Promise<SourcePlace>): void {
  const requestFor = (...roots: Raw[]): WalkRequest => ({
    roots,
    recursive: true,
    oneFileSystem: false,
    leaveOut: [],
    include: [],
    exclude: [],
  })
  const manyFiles = Array.from({ length: MANY }, (_, i) => `d${i % 7}/f${i}`)
  const pathsOf = (pages: readonly WalkPage[]): string[] => pages.flatMap(({ entries }) => entries.map(({ path }) => path))

  describe(`${name} as a source`, () => {
    test('gives depth first, a directory before what it holds, names in byte order, the same every time', async () => {
      await using place = await openPlace()
      await place.makeFiles(['b/2', 'b/10', 'B', 'a/z/1', 'a-b', 'z'])
      const request = requestFor(place.root)
      const paths = pathsOf(await all(place.source.walk(request)))
      expect(paths).toEqual(
        ['', '/B', '/a', '/a/z', '/a/z/1', '/a-b', '/b', '/b/10', '/b/2', '/z'].map((path) => place.root + path),
      )
      expect(pathsOf(await all(place.source.walk(request)))).toEqual(paths)
    })

    test('gives every entry once, in pages, and counts the files', async () => {
      await using place = await openPlace()
      await place.makeFiles(manyFiles)
      const pages = await all(place.source.walk(requestFor(place.root)))
      const paths = pathsOf(pages)
      expect(new Set(paths).size).toBe(paths.length)
      const directories = [place.root, ...Array.from({ length: 7 }, (_, i) => `${place.root}/d${i}`)]
      expect([...paths].sort()).toEqual([...directories, ...manyFiles.map((file) => `${place.root}/${file}`)].sort())
      expect(pages.reduce((sum, { found }) => sum + found, 0)).toBe(MANY)
      expect(Math.max(...pages.map(({ entries }) => entries.length))).toBeLessThan(MANY / 2)
      expect(pages.flatMap(({ problems }) => problems)).toEqual([])
    })

    test('gives the ranges of the entries of each page', async () => {
      await using place = await openPlace()
      await place.makeFiles(['a/1', 'a/b/2', 'a/c', 'z'])
      for (const { entries, ranges } of await all(place.source.walk(requestFor(place.root))))
        expect(ranges).toEqual(nameRanges(entries))
    })

    test('gives no entry where nothing passes the filters', async () => {
      await using place = await openPlace()
      await place.makeFiles(['a/x', 'b'])
      const pages = await all(place.source.walk({ ...requestFor(place.root), include: ['none'] }))
      expect(pages.map(({ entries, problems, found }) => [entries, problems, found])).toEqual([[[], [], 0]])
    })

    test.each([{}, { include: ['*7'] }, { exclude: ['f1*', 'd3'] }])(
      'lists every name of each directory that it lists once, whatever the filters say: %p',
      async (filters) => {
        await using place = await openPlace()
        await place.makeFiles([...manyFiles, 'd0/below/x', 'top'])
        const listed = new Map<string, string[]>()
        const bounds = new Map<string, unknown[]>()
        for (const { entries, listings } of await all(place.source.walk({ ...requestFor(place.root), ...filters }))) {
          for (const { directory, after, last, names: named } of listings) {
            const given = entries.filter(({ path }) => path.slice(0, path.lastIndexOf('/')) === directory)
            const inEntries = given.map(({ path }) => path.slice(directory.length + 1))
            const names = named?.map(({ name }) => name) ?? inEntries
            const asEntries = named?.flatMap(({ name, isEntry }) => (isEntry ? [name] : [])) ?? inEntries
            // With a filter for files a directory comes when it is known to hold one.
            if (!('include' in filters)) expect(asEntries).toEqual(inEntries)
            for (const name of names)
              expect([after === undefined || name > after, last === undefined || name <= last]).toEqual([true, true])
            listed.set(directory, [...(listed.get(directory) ?? []), ...names])
            bounds.set(directory, [...(bounds.get(directory) ?? []), [after, last]])
          }
        }
        const excludes = 'exclude' in filters
        expect(listed.size).toBe(excludes ? 8 : 9)
        for (const [directory, names] of listed) {
          const own = directory.slice(place.root.length + 1)
          const files = manyFiles.filter((file) => file.startsWith(`${own}/`)).map((file) => file.slice(own.length + 1))
          const here = own === '' ? ['d0', 'd1', 'd2', 'd3', 'd4', 'd5', 'd6', 'top'] : own === 'd0/below' ? ['x'] : files
          expect([...names].sort()).toEqual([...here, ...(own === 'd0' ? ['below'] : [])].sort())
          const [first, ...rest] = bounds.get(directory) as [unknown, unknown][]
          expect(first?.[0]).toBeUndefined()
          let end = first?.[1]
          for (const [after, last] of rest) {
            expect(after).toBe(end)
            end = last
          }
          expect(end).toBeUndefined()
        }
      },
    )

    test('gives roots in the order given, and names one that is not there', async () => {
      await using place = await openPlace()
      await place.makeFiles(['a/1', 'b/2'])
      const [a, b, gone] = ['a', 'b', 'gone'].map((path) => `${place.root}/${path}` as Raw) as [Raw, Raw, Raw]
      const pages = await all(place.source.walk(requestFor(b, gone, a)))
      expect(pathsOf(pages)).toEqual([b, `${b}/2`, a, `${a}/1`])
      expect(pages.flatMap(({ problems }) => problems)).toEqual([expect.objectContaining({ path: gone, kind: 'failed' })])
    })

    test('two walks at once do not disturb each other', async () => {
      await using place = await openPlace()
      await place.makeFiles(manyFiles)
      const walk = async () => pathsOf(await all(place.source.walk(requestFor(place.root))))
      const [one, other] = await Promise.all([walk(), walk()])
      expect(one).toEqual(other)
    })

    test('a consumer that stops early ends the walk', async () => {
      await using place = await openPlace()
      await place.makeFiles(manyFiles)
      for await (const { entries } of place.source.walk(requestFor(place.root))) {
        expect(entries.length).toBeGreaterThan(0)
        break
      }
    })

    test('a consumer that throws ends the walk and hears its own error', async () => {
      await using place = await openPlace()
      await place.makeFiles(manyFiles)
      const consume = async () => {
        for await (const _ of place.source.walk(requestFor(place.root))) throw new Error('enough')
      }
      await expect(consume()).rejects.toThrow('enough')
    })

    test('aborted before it begins it gives nothing; aborted on the way it ends with the reason', async () => {
      await using place = await openPlace()
      await place.makeFiles(manyFiles)
      const before = place.source.walk(requestFor(place.root), { signal: AbortSignal.abort(new Error('too late')) })
      await expect(all(before)).rejects.toThrow('too late')

      const controller = new AbortController()
      let pages = 0
      const consume = async () => {
        for await (const _ of place.source.walk(requestFor(place.root), { signal: controller.signal })) {
          pages++
          controller.abort(new Error('stopped'))
        }
      }
      await expect(consume()).rejects.toThrow('stopped')
      expect(pages).toBe(1)
    })

    test('a glob that cannot be read is an error of usage', async () => {
      await using place = await openPlace()
      const walk = place.source.walk({ ...requestFor(place.root), exclude: ['x'.repeat(70_000)] })
      await expect(all(walk)).rejects.toMatchObject({ code: 'usage' })
    })
  })
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
