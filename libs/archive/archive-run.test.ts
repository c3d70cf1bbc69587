import { execFileSync } from 'node:child_process'
import { chmodSync, linkSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import type { SetRow } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import type { Upload, Vault } from '#libs/vault/vault.js'
import { counted } from '#libs/vault/wrappers/counted.js'
import { faulty } from '#libs/vault/wrappers/faulty.js'
import { lookAt } from '../../test/tree.js'
import { isAccounted, openStory, type ScratchStory, smallFiles } from './scratch-story.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory({ packers: 4 })
})
afterAll(async () => at[Symbol.asyncDispose]())

const bytesSent = () => {
  const sent = { bytes: 0, uploads: 0 }
  at.wrap((vault) =>
    counted(vault, ({ operation, bytesWritten }) => {
      if (operation === 'write') sent.bytes += bytesWritten
      if (operation === 'upload') sent.uploads++
    }),
  )
  return sent
}
const plain = () => at.wrap((vault) => vault)
const back = async (root: string, to: string, set: SetRow) => {
  await at.retrieve({ to: at.path(to), selection: { paths: [rawFromText(root)], setIds: [set.id] } })
  return join(at.path(to), root)
}

describe('cutting', () => {
  test('bundles hold at most so many files (G-1) and bytes (G-2)', async () => {
    const root = at.tree('cut', smallFiles(25, 1_000))
    const byFiles = await at.archive(at.request([root], { filesPerBundle: 10, force: true }))
    expect((await at.bundlesOf(byFiles)).map(({ files }) => files).sort()).toEqual([10, 10, 5])
    const byBytes = await at.archive(at.request([root], { bundleBytes: 3_500, force: true }))
    expect((await at.bundlesOf(byBytes)).map(({ bytes }) => bytes).sort()).toEqual([1_000, ...Array(8).fill(3_000)])
    const smaller = await at.archive(at.request([root], { bundleBytes: 500, force: true }))
    expect(smaller.counts).toMatchObject({ found: 25, archived: 25, bundlesStored: 25 })
    expect(smaller.state).toBe('archived')
  })

  test('the names of an inode travel whole and last, over the limits on their own', async () => {
    const root = at.tree('links', { 'a-first': 'linked data', 'b-plain': 'b', 'z-plain': 'z' })
    for (let i = 0; i < 5; i++) linkSync(join(root, 'a-first'), join(root, `link-${i}`))
    writeFileSync(join(root, 'c-pair'), 'pair')
    linkSync(join(root, 'c-pair'), join(root, 'd-pair'))
    const set = await at.archive(at.request([root], { filesPerBundle: 3 }))
    expect(set.counts).toMatchObject({ found: 10, archived: 10, failed: 0 })
    const bundles = (await at.bundlesOf(set)).sort((a, b) => Number(a.number - b.number))
    const names = await Promise.all(
      bundles.map(async ({ number }) =>
        (await at.catalog.entriesOf(number)).filter(({ type }) => type !== 'directory').map(({ path }) => path.split('/').at(-1)),
      ),
    )
    expect(names).toContainEqual(['a-first', 'link-0', 'link-1', 'link-2', 'link-3', 'link-4'])
    expect(names.filter((group) => group.includes('c-pair'))).toEqual([expect.arrayContaining(['c-pair', 'd-pair'])])
    expect(names[0]).toEqual(['b-plain', 'z-plain'])
    const restored = await back(root, 'links-back', set)
    expect(lookAt(restored)).toEqual(lookAt(root))
    expect(statSync(join(restored, 'a-first')).ino).toBe(statSync(join(restored, 'link-4')).ino)

    const again = await at.archive(at.request([root], { filesPerBundle: 3 }))
    expect(again.counts).toMatchObject({ found: 10, unchanged: 10, archived: 0, bundles: 0 })
  })

  test('a file that is larger than the vault takes is a problem, under each of its names; the others are archived', async () => {
    const root = at.tree('limits', { small: 'x', large: 'y'.repeat(2_000_001), 'm-linked': 'z'.repeat(2_000_001) })
    linkSync(join(root, 'm-linked'), join(root, 'n-linked'))
    at.wrap((vault) => ({ ...vault, maxObjectBytes: 2 ** 20 + 2_000_000 }))
    const set = await at.archive(at.request([root]))
    plain()
    expect(set).toMatchObject({ state: 'partial', counts: { found: 4, archived: 1, failed: 3 } })
    const problems = []
    for await (const page of at.catalog.problems(set.id)) problems.push(...page)
    expect(problems.map(({ path }) => path)).toEqual(
      expect.arrayContaining([`${root}/large`, `${root}/m-linked`, `${root}/n-linked`]),
    )
    expect(problems[0]?.reason).toMatch(/^has 2000001 bytes, and local:.* takes files of 2000000 at most$/)
  })

  test('a new name of a known inode sends none of its bytes, and is restored', async () => {
    const root = at.tree('named', { 'm-known': 'x'.repeat(200_000) })
    await at.archive(at.request([root]))
    linkSync(join(root, 'm-known'), join(root, 'a-new'))
    const sent = bytesSent()
    const set = await at.archive(at.request([root]))
    plain()
    expect(set.counts).toMatchObject({ found: 2, archived: 2 })
    expect(sent.bytes).toBeLessThan(50_000)
    const rows = (await at.select({ setIds: [set.id] })).filter(({ type }) => type !== 'directory')
    expect(rows.every(({ dataBundle }) => dataBundle !== undefined)).toBe(true)
    expect(lookAt(await back(root, 'named-back', set))).toEqual(lookAt(root))
  })

  test('a name that only a later run sees of an inode sends none of its bytes either', async () => {
    const one = at.tree('seen/one', { 'm-known': 'y'.repeat(200_000) })
    const two = at.tree('seen/two', {})
    linkSync(join(one, 'm-known'), join(two, 'other'))
    await at.archive(at.request([one]))
    const sent = bytesSent()
    const set = await at.archive(at.request([one, two]))
    plain()
    expect(sent.bytes).toBeLessThan(50_000)
    expect(isAccounted(set)).toBe(true)
    const restored = lookAt(await back(two, 'seen-back', set)).get('other')
    expect({ ...restored, nlink: 2 }).toEqual(lookAt(two).get('other'))
  })

  test('a chmod sends none of the bytes', async () => {
    const root = at.tree('mode', { big: 'q'.repeat(200_000), same: 's' })
    await at.archive(at.request([root]))
    chmodSync(join(root, 'big'), 0o600)
    const sent = bytesSent()
    const set = await at.archive(at.request([root]))
    plain()
    expect(set.counts).toMatchObject({ found: 2, archived: 1, unchanged: 1 })
    expect(sent.bytes).toBeLessThan(50_000)
    const restored = await back(root, 'mode-back', set)
    expect(statSync(join(restored, 'big')).mode & 0o777).toBe(0o600)
  })

  test('a tree that moved to another disk sends none of its bytes: same paths, other inodes', async () => {
    const root = at.tree('disk', { big: 'd'.repeat(200_000), 'below/other': 'e'.repeat(200_000) })
    await at.archive(at.request([root]))
    execFileSync('cp', ['-Rp', root, `${root}-new`])
    renameSync(root, `${root}-old`)
    renameSync(`${root}-new`, root)
    const sent = bytesSent()
    const set = await at.archive(at.request([root]))
    plain()
    expect(set.counts).toMatchObject({ found: 2, archived: 2, unchanged: 0 })
    expect(sent.bytes).toBeLessThan(50_000)
    expect(lookAt(await back(root, 'disk-back', set))).toEqual(lookAt(root))
    expect((await at.archive(at.request([root]))).counts).toMatchObject({ found: 2, unchanged: 2, bundles: 0 })
  })

  test('empty trees, dangling links and files that are skipped are all accounted for', async () => {
    const root = at.tree('odd', { file: '' })
    mkdirSync(join(root, 'empty'))
    symlinkSync('nowhere', join(root, 'dangling'))
    const set = await at.archive(at.request([root]))
    expect(isAccounted(set)).toBe(true)
    expect(set.counts).toMatchObject({ found: 2, archived: 2 })
    expect((await at.archive(at.request([root]))).counts).toMatchObject({ found: 2, unchanged: 2, bundles: 0 })
  })
})

