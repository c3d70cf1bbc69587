import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Entry } from '#libs/bundle/entry.js'
import { nameRanges } from '#libs/bundle/name-ranges.js'
import type { Raw } from '#libs/os/raw.js'
import type { Catalog, SetRow } from './catalog.js'
import {
  directory,
  entry,
  newSet,
  nobodyIsGone,
  OWNER,
  planned,
  planOf,
  raw,
  type ScratchCatalog,
  scratchCatalog,
  storeBundle,
  storedOf,
  VAULT,
} from './scratch-catalog.js'

let scratch: ScratchCatalog
let catalog: Catalog
let set: SetRow
beforeAll(async () => {
  scratch = await scratchCatalog()
  catalog = scratch.catalog
  set = await newSet(catalog)
})
afterAll(() => scratch.drop())

const where = { host: 'alpha', vaultId: VAULT.id }

async function held(paths: string[], place = where) {
  await using session = await catalog.openHeld(place)
  return session.lookup(paths as Raw[])
}
/** Those of the paths that are held. */
async function heldOf(paths: string[], place = where): Promise<string[]> {
  const answers = await held(paths, place)
  expect(answers).toHaveLength(paths.length)
  return paths.filter((_, index) => answers[index] !== undefined)
}
/** As a walk would see these entries now. */
async function match(entries: readonly Entry[], { setId, place = where }: { setId?: string; place?: typeof where } = {}) {
  await using session = await catalog.openHeld(place)
  return session.match(nameRanges(entries.map(planned)), { setId })
}

