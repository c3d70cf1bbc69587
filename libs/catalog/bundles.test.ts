import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import pg from 'pg'
import type { Entry } from '#libs/bundle/entry.js'
import { type Raw, rawFromBytes } from '#libs/os/raw.js'
import type { Catalog, SetRow } from './catalog.js'
import {
  directory,
  entry,
  entryOf,
  hashOf,
  newSet,
  nobodyIsGone,
  OWNER,
  planOf,
  raw,
  type ScratchCatalog,
  scratchCatalog,
  storeBundle,
  storedOf,
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

const plan = (entries: readonly Entry[]) => catalog.planBundle(set.id, OWNER, planOf(entries))
const files = async (id: string) => catalog.entriesOf((await catalog.bundle(id))?.number as bigint)
const isGone = (owner: string) => owner === 'dead'

async function lease(id: string, owner = 'worker') {
  const answer = await catalog.leaseBundle(id, owner, isGone)
  if (answer.kind !== 'leased') throw new Error(answer.kind)
  return answer
}

test('the room of plans comes back once their bundles are stored', async () => {
  const sql = new pg.Client({ connectionString: scratch.url })
  await sql.connect()
  const bytes = async () => Number((await sql.query(`SELECT pg_total_relation_size('bundle') AS bytes`)).rows[0].bytes)
  // Names that do not compress.
  const entries = (bundle: number) => Array.from({ length: 2_000 }, (_, i) => entry(`/plans/${hashOf(`${bundle}/${i}`)}`))
  try {
    const all = Array.from({ length: 5 }, (_, bundle) => entries(bundle))
    const ids = await Promise.all(all.map(plan))
    const planned = await bytes()
    for (const [i, id] of ids.entries()) {
      const { attempt } = await lease(id)
      await catalog.markStored(id, attempt, storedOf(id, all[i] as Entry[]), [])
    }
    for (let left = 50; left > 0; left--) {
      await catalog.reclaimPlans()
      if ((await bytes()) < planned / 2) return
      await new Promise((resolve) => setTimeout(resolve, 100)) // the server's own cleaner may be at it
    }
    expect(await bytes()).toBeLessThan(planned / 2)
  } finally {
    await sql.end()
  }
})

describe('leases', () => {
  test('of two workers that race for a bundle one has it, with the plan; the other hears when to look again', async () => {
    const entries = [entry('/data/race')]
    const id = await plan(entries)
    const answers = await Promise.all(['a', 'b', 'c'].map((owner) => catalog.leaseBundle(id, owner, nobodyIsGone)))
    const [won] = answers.filter((answer) => answer.kind === 'leased')
    expect(won).toMatchObject({ attempt: 1, bundle: { id, state: 'packing' }, set: { id: set.id } })
    expect(won?.kind === 'leased' && Buffer.from(won.plan).equals(planOf(entries).plan)).toBe(true)
    const busy = answers.filter((answer) => answer.kind === 'busy')
    expect(busy).toHaveLength(2)
    for (const answer of busy) expect(answer.kind === 'busy' && answer.afterMs > 50_000 && answer.afterMs <= 60_000).toBe(true)
  })

  test('a lease whose owner is gone is free at once, with a new epoch that shuts the old one out', async () => {
    const id = await plan([entry('/data/gone')])
    const dead = await lease(id, 'dead')
    expect(await catalog.hasLiveLease(id, nobodyIsGone)).toBe(true)
    expect(await catalog.hasLiveLease(id, isGone)).toBe(false)
    const heir = await lease(id, 'heir')
    expect(heir.attempt).toBe(dead.attempt + 1)
    await expect(catalog.renewBundle(id, dead.attempt)).rejects.toMatchObject({ code: 'lease-lost' })
    await catalog.renewBundle(id, heir.attempt)
    await catalog.releaseBundle(id, dead.attempt)
    await catalog.failBundle(id, dead.attempt, 'too late')
    expect(await catalog.bundle(id)).toMatchObject({ state: 'packing', attempt: 2 })
  })

  test('a lease that ran out is free for anybody', async () => {
    const id = await plan([entry('/data/slow')])
    await lease(id)
    const client = new pg.Client(scratch.url)
    await client.connect()
    await client.query(`UPDATE bundle SET lease_until = now() - interval '1 second' WHERE id = $1`, [id])
    await client.end()
    expect(await catalog.hasLiveLease(id, nobodyIsGone)).toBe(false)
    expect(await lease(id, 'next')).toMatchObject({ attempt: 2 })
  })

  test('a bundle that is over is not leased, and one that is not known is an error', async () => {
    const { id } = await storeBundle(catalog, set, [entry('/data/over')])
    expect(await catalog.leaseBundle(id, 'w', nobodyIsGone)).toEqual({ kind: 'over', state: 'stored' })
    await expect(catalog.leaseBundle(set.id, 'w', nobodyIsGone)).rejects.toMatchObject({ code: 'failed' })
    expect(await catalog.bundle('no uuid at all')).toBeUndefined()
  })

  test('stranded are planned bundles and those of dead leases, not those at work', async () => {
    const own = await newSet(catalog)
    const ids: string[] = []
    for (const name of ['planned', 'dead', 'working', 'stored']) {
      ids.push(await catalog.planBundle(own.id, OWNER, planOf([entry(`/data/stranded-${name}`)])))
    }
    await lease(ids[1] as string, 'dead')
    await lease(ids[2] as string, 'alive')
    const { attempt } = await lease(ids[3] as string, 'alive')
    await catalog.markStored(ids[3] as string, attempt, storedOf(ids[3] as string, [entry('/data/stranded-stored')]), [])
    const stranded = await catalog.strandedBundles(0, isGone)
    expect(stranded.filter((id) => ids.includes(id))).toEqual([ids[0], ids[1]])
    expect(await catalog.strandedBundles(60_000, isGone)).toEqual([])
    expect(await catalog.pendingBundles(own.id)).toEqual({ live: 3, unindexed: 1, cancelled: false })
  })
})

describe('markStored', () => {
  test('writes every entry as it was, but those that are void', async () => {
    const entries = [
      directory('/'),
      directory('/data', { mtimeNs: -1n, mode: 0o1777 }),
      entry('/data/plain', {
        dev: 2n ** 64n - 1n,
        ino: 2n ** 63n + 5n,
        size: 2 ** 45 + 3,
        offset: 2 ** 44 + 1,
        uid: 4294967294,
        gid: 0,
      }),
      entry('/data/void', { state: 'void' }),
      entry('/data/changed', { state: 'changed', uname: '', gname: 'gruppe ü' }),
      entry('/data/link', { type: 'hardlink', link: raw('/data/plain'), nlink: 2 }),
      entry('/data/symlink', { type: 'symlink', link: rawFromBytes(Buffer.from('../\xff\n\\x', 'latin1')) }),
      entry('/data/pointer', { dataBundle: '0f0e0d0c-0b0a-4908-8706-050403020100', offset: 1536 }),
      entry('/data/sparse', {
        holes: [
          [0, 4096],
          [2 ** 40, 512],
        ],
      }),
      entry('/data/attributes', { xattrs: { 'user.note': Buffer.from('\0ü').toString('base64'), 'user.empty': '' } }),
      entry('/data/far', { mtimeNs: 2n ** 63n + 17n, ctimeNs: -(2n ** 63n) - 1n, atimeNs: 0n }),
      entry('/data/empty', { size: 0 }),
    ]
    const stored = await storeBundle(catalog, set, entries, { archivedAt: new Date('2026-11-21T01:02:03.456Z') })
    expect(stored).toMatchObject({ state: 'stored', files: 9, indexed: false, archivedAt: new Date('2026-11-21T01:02:03.456Z') })
    const rows = await catalog.entriesOf(stored.number)
    expect(rows.map(entryOf)).toEqual(entries.filter(({ state }) => state !== 'void'))
    expect(rows.map(({ seq }) => seq)).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    expect(rows[2]).toMatchObject({
      bundleId: stored.id,
      setId: set.id,
      host: 'alpha',
      vaultId: 'local:/vault',
      archiveId: stored.archiveId,
    })
    expect(await catalog.indexableFiles(stored.number)).toEqual(
      rows.filter(({ type }) => type !== 'directory').map(({ seq, path }) => ({ seq, path })),
    )
  })

  test('keeps any name byte by byte', async () => {
    const long = `/data/${`${'d'.repeat(240)}/`.repeat(16)}` // 4,000 bytes of path
    const names = [
      'new\nline',
      'a\xff',
      'a\xfe',
      '\x01',
      'back\\slash',
      '\\377',
      "quo'te",
      'ü',
      '\xc3\xbc',
      'n'.repeat(255),
      ' ',
      '%s{}',
    ]
    const entries = [...names.map((name) => entry(`/data/names/${name}`)), entry(`${long}end`), entry(`/d\xff\n\\/x`)]
    const stored = await storeBundle(
      catalog,
      set,
      entries.map((e) => ({ ...e, path: Buffer.from(e.path, 'latin1').toString('latin1') as Raw })),
    )
    expect((await catalog.entriesOf(stored.number)).map(({ path }) => path)).toEqual(entries.map(({ path }) => path))
  })

  test('keeps any entry (property)', async () => {
    const name = fc.uint8Array({ minLength: 1, maxLength: 255 }).map((bytes) => rawFromBytes(bytes).replace(/[\0/]/g, '_'))
    const anyEntry = fc.record({
      path: fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => `/${names.join('/')}` as Raw),
      size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      offset: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      mtimeNs: fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }),
      ctimeNs: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      ino: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      mode: fc.nat({ max: 0o7777 }),
      uid: fc.nat({ max: 2 ** 32 - 1 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(anyEntry, { maxLength: 30, selector: ({ path }) => path }), async (more) => {
        const entries = more.map(({ path, ...rest }) => entry(path, rest))
        const stored = await storeBundle(catalog, set, entries)
        expect((await catalog.entriesOf(stored.number)).map(entryOf)).toEqual(entries)
      }),
      { numRuns: 20 },
    )
  })

  test('with a lease that was lost it changes nothing', async () => {
    const lost = await newSet(catalog)
    const entries = [entry('/data/lost/file')]
    const id = await catalog.planBundle(lost.id, OWNER, planOf(entries))
    const dead = await lease(id, 'dead')
    await lease(id, 'heir')
    const problem = { path: raw('/data/lost/other'), kind: 'failed', reason: 'vanished' } as const
    await expect(catalog.markStored(id, dead.attempt, storedOf(id, entries), [problem])).rejects.toMatchObject({
      code: 'lease-lost',
    })
    expect(await catalog.bundle(id)).toMatchObject({ state: 'packing', attempt: 2 })
    expect(await files(id)).toEqual([])
    expect((await catalog.set(lost.id))?.counts).toMatchObject({ archived: 0, bundlesStored: 0, failed: 0 })
  })

  test('a lease lost while the rows are written takes them along', async () => {
    const id = await plan([entry('/data/torn')])
    const { attempt } = await lease(id)
    const bad = [entry('/data/torn'), entry('/data/torn-2', { dataBundle: 'no uuid' })]
    await expect(catalog.markStored(id, attempt, storedOf(id, bad), [])).rejects.toMatchObject({ code: 'database' })
    expect(await catalog.bundle(id)).toMatchObject({ state: 'packing' })
    expect(await files(id)).toEqual([])
    await catalog.markStored(id, attempt, storedOf(id, [entry('/data/torn')]), [])
    expect(await files(id)).toHaveLength(1)
  })

  test('more rows than one chunk takes, refused in the middle, are an error like any other', async () => {
    const entries = Array.from({ length: 8000 }, (_, i) => entry(`/data/refused/${i}`, i === 10 ? { dataBundle: 'no uuid' } : {}))
    const id = await plan(entries)
    const { attempt } = await lease(id)
    await expect(catalog.markStored(id, attempt, storedOf(id, entries), [])).rejects.toMatchObject({ code: 'database' })
    const good = entries.map(({ dataBundle: _, ...rest }) => rest)
    await catalog.markStored(id, attempt, storedOf(id, good), [])
    expect((await files(id)).map(entryOf)).toEqual(good)
  })

  test('called again after its answer was lost, it answers the same and adds nothing', async () => {
    const entries = [entry('/data/twice')]
    const id = await plan(entries)
    const { attempt } = await lease(id)
    const stored = storedOf(id, entries)
    const first = await catalog.markStored(id, attempt, stored, [])
    const { counts } = (await catalog.set(set.id)) as SetRow
    expect(await catalog.markStored(id, attempt, stored, [])).toEqual(first)
    expect((await catalog.set(set.id))?.counts).toEqual(counts)
    expect(await files(id)).toHaveLength(1)
  })

  test('four at once that share directories all come through', async () => {
    const busy = await newSet(catalog)
    const entriesOf = (bundle: number) =>
      Array.from({ length: 200 }, (_, i) => entry(`/data/shared/${(i * 7 + bundle * 3) % 50}/file-${bundle}-${i}`))
    await Promise.all(
      Array.from({ length: 12 }, async (_, bundle) => {
        const entries = bundle % 2 === 0 ? entriesOf(bundle) : entriesOf(bundle).reverse()
        await storeBundle(catalog, busy, entries)
      }),
    )
    expect((await catalog.set(busy.id))?.counts).toMatchObject({ archived: 2400, bundles: 12, bundlesStored: 12 })
  })

  test('a problem that is met twice counts once', async () => {
    const own = await newSet(catalog)
    const problems = [
      { path: raw('/data/p/1'), kind: 'failed', reason: 'per\0mission denied' },
      { path: raw('/data/p/1'), kind: 'failed', reason: 'again' },
      { path: raw('/data/p/2'), kind: 'changed', reason: 'changed \ud800 twice' },
    ] as const
    await catalog.recordProblems(own.id, problems.slice(0, 1))
    const id = await catalog.planBundle(own.id, OWNER, planOf([entry('/data/p/2')]))
    const { attempt } = await lease(id)
    await catalog.markStored(id, attempt, storedOf(id, [entry('/data/p/2', { state: 'changed' })]), problems)
    expect((await catalog.set(own.id))?.counts).toMatchObject({ failed: 1, changed: 1, archived: 1 })
    const pages = []
    for await (const page of catalog.problems(own.id)) pages.push(...page)
    expect(pages).toEqual([
      { path: '/data/p/1', kind: 'failed', reason: 'permission denied' },
      { path: '/data/p/2', kind: 'changed', reason: 'changed \ufffd twice', bundle: expect.any(String) },
    ])
  })
})