describe('a vault in trouble', () => {
  const trouble = () => new FirnError('vault-failed', 'the disk is in a bad mood')

  /** Fails every upload of the first bundle that comes. */
  const failsOne = (vault: Vault): Vault => {
    let victim: string | undefined
    return {
      ...vault,
      async upload(key, options): Promise<Upload> {
        victim ??= key.replace(/\.\d+\.tar$/, '')
        if (key.startsWith(victim)) throw trouble()
        return vault.upload(key, options)
      },
    }
  }

  test('one bundle that fails for good leaves the set partial; the next run sends only what is missing (G-9)', async () => {
    const root = at.tree('g9', smallFiles(30))
    at.wrap(failsOne)
    const failed: string[] = []
    const set = await at.archive(at.request([root], { filesPerBundle: 10 }), { onFailed: (id) => failed.push(id) })
    expect(set.state).toBe('partial')
    expect(set.counts).toMatchObject({ bundlesStored: 2, bundlesFailed: 1, archived: 20, failed: 10 })
    expect(isAccounted(set)).toBe(true)
    expect(failed).toHaveLength(1)
    expect(await at.catalog.bundle(failed[0] as string)).toMatchObject({
      state: 'failed',
      reason: expect.stringContaining('bad mood'),
    })
    const sent = bytesSent()
    const again = await at.archive(at.request([root], { filesPerBundle: 10 }))
    plain()
    expect(again.state).toBe('archived')
    expect(again.counts).toMatchObject({ found: 30, unchanged: 20, archived: 10 })
    expect(sent.uploads).toBe(1)
    expect(at.leftovers()).toEqual([])
  })

  test('what fails once is tried again, and all is stored', async () => {
    const root = at.tree('once', smallFiles(30))
    at.wrap((vault) => faulty(vault, [{ operation: 'seal', at: 2, error: trouble() }]))
    const set = await at.archive(at.request([root], { filesPerBundle: 10 }))
    plain()
    expect(set.state).toBe('archived')
    expect(set.counts).toMatchObject({ archived: 30, bundlesFailed: 0 })
    expect(at.leftovers()).toEqual([])
  })

  test('what the vault made of the bytes is wrong: they are sent again', async () => {
    const root = at.tree('rotten', smallFiles(3))
    at.wrap((vault) => faulty(vault, [{ operation: 'seal', at: 1, error: new FirnError('damaged', 'a bit flipped') }]))
    const set = await at.archive(at.request([root]))
    plain()
    expect(set.state).toBe('archived')
    expect(await at.check()).toEqual([])
  })

  test('a vault that does not read back is asked what it holds; where that is wrong, the bytes are sent again', async () => {
    const root = at.tree('asked', smallFiles(3))
    const verified: string[] = []
    at.wrap((vault) => {
      const asked = faulty(vault, [{ operation: 'verify', at: 1, error: new FirnError('damaged', 'a bit flipped') }])
      return {
        ...asked,
        readsBack: false,
        async upload(...args) {
          const upload = await asked.upload(...args)
          return { ...upload, seal: () => upload.seal().then(() => undefined) }
        },
        verify(key, ...rest) {
          verified.push(key)
          return asked.verify(key, ...rest)
        },
      }
    })
    const set = await at.archive(at.request([root]))
    plain()
    expect(set.state).toBe('archived')
    // The second attempt asks about what the first left, finds it whole, and adopts it.
    expect(verified).toHaveLength(2)
    expect(await at.check()).toEqual([])
  })

  test('a full vault ends the run with that error; the next run finishes the set', async () => {
    const root = at.tree('full', smallFiles(60))
    let room = 2
    at.wrap((vault) => ({
      ...vault,
      async upload(key, options) {
        if (room-- <= 0) throw new FirnError('vault-full', 'no room left')
        return vault.upload(key, options)
      },
    }))
    const sets: SetRow[] = []
    const events = { onSet: (set: SetRow) => sets.push(set), onFailed: () => sets.splice(0) }
    await expect(at.archive(at.request([root], { filesPerBundle: 5 }), events)).rejects.toMatchObject({
      code: 'vault-full',
    })
    const set = sets[0] as SetRow
    expect(['crawling', 'archiving']).toContain((await at.catalog.set(set.id))?.state)
    plain()
    const resumed: string[] = []
    const next = await at.archive(at.request([root], { filesPerBundle: 5 }), { onResume: ({ id }) => resumed.push(id) })
    expect(resumed).toEqual([set.id])
    const ended = (await at.catalog.set(set.id)) as SetRow
    expect(ended.state).toBe('archived')
    expect(ended.counts).toMatchObject({ found: 60, archived: 60, bundlesFailed: 0 })
    expect(next.counts).toMatchObject({ found: 60, unchanged: 60 })
    expect(at.leftovers()).toEqual([])
  })

  test.each([
    ['the catalog', 'file', 'public'],
    ['the queue', 'job', 'bullmq'],
  ])('a database without room for %s ends the run with that error; the next run finishes the set', async (_, table, schema) => {
    const root = at.tree(`database-full-${table}`, smallFiles(20))
    const sql = new pg.Pool({ connectionString: at.databaseUrl, max: 1 })
    try {
      const event = table === 'file' ? 'INSERT' : 'UPDATE'
      await sql.query(
        `CREATE FUNCTION full_${table}() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER full_disk BEFORE ${event} ON ${schema}.${table} EXECUTE FUNCTION full_${table}()`,
      )
      await expect(at.archive(at.request([root], { filesPerBundle: 5 }))).rejects.toMatchObject({
        code: 'database-full',
        message: expect.stringMatching(/no room left .*could not extend file.*make room/),
      })
      await sql.query(`DROP TRIGGER full_disk ON ${schema}.${table}`)
      const set = await at.archive(at.request([root], { filesPerBundle: 5 }))
      expect(set.counts).toMatchObject({ found: 20, failed: 0, bundlesFailed: 0 })
      expect(at.leftovers()).toEqual([])
    } finally {
      await sql.query(`DROP TRIGGER IF EXISTS full_disk ON ${schema}.${table}`)
      await sql.end()
    }
  })

  test('that another catalog owns is refused, and nothing is recorded', async () => {
    const other = await openStory({ vaultDirectory: at.vaultDirectory })
    try {
      const root = other.tree('mine', smallFiles(3))
      await expect(other.archive(other.request([root]))).rejects.toMatchObject({ code: 'vault-refused' })
      expect(await other.catalog.sets()).toEqual([])
    } finally {
      await other[Symbol.asyncDispose]()
    }
  })
})