describe('what is held', () => {
  test('answers each path in the order asked', async () => {
    const inside = ['b', 'a', 'c\xff', 'c\n', 'd'].map((name) => `/held/${name}`)
    await storeBundle(catalog, set, [
      directory('/'),
      directory('/held'),
      ...inside.map((path, i) => entry(path, { size: i })),
      entry('/held/sub/x', { type: 'symlink', link: raw('/nowhere') }),
    ])
    const answers = await held(['/held/sub/x', '/none/x', '/', ...inside, '/held/none', '/held', '/held/a'])
    expect(answers.map((file) => file && [file.type, file.size])).toEqual([
      ['symlink', 0],
      undefined,
      ['directory', 0],
      ...inside.map((_, i) => ['file', i]),
      undefined,
      ['directory', 0],
      ['file', 1],
    ])
    expect(await held([])).toEqual([])
  })

  test('tells all that decides whether a file changed', async () => {
    const file = entry('/facts/file', {
      size: 2 ** 40,
      ino: 2n ** 64n - 2n,
      mtimeNs: 2n ** 63n + 9n,
      ctimeNs: -7n,
      state: 'changed',
    })
    const stored = await storeBundle(catalog, set, [file])
    expect(await held(['/facts/file'])).toEqual([
      {
        type: 'file',
        size: file.size,
        mtimeNs: file.mtimeNs,
        ctimeNs: file.ctimeNs,
        ino: file.ino,
        state: 'changed',
        sha256: file.sha256,
        offset: file.offset,
        bundle: stored.id,
        dataBundle: stored.id,
        setId: set.id,
        live: false,
      },
    ])
  })

  test('is the newest version, whatever the order they were stored in', async () => {
    await storeBundle(catalog, set, [entry('/versions/f', { size: 2 })], { archivedAt: new Date('2026-02-01') })
    await storeBundle(catalog, set, [entry('/versions/f', { size: 3 })], { archivedAt: new Date('2026-03-01') })
    await storeBundle(catalog, set, [entry('/versions/f', { size: 1 })], { archivedAt: new Date('2026-01-01') })
    expect(await held(['/versions/f'])).toMatchObject([{ size: 3 }])
  })

  test('is of that host and that vault alone', async () => {
    await storeBundle(catalog, await newSet(catalog, { host: 'gamma' }), [entry('/place/gamma')])
    await storeBundle(catalog, await newSet(catalog, { vaultId: 'local:/other' }), [entry('/place/other')])
    await storeBundle(catalog, set, [entry('/place/own')])
    const all = ['/place/gamma', '/place/other', '/place/own']
    expect(await heldOf(all)).toEqual(['/place/own'])
    expect(await heldOf(all, { ...where, host: 'gamma' })).toEqual(['/place/gamma'])
    expect(await heldOf(all, { ...where, host: 'never seen' })).toEqual([])
  })

  test('is not what check found missing, nor what points into it', async () => {
    const both = ['/missing/bytes', '/missing/pointer']
    const bytes = await storeBundle(catalog, set, [entry('/missing/bytes')])
    const pointer = await storeBundle(catalog, set, [entry('/missing/pointer', { dataBundle: bytes.id, offset: 512 })])
    expect(await held(both)).toMatchObject([{ dataBundle: bytes.id }, { dataBundle: bytes.id, bundle: pointer.id, offset: 512 }])
    await catalog.markChecked(bytes.id, 'missing')
    expect(await heldOf(both)).toEqual([])
    await catalog.markChecked(bytes.id, 'stored')
    expect(await heldOf(both)).toEqual(both)
  })

  test('is an older version where the bundle of the newest is missing', async () => {
    await storeBundle(catalog, set, [entry('/older/f', { size: 1 })], { archivedAt: new Date('2026-01-01') })
    const newest = await storeBundle(catalog, set, [entry('/older/f', { size: 2 })], { archivedAt: new Date('2026-02-01') })
    await catalog.markChecked(newest.id, 'missing')
    expect(await held(['/older/f'])).toMatchObject([{ size: 1 }])
    await catalog.markChecked(newest.id, 'stored')
  })

  test('is also what live plans hold, newer than what was stored before them', async () => {
    const other = await newSet(catalog)
    const paths = ['/live/both', '/live/new\xff', '/live/old'] as Raw[]
    await storeBundle(catalog, set, [entry('/live/old', { size: 1 }), entry('/live/both', { size: 1 })])
    const plan = [entry('/live/both', { size: 2, ino: 2n ** 64n - 1n }), entry('/live/new\xff', { size: 3, mtimeNs: -9n })]
    const id = await catalog.planBundle(other.id, OWNER, planOf(plan))
    await using session = await catalog.openHeld(where)
    expect(await session.lookup(paths)).toMatchObject([
      { size: 2, ino: 2n ** 64n - 1n, live: true, setId: other.id, bundle: id },
      { size: 3, mtimeNs: -9n, live: true },
      { size: 1, live: false },
    ])

    const lease = await catalog.leaseBundle(id, 'w', nobodyIsGone)
    await catalog.markStored(id, lease.kind === 'leased' ? lease.attempt : 0, storedOf(id, plan), [])
    expect((await session.lookup(paths)).map((file) => file?.live)).toEqual([false, false, false])
  })

  test('thousands of names in one page', async () => {
    const entries = Array.from({ length: 3000 }, (_, i) => entry(`/many/${i % 30}/${i}`, { size: i }))
    await storeBundle(catalog, set, entries)
    const answers = await held(entries.map(({ path }) => path))
    expect(answers.map((file) => file?.size)).toEqual(entries.map(({ size }) => size))
  })

  test('is one version of each name, however many there are, and whatever lies between two names', async () => {
    const spool = Array.from({ length: 2000 }, (_, i) => entry(`/spool/job-${String(i).padStart(4, '0')}`, { ino: BigInt(i) }))
    const at = (version: number) => ({ archivedAt: new Date(Date.UTC(2026, 1, version)) })
    for (let version = 1; version <= 5; version++) {
      await storeBundle(
        catalog,
        set,
        version < 5 ? spool.map((one) => ({ ...one, size: version })) : [spool[0] as Entry],
        at(version),
      )
    }
    const ends = [spool[0] as Entry, spool.at(-1) as Entry]
    expect((await held(ends.map(({ path }) => path))).map((file) => file?.size)).toEqual([100, 4])
    expect(await match(ends)).toEqual(['look'])
  })
})