describe('afterwards', () => {
  test('a stored bundle is unindexed until it is marked, and again when the index is forgotten', async () => {
    const stored = await storeBundle(catalog, set, [entry('/data/indexed')])
    expect(await catalog.unindexedBundles(10_000)).toContain(stored.id)
    await catalog.markIndexed([stored.number])
    expect(await catalog.unindexedBundles(10_000)).not.toContain(stored.id)
    expect(await catalog.bundle(stored.id)).toMatchObject({ indexed: true })
    await catalog.forgetIndexed()
    expect(await catalog.unindexedBundles(10_000)).toContain(stored.id)
  })

  test('a bundle that failed is over, with its reason, once', async () => {
    const own = await newSet(catalog)
    const id = await catalog.planBundle(own.id, OWNER, planOf([entry('/data/failing')]))
    const { attempt } = await lease(id)
    await catalog.releaseBundle(id, attempt)
    await catalog.failBundle(id, attempt, 'the vault is\0 full')
    await catalog.failBundle(id, attempt, 'again')
    expect(await catalog.bundle(id)).toMatchObject({ state: 'failed', reason: 'the vault is full' })
    expect(await catalog.leaseBundle(id, 'w', nobodyIsGone)).toEqual({ kind: 'over', state: 'failed' })
    expect((await catalog.set(own.id))?.counts.bundlesFailed).toBe(1)
  })

  test('check marks what is missing or damaged, and heals it', async () => {
    const vaultId = 'local:/checked'
    const checked = await newSet(catalog, { vaultId })
    const a = await storeBundle(catalog, checked, [entry('/data/checked/a')])
    const b = await storeBundle(catalog, checked, [entry('/data/checked/b')])
    await catalog.markChecked(a.id, 'missing', 'not in the vault')
    await catalog.markChecked(b.id, 'damaged', 'wrong hash')
    const found = new Map<string, string>()
    for await (const page of catalog.storedBundles(vaultId))
      for (const row of page) found.set(row.id, `${row.state}: ${row.reason}`)
    expect(found).toEqual(
      new Map([
        [a.id, 'missing: not in the vault'],
        [b.id, 'damaged: wrong hash'],
      ]),
    )
    await catalog.markChecked(a.id, 'stored')
    const healed = await catalog.bundle(a.id)
    expect(healed).toMatchObject({ state: 'stored', tarSha256: hashOf(a.id) })
    expect(healed?.reason).toBeUndefined()
    const known = await catalog.knownBundles([a.id, b.id, set.id, 'nonsense'])
    expect([...known.keys()].sort()).toEqual([a.id, b.id].sort())
  })
})