test('uploads overlap, and no more full bundles than workers lie unfinished in the vault (G-21)', async () => {
  const root = at.tree('g21', smallFiles(20, 5_000))
  let open = 0
  let most = 0
  let temporaries = 0
  at.wrap((vault) => ({
    ...vault,
    async upload(key, options) {
      const upload = await vault.upload(key, options)
      most = Math.max(most, ++open)
      const over = () => {
        open--
      }
      return {
        ...upload,
        async seal() {
          temporaries = Math.max(temporaries, at.leftovers().filter((name) => name.includes('.tar.')).length)
          await sleep(20)
          return upload.seal()
        },
        complete: () => upload.complete().finally(over),
        abort: () => upload.abort().finally(over),
      }
    },
  }))
  const set = await at.archive(at.request([root], { bundleBytes: 5_000 }), { workers: 4 })
  plain()
  expect(set.counts.bundlesStored).toBe(20)
  expect(most).toBeGreaterThanOrEqual(2)
  expect(most).toBeLessThanOrEqual(4)
  expect(temporaries).toBeLessThanOrEqual(4)
  expect(at.leftovers()).toEqual([])
})

describe('an interrupted set', () => {
  const interrupted = async (name: string, when: (options: { stop(): void }) => object, files = 200) => {
    const root = at.tree(name, smallFiles(files))
    const stopping = new AbortController()
    const sets: SetRow[] = []
    const request = at.request([root], { filesPerBundle: 10 })
    const why = new Error('^C')
    await expect(
      at.archive(request, {
        signal: stopping.signal,
        onSet: (set) => sets.push(set),
        ...when({ stop: () => stopping.abort(why) }),
      }),
    ).rejects.toBe(why)
    return { root, request, set: sets[0] as SetRow }
  }
  const finish = async ({ root, request, set }: Awaited<ReturnType<typeof interrupted>>, files = 200) => {
    const next = await at.archive(request)
    const ended = (await at.catalog.set(set.id)) as SetRow
    expect(ended.state).toBe('archived')
    expect(ended.counts).toMatchObject({ found: files, archived: files })
    expect(isAccounted(ended)).toBe(true)
    expect(next.counts).toMatchObject({ found: files, unchanged: files, archived: 0 })
    const rows = await at.select({ setIds: [set.id], allVersions: true })
    expect(rows).toHaveLength(files)
    expect(rows.every(({ path }) => path.startsWith(root))).toBe(true)
  }

  test('in the middle of its crawl is finished by the next run, with nothing twice', async () => {
    let planned = 0
    await finish(await interrupted('stop-crawl', ({ stop }) => ({ onPlanned: () => ++planned === 7 && stop() })))
  })

  test('in the middle of storing, too, also by another process when this one died', async () => {
    let stored = 0
    const stopped = await interrupted('stop-store', ({ stop }) => ({ onStored: () => ++stored === 3 && stop() }))
    at.rebirth()
    await finish(stopped)
  })

  test('whose file could not be read at first counts it once', async () => {
    const root = at.tree('unread', smallFiles(30))
    const victim = join(root, 'd0/file-0.txt')
    const stopping = new AbortController()
    const sets: SetRow[] = []
    const request = at.request([root], { filesPerBundle: 10 })
    // Vanishes between the walk and the packing, and is there again for the next run.
    const running = at.archive(request, {
      signal: stopping.signal,
      onFound: () => rmSync(victim, { force: true }),
      onSet: (set) => sets.push(set),
      onStored: (_bundle, problems) => problems.length > 0 && stopping.abort(),
    })
    await running.catch(() => {})
    writeFileSync(victim, 'there again')
    await at.archive(request)
    const ended = (await at.catalog.set((sets[0] as SetRow).id)) as SetRow
    expect(isAccounted(ended)).toBe(true)
  })
})

test('a file whose times are as young as its reading is hashed before it is called unchanged', async () => {
  const root = at.tree('fresh', { old: 'old', young: 'young' })
  // A clock that is ahead stands for one that is coarse: the kernel lets nobody choose a ctime.
  const ahead = new Date(Date.now() + 30_000)
  utimesSync(join(root, 'young'), ahead, ahead)
  await sleep(50)
  const request = at.request([root])
  expect((await at.archive(request)).counts).toMatchObject({ found: 2, archived: 2 })
  const second = await at.archive(request)
  expect(second.counts).toMatchObject({ found: 2, unchanged: 1, archived: 1 })
  const [first, again] = await at
    .select({ paths: [rawFromText(join(root, 'young'))], allVersions: true })
    .then((rows) => rows.reverse())
  expect([first?.fresh, again?.dataBundle]).toEqual([true, first?.bundleId])
})
