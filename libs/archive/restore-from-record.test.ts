import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { encodePlan } from '#libs/bundle/plan.js'
import type { SetRow } from '#libs/catalog/catalog.js'
import { rebuildCatalog } from './rebuild-catalog.js'
import { recordSet } from './record-set.js'
import { openStory, type ScratchStory, smallFiles } from './scratch-story.js'
import { storeBundle } from './store-bundle.js'

let at: ScratchStory
let fresh: ScratchStory
beforeEach(async () => {
  at = await openStory()
  fresh = await openStory()
})
afterEach(async () => {
  await fresh[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

async function rebuild(options: { acceptDates?: boolean } = {}) {
  const said: string[] = []
  const rebuilt = await rebuildCatalog(fresh.parts, at.vault, at.vault.id, {
    ...options,
    onTrouble: (key, reason) => said.push(`trouble ${key}: ${reason}`),
    onLost: ({ bundle }) => said.push(`lost ${bundle}`),
    onStray: (key) => said.push(`stray ${key}`),
  })
  return { ...rebuilt, said }
}
const filesOf = (set: Pick<SetRow, 'id' | 'startedAt'>) => {
  const month = set.startedAt.toISOString().slice(0, 7).replace('-', '/')
  const directory = join(at.vaultDirectory, month, set.id)
  return readdirSync(directory).map((name) => join(directory, name))
}
const recordsOf = (set: SetRow) => filesOf(set).filter((file) => file.includes('/set.'))
const only = (files: string[], end: string) => files.filter((file) => file.endsWith(end))

/** Rewrites a record, so that its last line fits again. */
function rewrite(file: string, change: (lines: string[]) => string[]): void {
  const lines = change(gunzipSync(readFileSync(file)).toString().trimEnd().split('\n').slice(0, -1))
  const text = lines.map((line) => `${line}\n`).join('')
  const sha256 = createHash('sha256').update(text).digest('hex')
  writeFileSync(file, gzipSync(`${text}${JSON.stringify({ lines: lines.length, sha256 })}\n`))
}

/** A run that was killed when one of three bundles was stored. */
async function killed({ crawled }: { crawled: boolean }): Promise<SetRow> {
  const root = at.tree('killed', smallFiles(3))
  await at.claim()
  const { catalog } = at
  const set = await catalog.createSet(at.request([root]), 'process-1')
  const { source } = at.parts
  const ids: string[] = []
  for await (const { entries } of source.walk({
    roots: set.roots,
    recursive: true,
    oneFileSystem: false,
    leaveOut: [],
    include: [],
    exclude: [],
  })) {
    for (const entry of entries.filter(({ type }) => type === 'file')) {
      ids.push(
        await catalog.planBundle(set.id, 'process-1', { plan: encodePlan([entry]), files: 1, entries: 1, bytes: entry.size }),
      )
    }
  }
  await catalog.countCrawled(set.id, { found: 3, unchanged: 0, waiting: 0 })
  await storeBundle(at.parts, ids[0] as string)
  if (crawled) {
    await catalog.markCrawled(set.id, 'process-1')
    await recordSet(at.parts, at.vault, (await catalog.set(set.id)) as SetRow)
  }
  return set
}

describe('a set in a rebuilt catalog', () => {
  test('that was killed when it was crawled says what is missing, and not that it is archived', async () => {
    const set = await killed({ crawled: true })
    expect(await rebuild()).toMatchObject({ adopted: 1, sets: 1, lost: 0, said: [] })
    expect(await fresh.catalog.set(set.id)).toMatchObject({
      state: 'partial',
      reason: expect.stringContaining('not over'),
      counts: { found: 3, archived: 1, bundles: 3, bundlesStored: 1, bundlesFailed: 2 },
    })
  })

  test('that was killed while it was crawled is not called archived either', async () => {
    const set = await killed({ crawled: false })
    expect(await rebuild()).toMatchObject({ adopted: 1, sets: 0 })
    expect(await fresh.catalog.set(set.id)).toMatchObject({ state: 'partial', reason: expect.stringContaining('record') })
  })

  test('more of which was stored since its last record counts it', async () => {
    const set = await killed({ crawled: true })
    for (const id of await at.catalog.strandedBundles(0, () => true)) await storeBundle(at.parts, id)
    expect(await rebuild()).toMatchObject({ adopted: 3, sets: 1 })
    expect((await fresh.catalog.set(set.id))?.counts).toMatchObject({
      archived: 3,
      bundles: 3,
      bundlesStored: 3,
      bundlesFailed: 0,
    })
  })

  test('names each bundle that the vault has lost, with or without its manifest, each time, until it is there again', async () => {
    const root = at.tree('tree', smallFiles(3))
    const set = await at.archive(at.request([root], { filesPerBundle: 1 }))
    const bundles = await at.bundlesOf(set)
    const [first, second] = bundles.map(({ key }) => join(at.vaultDirectory, key as string)) as [string, string]
    renameSync(first, at.path('first'))
    rmSync(first.replace(/tar$/, 'manifest.ndjson.gz'))
    renameSync(second, at.path('second'))
    const lost = [`lost ${bundles[0]?.id}`, `lost ${bundles[1]?.id}`]
    for (const adopted of [1, 0]) {
      const rebuilt = await rebuild()
      expect([...rebuilt.said].sort()).toEqual([...lost].sort())
      expect(rebuilt).toMatchObject({ adopted, lost: 2, sets: 1 })
      expect(await fresh.catalog.set(set.id)).toMatchObject({
        state: 'partial',
        reason: '2 of its bundles are not in the vault any more',
      })
    }
    // The catalog that has the set of its own is told as well.
    const own: string[] = []
    expect(await rebuildCatalog(at.parts, at.vault, at.vault.id, { onLost: ({ bundle }) => own.push(bundle) })).toMatchObject({
      lost: 2,
      sets: 0,
    })
    renameSync(at.path('second'), second)
    expect(await rebuild()).toMatchObject({ adopted: 1, lost: 1 })
    renameSync(at.path('first'), first)
    expect(await rebuild()).toMatchObject({ adopted: 1, lost: 0 }) // by the manifest inside the tar
    const { reason, state } = (await fresh.catalog.set(set.id)) as SetRow
    expect([state, reason]).toEqual(['archived', undefined])
  })

  test('has a stray manifest, which is no loss', async () => {
    const root = at.tree('tree', smallFiles(2))
    const set = await at.archive(at.request([root]))
    const manifest = only(filesOf(set), '.manifest.ndjson.gz')[0] as string
    const stray = manifest.replace(/[0-9a-f]{12}\.1\.manifest/, '000000000000.1.manifest')
    writeFileSync(stray, readFileSync(manifest))
    expect(await rebuild()).toMatchObject({ adopted: 1, lost: 0, said: [`stray ${stray.slice(at.vaultDirectory.length + 1)}`] })
  })

  test('of more gone names than are sent in one step has them all', async () => {
    const root = at.tree('tree', smallFiles(2))
    const set = await at.archive(at.request([root]))
    const client = new pg.Client(at.databaseUrl)
    await client.connect()
    const { rowCount } = await client.query(
      `INSERT INTO gone (directory, name, "set", removed, at)
       SELECT d.id, convert_to(md5(i::text) || md5((-i)::text), 'LATIN1'), $1, FALSE, now() FROM generate_series(1, 150000) i,
         LATERAL (SELECT id FROM directory WHERE path = convert_to($2, 'LATIN1') LIMIT 1) d`,
      [set.id, root],
    )
    await client.end()
    const key = await recordSet(at.parts, at.vault, (await at.catalog.set(set.id)) as SetRow)
    expect((await at.vault.stat(key))?.bytes).toBeGreaterThan(5_000_000)
    expect(await rebuild()).toMatchObject({ sets: 1, said: [] })
    let names = 0
    for await (const page of fresh.catalog.goneNames(set.id)) names += page.length
    expect([names, rowCount]).toEqual([150_000, 150_000])
  }, 180_000)

  test('whose last record is damaged is restored from the one before; without any it is named', async () => {
    const root = at.tree('tree', smallFiles(2))
    const set = await at.archive(at.request([root]))
    const [first, last] = recordsOf(set) as [string, string]
    writeFileSync(last, readFileSync(last).subarray(0, 50))
    const rebuilt = await rebuild()
    expect(rebuilt).toMatchObject({ adopted: 1, sets: 1, unread: 0, said: [expect.stringContaining('set.2.ndjson.gz')] })
    writeFileSync(first, 'no record')
    expect(await rebuild()).toMatchObject({ sets: 0, unread: 1, said: [expect.anything(), expect.anything()] })
  })

  test('is not believed of other bundles, paths outside its roots, and the future', async () => {
    const root = at.tree('tree', smallFiles(2))
    const set = await at.archive(at.request([root]))
    const [, last] = recordsOf(set) as [string, string]
    const honest = readFileSync(last)
    const forged: [string, (lines: string[]) => string[]][] = [
      [
        'of another set',
        (lines) => lines.map((line) => line.replace(`"set":"${set.id}"`, `"set":"${'0'.repeat(8)}${set.id.slice(8)}"`)),
      ],
      ['of a path outside', (lines) => [...lines, '{"gone":true,"path":"/etc/passwd","at":"2026-01-01T00:00:00.000Z"}']],
      [
        'of a path that leads outside',
        (lines) => [...lines, `{"gone":true,"path":"${root}/../x","at":"2026-01-01T00:00:00.000Z"}`],
      ],
      [
        'of the future',
        (lines) => [...lines, JSON.stringify({ gone: true, path: join(root, 'f1'), at: '2099-01-01T00:00:00.000Z' })],
      ],
      ['of no bundle of its', (lines) => lines.map((line) => line.replace(/"key":"[^"]*"/, '"key":"../outside.tar"'))],
    ]
    for (const [what, change] of forged) {
      writeFileSync(last, honest)
      rewrite(last, change)
      const { said, sets } = await rebuild()
      expect([what, said, sets]).toEqual([what, [expect.stringContaining('set.2.ndjson.gz')], 1])
      for await (const page of fresh.catalog.goneNames(set.id)) expect(page).toEqual([])
    }
    writeFileSync(last, honest)
    rewrite(last, forged[3]?.[1] as (lines: string[]) => string[])
    expect(await rebuild({ acceptDates: true })).toMatchObject({ said: [], sets: 1 })
    for await (const [gone] of fresh.catalog.goneNames(set.id)) expect(gone?.at.getTime()).toBeLessThan(Date.now() + 60_000)
  })
})