describe('whole ranges', () => {
  test('are the same as long as nothing in them changed', async () => {
    const entries = [
      directory('/same'),
      ...['\x01', 'b c', 'c\n', 'd\\"{},', 'z\xff'].map((name) =>
        entry(`/same/${name}`, { size: name.length, ino: 2n ** 64n - 1n }),
      ),
      directory('/same/sub', { nlink: 3 }),
      entry('/same/sub/link', { type: 'symlink', link: raw('/nowhere') }),
      entry('/same/sub/old', { mtimeNs: -5n, xattrs: { 'user.x': 'eA==' } }),
    ].sort((a, b) => (a.path < b.path ? -1 : 1))
    await storeBundle(catalog, set, entries)
    expect(await match(entries)).toEqual(['same', 'same', 'same'])
    expect(await match([...entries, entry('/same-not/x')])).toEqual(['same', 'same', 'same', 'none'])
    expect(await match([])).toEqual([])

    const changes: Partial<Entry>[] = [
      { size: 7 },
      { mtimeNs: 0n },
      { ctimeNs: 0n },
      { ino: 1n },
      { type: 'symlink' },
      { nlink: 2 },
    ]
    for (const change of changes) {
      const last = entries.length - 1
      const changed = entries.map((one, i) => (i === last ? { ...one, ...change } : one))
      expect(await match(changed)).toEqual(['same', 'look', 'same'])
    }
    const without = entries.filter(({ path }) => path !== '/same/b c')
    expect(await match(without)).toEqual(['same', 'look', 'same'])
    expect(await match([...without, entry('/same/b d')].sort((a, b) => (a.path < b.path ? -1 : 1)))).toContain('look')
  })

  test('are compared by the newest version of each name', async () => {
    const of = (size: number) => ['x', 'y', 'z'].map((name) => entry(`/often/${name}`, name === 'y' ? { size } : {}))
    await storeBundle(catalog, set, of(2).slice(1, 2), { archivedAt: new Date('2026-02-02') })
    await storeBundle(catalog, set, of(1), { archivedAt: new Date('2026-02-01') })
    const newest = await storeBundle(catalog, set, of(3).slice(1, 2), { archivedAt: new Date('2026-02-03') })
    expect(await match(of(3))).toEqual(['same'])
    expect(await match(of(2))).toEqual(['look'])
    await catalog.markChecked(newest.id, 'missing')
    expect(await match(of(3))).toEqual(['look'])
    expect(await match(of(2))).toEqual(['same'])
    await catalog.markChecked(newest.id, 'stored')
  })

  test('are looked at where there were many more names or versions', async () => {
    const one = [entry('/busy/x')]
    for (let version = 0; version < 30; version++)
      await storeBundle(catalog, set, one, { archivedAt: new Date(Date.UTC(2026, 1, version + 1)) })
    expect(await match(one)).toEqual(['look'])
    expect(await held(['/busy/x'])).toMatchObject([{ size: 100 }])
  })

  test('are of that host and that vault alone', async () => {
    const there = [entry('/theirs/x')]
    await storeBundle(catalog, await newSet(catalog, { vaultId: 'local:/other' }), there)
    expect(await match(there)).toEqual(['look'])
    expect(await match(there, { place: { ...where, vaultId: 'local:/other' } })).toEqual(['same'])
    expect(await match(there, { place: { ...where, host: 'gamma' } })).toEqual(['none'])
    expect(await match(there, { place: { ...where, host: 'never seen' } })).toEqual(['none'])
  })

  test('are looked at for what the hash does not say', async () => {
    const of = (path: string, more: Partial<Entry> = {}) => [entry(path, more)]
    const changed = of('/said/changed/x', { state: 'changed' })
    await storeBundle(catalog, set, changed)
    expect(await match(changed)).toEqual(['look'])

    // The column has the lower 64 bits of a time: those of another one may be the same.
    const late = of('/said/late/x', { mtimeNs: 2n ** 64n + 5n })
    await storeBundle(catalog, set, late)
    expect(await match(late)).toEqual(['look'])
    expect(await match(of('/said/late/x', { mtimeNs: 5n }))).toEqual(['look'])

    const own = of('/said/own/x')
    await storeBundle(catalog, set, own)
    expect(await match(own, { setId: set.id })).toEqual(['look'])
    expect(await match(own, { setId: '00000000-0000-4000-8000-000000000000' })).toEqual(['same'])
  })

  test('are looked at where a bundle is missing, or the one with the bytes', async () => {
    const bytes = [entry('/gone/bytes/x')]
    const pointer = [entry('/gone/pointer/x', { offset: 512 })]
    const stored = await storeBundle(catalog, set, bytes)
    await storeBundle(catalog, set, [{ ...pointer[0]!, dataBundle: stored.id }])
    expect(await match([...bytes, ...pointer])).toEqual(['same', 'same'])
    await catalog.markChecked(stored.id, 'missing')
    expect(await match([...bytes, ...pointer])).toEqual(['look', 'look'])
    await catalog.markChecked(stored.id, 'stored')
    expect(await match([...bytes, ...pointer])).toEqual(['same', 'same'])
  })

  test('are looked at while any plan is live', async () => {
    const stored = [entry('/lively/x')]
    await storeBundle(catalog, set, stored)
    const id = await catalog.planBundle(set.id, OWNER, planOf([entry('/elsewhere/x')]))
    expect(await match(stored)).toEqual(['look'])
    const lease = await catalog.leaseBundle(id, 'w', nobodyIsGone)
    await catalog.markStored(id, lease.kind === 'leased' ? lease.attempt : 0, storedOf(id, [entry('/elsewhere/x')]), [])
    expect(await match(stored)).toEqual(['same'])
  })
})
