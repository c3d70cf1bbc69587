/** The whole story on a Glacier vault: hours of waiting on the emulated service's clock, one file by its range, and what is found again. */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { rawFromText } from '#libs/os/raw.js'
import { type ScratchGlacier, scratchGlacier } from '#libs/vault/glacier/scratch-glacier.js'
import { DAY_MS, HOUR_MS } from '../../test/cloud/clock.js'
import { lookAt } from '../../test/tree.js'
import { OWNER_KEY } from './own-vault.js'
import { rebuildCatalog } from './rebuild-catalog.js'
import { openStory, type ScratchStory, smallFiles } from './scratch-story.js'

const MIB = 1024 * 1024

let at: ScratchStory
let glacier: ScratchGlacier
let root: string
beforeAll(async () => {
  glacier = await scratchGlacier()
  await glacier.vault.prepare()
  at = await openStory({ vault: glacier.open() })
  // The large file keeps the last one away from the beginning of its bundle.
  const files = { ...smallFiles(20), 'a-film.raw': randomBytes(20 * MIB), 'z-last.txt': 'the last one' }
  root = at.tree('tree', files)
  await at.archive(at.request([root]))
})
afterAll(async () => {
  await at?.[Symbol.asyncDispose]()
  await glacier?.done()
})

const paid = () => glacier.cloud.requests.paid()

/** Asks, waits until the service was asked, and lets its hours pass. */
async function retrieveAfterHours(request: Parameters<ScratchStory['retrieve']>[0], acts: number) {
  const going = at.retrieve(request)
  going.catch(() => {}) // awaited below
  while (paid().length < acts) await sleep(20)
  glacier.cloud.clock.pass(4 * HOUR_MS)
  return going
}

test('a tree is archived: one archive, whose id the catalog knows, and its manifest is readable at once', async () => {
  const [bundle, ...more] = await at.bundlesOf((await at.catalog.set((await at.select({}))[0]?.setId as string))!)
  expect(more).toEqual([])
  expect(bundle?.archiveId).toBe([...glacier.emulated.archives.keys()][0])
  expect((await at.check(false)).map(({ kind }) => kind)).toEqual([])
})

test('one file is fetched by its range: a few MiB are paid for, not the bundle', async () => {
  const to = at.path('one')
  const ended = await retrieveAfterHours({ to, selection: { paths: [rawFromText(join(root, 'z-last.txt'))] } }, 1)
  expect(ended).toMatchObject({ state: 'done', filesRestored: 1 })
  expect(readFileSync(join(to, root, 'z-last.txt'), 'utf8')).toBe('the last one')
  expect(paid()).toHaveLength(1)
  expect(paid()[0]?.bytes).toBeLessThanOrEqual(8 * MIB)
  expect(paid()[0]?.bytes).toBeLessThan(20 * MIB)
})

test('the whole tree comes back as it was, for one more retrieval', async () => {
  const to = at.path('all')
  const ended = await retrieveAfterHours({ to, selection: {} }, 2)
  expect(ended).toMatchObject({ state: 'done', filesRestored: 22 })
  expect(lookAt(join(to, root))).toEqual(lookAt(root))
  expect(paid()).toHaveLength(2)
})

test('another catalog is built from the vault alone, with the archive ids', async () => {
  await using other = await openStory({ vault: glacier.open() })
  expect(await rebuildCatalog({ catalog: other.catalog }, other.vault, other.vault.id)).toEqual({
    adopted: 1,
    known: 0,
    refused: 0,
    failed: 0,
    lost: 0,
    sets: 1,
    unread: 0,
  })
  const rows = await other.select({})
  expect(rows.length).toBeGreaterThanOrEqual(22)
  const bundle = await other.catalog.bundle(rows[0]?.bundleId as string)
  expect(bundle?.archiveId).toBe([...glacier.emulated.archives.keys()][0])
})

test('a pointer that is gone comes back from the inventory, and check says meanwhile that the bundle is missing', async () => {
  const [row] = await at.select({})
  const { key } = (await at.catalog.bundle(row?.bundleId as string))!
  rmSync(join(glacier.companionDirectory, `${key}.archive.json`))
  expect((await at.check(false)).map(({ kind }) => kind)).toEqual(['missing'])
  glacier.cloud.clock.pass(DAY_MS)
  await at.check(false) // asks for the inventory
  glacier.cloud.clock.pass(4 * HOUR_MS)
  expect(await at.check(false)).toEqual([])
  expect((await at.catalog.bundle(row?.bundleId as string))?.state).toBe('stored')
})

test('a vault whose companion lost its note is away: nothing is sent there', async () => {
  rmSync(join(glacier.companionDirectory, OWNER_KEY))
  const held = () => readdirSync(glacier.companionDirectory, { recursive: true })
  const before = held()
  const another = at.request([at.tree('another', smallFiles(3))])
  await expect(at.archive(another)).rejects.toMatchObject({ code: 'vault-away' })
  expect(held()).toEqual(before)
})
