import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Raw } from '#libs/os/raw.js'
import type { Catalog, HeldFile, SetRow } from './catalog.js'
import {
  directory,
  entry,
  newSet,
  nobodyIsGone,
  OWNER,
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

const range = (at: string, first = '\x01', last = '\xff') => ({ directory: at as Raw, first: first as Raw, last: last as Raw })
const where = { host: 'alpha', vaultId: VAULT.id }

async function held(ranges: ReturnType<typeof range>[], place = where) {
  await using session = await catalog.openHeld(place)
  return session.lookup(ranges)
}
const names = (files: readonly HeldFile[] | undefined) => files?.map(({ name }) => name)

describe('what is held', () => {
  test('answers each range in the order asked, names ascending', async () => {
    await storeBundle(catalog, set, [
      directory('/'),
      directory('/held'),
      ...['b', 'a', 'c\xff', 'c\n', 'd'].map((name) => entry(`/held/${name}`)),
      entry('/held/sub/x', { type: 'symlink', link: raw('/nowhere') }),
    ])
    const answers = await held([
      range('/held/sub'),
      range('/held', 'a', 'c\xff'),
      range('/none'),
      range('/held', 'd', 'd'),
      range('/', '', ''),
    ])
    expect(answers.map(names)).toEqual([['x'], ['a', 'b', 'c\n', 'c\xff'], [], ['d'], ['']])
    expect(answers[0]?.[0]).toMatchObject({ type: 'symlink', live: false })
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
    expect((await held([range('/facts')]))[0]).toEqual([
      {
        name: 'file',
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
    expect((await held([range('/versions')]))[0]).toMatchObject([{ name: 'f', size: 3 }])
  })

  test('is of that host and that vault alone', async () => {
    await storeBundle(catalog, await newSet(catalog, { host: 'gamma' }), [entry('/place/gamma')])
    await storeBundle(catalog, await newSet(catalog, { vaultId: 'local:/other' }), [entry('/place/other')])
    await storeBundle(catalog, set, [entry('/place/own')])
    expect((await held([range('/place')])).map(names)).toEqual([['own']])
    expect((await held([range('/place')], { ...where, host: 'gamma' })).map(names)).toEqual([['gamma']])
    expect((await held([range('/place')], { ...where, host: 'never seen' })).map(names)).toEqual([[]])
  })

  test('is not what check found missing, nor what points into it', async () => {
    const bytes = await storeBundle(catalog, set, [entry('/missing/bytes')])
    const pointer = await storeBundle(catalog, set, [entry('/missing/pointer', { dataBundle: bytes.id, offset: 512 })])
    expect((await held([range('/missing')]))[0]).toMatchObject([
      { name: 'bytes', dataBundle: bytes.id },
      { name: 'pointer', dataBundle: bytes.id, bundle: pointer.id, offset: 512 },
    ])
    await catalog.markChecked(bytes.id, 'missing')
    expect((await held([range('/missing')])).map(names)).toEqual([[]])
    await catalog.markChecked(bytes.id, 'stored')
    expect((await held([range('/missing')])).map(names)).toEqual([['bytes', 'pointer']])
  })

  test('is also what live plans hold, newer than what was stored before them', async () => {
    const other = await newSet(catalog)
    await storeBundle(catalog, set, [entry('/live/old', { size: 1 }), entry('/live/both', { size: 1 })])
    const plan = [entry('/live/both', { size: 2, ino: 2n ** 64n - 1n }), entry('/live/new\xff', { size: 3, mtimeNs: -9n })]
    const id = await catalog.planBundle(other.id, OWNER, planOf(plan))
    await using session = await catalog.openHeld(where)
    const [files] = await session.lookup([range('/live')])
    expect(files).toMatchObject([
      { name: 'both', size: 2, ino: 2n ** 64n - 1n, live: true, setId: other.id, bundle: id },
      { name: 'new\xff', size: 3, mtimeNs: -9n, live: true },
      { name: 'old', size: 1, live: false },
    ])

    const lease = await catalog.leaseBundle(id, 'w', nobodyIsGone)
    await catalog.markStored(id, lease.kind === 'leased' ? lease.attempt : 0, storedOf(id, plan), [])
    const [then] = await session.lookup([range('/live')])
    expect(then?.map(({ name, live }) => [name, live])).toEqual([
      ['both', false],
      ['new\xff', false],
      ['old', false],
    ])
  })

  test('thousands of names in one page', async () => {
    const entries = Array.from({ length: 3000 }, (_, i) => entry(`/many/${i % 30}/${i}`))
    await storeBundle(catalog, set, entries)
    const answers = await held(Array.from({ length: 30 }, (_, i) => range(`/many/${i}`)))
    expect(answers.flatMap((files, i) => files.map(({ name }) => `/many/${i}/${name}`)).sort()).toEqual(
      entries.map(({ path }) => path).sort(),
    )
  })
})
