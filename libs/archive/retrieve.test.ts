import {
  chmodSync,
  closeSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import type { ItemRow } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { counted } from '#libs/vault/wrappers/counted.js'
import { lookAt } from '../../test/tree.js'
import { type FindRequest, findFiles, neededBundles } from './find.js'
import { consentTo } from './offer.js'
import { OWNER_KEY } from './own-vault.js'
import { agree, openRetrieval, retrieve } from './retrieve.js'
import { all, openStory, REQUEST, type ScratchStory, smallFiles } from './scratch-story.js'
import { watchRetrievals } from './watch-retrievals.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory()
})
afterAll(async () => at[Symbol.asyncDispose]())
afterEach(() => at.wrap((vault) => vault))

const below = (...roots: string[]) => ({ paths: roots.map(rawFromText) })
const find = (request: FindRequest) => all(findFiles(at.parts, request))
const tarOf = async (path: string) => {
  const [row] = await at.select(below(path))
  return { row, tar: join(at.vaultDirectory, (await at.catalog.bundle(row?.bundleId as string))?.key as string) }
}
const countReads = () => {
  const read = { calls: 0, bytes: 0 }
  at.wrap((vault) =>
    counted(vault, ({ operation, begins, bytesRead }) => {
      if (operation !== 'read') return
      read.calls += begins ? 1 : 0
      read.bytes += bytesRead
    }),
  )
  return read
}

describe('finding', () => {
  let root: string
  let ids: string[]
  let between: Date
  beforeAll(async () => {
    root = at.tree('find', { 'snow report.txt': 'one', 'other.txt': 'x' })
    const first = await at.archive(at.request([root], {}, { tags: ['winter'], description: 'first survey' }))
    between = new Date()
    writeFileSync(join(root, 'snow report.txt'), 'two, longer')
    const second = await at.archive(at.request([root], {}, { tags: ['summer'] }))
    ids = [first.id, second.id]
  })

  test('gives of each path the newest version, or all, or what it was at a time, or of a set', async () => {
    const path = below(join(root, 'snow report.txt'))
    expect((await find({ selection: path })).map(({ setId }) => setId)).toEqual([ids[1]])
    expect((await find({ selection: { ...path, allVersions: true } })).map(({ setId }) => setId)).toEqual([ids[1], ids[0]])
    expect((await find({ selection: { ...path, asOf: between } })).map(({ setId }) => setId)).toEqual([ids[0]])
    expect((await find({ selection: { ...path, setIds: [ids[0] as string] } })).map(({ setId }) => setId)).toEqual([ids[0]])
    expect(await find({ selection: { ...path, host: 'beta' } })).toEqual([])
  })

  test('gives the newest version that matches the query: a tag of an older set finds the older one', async () => {
    const inRoot = { selection: below(root) }
    expect((await find({ query: 'snow', ...inRoot })).map(({ setId }) => setId)).toEqual([ids[1]])
    const winter = await find({ query: 'winter snow', ...inRoot })
    expect(winter.map(({ setId, size }) => [setId, size])).toEqual([[ids[0], 3]])
    expect(await find({ query: 'snow winter summer', ...inRoot })).toEqual([])
    const both = await find({ query: 'snow', selection: { ...inRoot.selection, allVersions: true } })
    expect(both.map(({ setId }) => setId).sort()).toEqual([...ids].sort())
    expect((await find({ query: '"first survey" -report', ...inRoot })).map(({ path }) => path)).toEqual([
      join(root, 'other.txt'),
    ])
  })

  test('says which bundles are needed, each once', async () => {
    const needed = []
    for await (const one of neededBundles(at.parts, { selection: below(root) })) needed.push(one)
    expect(needed.map(({ files }) => files).sort()).toEqual([1, 1])
  })
})

describe('a retrieval', () => {
  test('names a missing bundle and a damaged file, and restores everything else', async () => {
    const root = at.tree('broken', smallFiles(30))
    await at.archive(at.request([root], { filesPerBundle: 10 }))
    const [gone, hurt] = [join(root, 'd0/file-0.txt'), join(root, 'd0/file-29.txt')]
    const missing = await tarOf(gone)
    rmSync(missing.tar)
    const damaged = await tarOf(hurt)
    flip(damaged.tar, damaged.row?.offset as number)
    const inMissing = (await at.select(below(root))).filter(({ bundleId }) => bundleId === missing.row?.bundleId).length
    const failed: ItemRow[] = []
    const reasons: string[] = []
    const files: string[] = []
    const ended = await at.retrieve(
      { to: at.path('broken-back'), selection: below(root) },
      {
        onItemFailed: (item, reason) => {
          failed.push(item)
          reasons.push(reason)
        },
        onResults: (results) => {
          for (const { outcome, entry } of results) if (outcome === 'failed') files.push(entry.path)
        },
      },
    )
    expect(ended).toMatchObject({ state: 'failed', files: 30, filesRestored: 30 - inMissing - 1, filesFailed: inMissing + 1 })
    expect(failed.map(({ bundle }) => bundle.id)).toEqual([missing.row?.bundleId])
    expect(reasons[0]).toMatch(/no object|missing/)
    expect(files).toEqual([hurt])
    flip(damaged.tar, damaged.row?.offset as number)
    await at.catalog.markChecked(missing.row?.bundleId as string, 'missing')
  })

  test('says in the end what another process gave up of it', async () => {
    const root = at.tree('given-up', smallFiles(20, 500))
    await at.archive(at.request([root], { filesPerBundle: 10 }))
    const target = rawFromText(at.path('given-up-back'))
    const opened = await openRetrieval(at.parts, { ...REQUEST, selection: below(root), target })
    const { id } = await agree(at.parts, opened?.id as string, consentTo(undefined))
    const [item] = await all(at.catalog.items(id))
    await at.catalog.markItem(item?.id as string, 'failed', { reason: 'the vault said no', filesFailed: 10 })
    const reasons: string[] = []
    const ended = await retrieve(at.parts, id, { target, checkSeconds: 1, onItemFailed: (_, reason) => reasons.push(reason) })
    expect(ended).toMatchObject({ state: 'failed', filesRestored: 10, filesFailed: 10 })
    expect(reasons).toEqual(['the vault said no'])
  })

  test('of a bundle that lost its end restores the files before it', async () => {
    const root = at.tree('short', smallFiles(10, 50_000))
    await at.archive(at.request([root]))
    const { tar } = await tarOf(join(root, 'd0/file-0.txt'))
    truncateSync(tar, Math.floor(statSync(tar).size / 2))
    const ended = await at.retrieve({ to: at.path('short-back'), selection: below(root) })
    expect(ended.state).toBe('failed')
    expect(ended.filesRestored).toBeGreaterThan(2)
    expect(ended.filesRestored + ended.filesFailed).toBe(10)
    expect(lookAt(at.path('short-back'), { directories: false }).size).toBe(ended.filesRestored)
    expect((await at.check()).filter(({ kind }) => kind === 'damaged')).toHaveLength(1)
    rmSync(tar)
    await at.check()
  })

  test('reads a few bundles at a time, and keeps what was read beside one that failed', async () => {
    const root = at.tree('several', smallFiles(80, 2_000))
    await at.archive(at.request([root], { filesPerBundle: 10 }))
    let underWay = 0
    let most = 0
    let begun = 0
    at.wrap((vault) => ({
      ...vault,
      async *read(...args) {
        if (args[0] === OWNER_KEY) return yield* vault.read(...args)
        most = Math.max(most, ++underWay)
        try {
          if (++begun === 3) throw new FirnError('vault-missing', 'nobody knows where it is')
          await sleep(50)
          yield* vault.read(...args)
        } finally {
          underWay--
        }
      },
    }))
    const to = at.path('several-back')
    const ended = await at.retrieve({ to, selection: below(root) })
    expect(ended).toMatchObject({ state: 'failed', filesRestored: 70, filesFailed: 10 })
    expect(lookAt(to, { directories: false }).size).toBe(70)
    expect([begun, most > 1, most < 6]).toEqual([8, true, true])
  })

  test('that was interrupted goes on with the same request, and reads nothing again', async () => {
    const root = at.tree('resume', smallFiles(40, 2_000))
    await at.archive(at.request([root], { filesPerBundle: 10 }))
    const stopping = new AbortController()
    const request = { to: at.path('resume-back'), selection: below(root) }
    let results = 0
    await expect(
      at.retrieve(request, {
        signal: stopping.signal,
        onResults: (page) => {
          results += page.length
          if (results > 15) stopping.abort(new Error('^C'))
        },
      }),
    ).rejects.toThrow('^C')
    const open = (await at.catalog.retrievals({ open: true })).find(({ target }) => target === request.to)
    expect(open?.items.done).toBeGreaterThan(0)
    at.rebirth()
    const read = countReads()
    const ended = await at.retrieve(request)
    expect(ended).toMatchObject({ id: open?.id, state: 'done', filesFailed: 0 })
    expect(read.calls).toBeLessThanOrEqual(4 - (open?.items.done ?? 0) + 1) // and whether the vault is there
    expect(lookAt(join(at.path('resume-back'), root))).toEqual(lookAt(root))
  })

  test('of one file out of a bundle of 50 MB reads at most its size and 1 MiB', async () => {
    const root = at.tree('large', Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`f${i}`, Buffer.alloc(1_000_000, i)])))
    const set = await at.archive(at.request([root]))
    expect(set.counts.bundles).toBe(1)
    const read = countReads()
    const ended = await at.retrieve({ to: at.path('large-back'), selection: below(join(root, 'f33')) })
    expect(ended).toMatchObject({ state: 'done', filesRestored: 1 })
    expect(read.bytes).toBeLessThanOrEqual(1_000_000 + 2 ** 20)
    expect(readFileSync(join(at.path('large-back'), root, 'f33')).equals(Buffer.alloc(1_000_000, 33))).toBe(true)
  })

  test('of whole bundles brings everything that travelled with the match', async () => {
    const root = at.tree('whole', smallFiles(30))
    await at.archive(at.request([root], { filesPerBundle: 10 }))
    const path = join(root, 'd0/file-4.txt')
    const { row } = await tarOf(path)
    const travelled = (await at.catalog.entriesOf(row?.bundleNumber as bigint)).filter(({ type }) => type !== 'directory')
    const ended = await at.retrieve({ to: at.path('whole-back'), selection: below(path), wholeBundles: true })
    expect(ended).toMatchObject({ state: 'done', filesRestored: travelled.length })
    expect(travelled).toHaveLength(10)
  })

  test('of a bundle whose match points to bytes elsewhere brings the match itself, too', async () => {
    const root = at.tree('pointed', { 'a.txt': 'a', 'b.txt': 'b' })
    await at.archive(at.request([root]))
    chmodSync(join(root, 'b.txt'), 0o640)
    const set = await at.archive(at.request([root]))
    const ended = await at.retrieve({
      to: at.path('pointed-back'),
      selection: { ...below(join(root, 'b.txt')), setIds: [set.id] },
      wholeBundles: true,
    })
    expect(ended.state).toBe('done')
    expect(statSync(join(at.path('pointed-back'), root, 'b.txt')).mode & 0o777).toBe(0o640)
  })

  test('of several hosts has a directory for each, of all versions one for each set', async () => {
    const root = at.tree('hosts', { 'same.txt': 'alpha' })
    const one = await at.archive(at.request([root]))
    writeFileSync(join(root, 'same.txt'), 'beta, longer')
    const two = await at.archive({ ...at.request([root]), host: 'beta' })
    await at.retrieve({ to: at.path('hosts-back'), selection: below(root) })
    const same = join(root, 'same.txt')
    expect(readFileSync(join(at.path('hosts-back'), 'alpha', same), 'utf8')).toBe('alpha')
    expect(readFileSync(join(at.path('hosts-back'), 'beta', same), 'utf8')).toBe('beta, longer')
    await at.retrieve({ to: at.path('sets-back'), selection: { ...below(root), allVersions: true } })
    expect(readFileSync(join(at.path('sets-back'), one.id, same), 'utf8')).toBe('alpha')
    expect(readFileSync(join(at.path('sets-back'), two.id, same), 'utf8')).toBe('beta, longer')
    expect(statSync(join(at.path('sets-back'), two.id, root)).mtimeMs).toBe(statSync(root).mtimeMs)
  })

  test('gives parents outside the selection their catalogued modes, and 0700 where nothing is known', async () => {
    const root = at.tree('parents', { 'open/deep/file': 'x' })
    symlinkSync('file', join(root, 'open/deep/link'))
    chmodSync(join(root, 'open'), 0o751)
    chmodSync(join(root, 'open/deep'), 0o711)
    await at.archive(at.request([root]))
    await at.retrieve({ to: at.path('parents-back'), selection: below(join(root, 'open/deep/file')) })
    const mode = (path: string) => statSync(join(at.path('parents-back'), path)).mode & 0o777
    expect(mode(join(root, 'open'))).toBe(0o751)
    expect(mode(join(root, 'open/deep'))).toBe(0o711)
    expect(mode(at.directory)).toBe(0o700)
  })
})

describe('cold storage', () => {
  let now = Date.now()
  let cold: ScratchStory
  let root: string
  beforeAll(async () => {
    cold = await openStory({ thawSeconds: 3_600, now: () => now })
    root = cold.tree('cold', smallFiles(20))
    await cold.archive(cold.request([root], { filesPerBundle: 10 }))
  })
  afterAll(async () => cold[Symbol.asyncDispose]())

  const ask = async (target: string, detached = false) => {
    const retrieval = await openRetrieval(cold.parts, {
      ...REQUEST,
      selection: below(root),
      target: rawFromText(target),
      detached,
    })
    return agree(cold.parts, retrieval?.id as string, consentTo(undefined))
  }
  const watch = (more: object = {}) =>
    watchRetrievals(cold.parts, {
      signal: new AbortController().signal,
      restoreDir: rawFromText(cold.path('restored')),
      permits: async () => ({ overwrite: true, setuid: true }),
      ...more,
    })

  test('a check that reads says that it cannot, and calls nothing damaged', async () => {
    const found = await cold.check()
    expect(found.map(({ kind }) => kind)).toEqual(['unread', 'unread'])
    const states = (await all(cold.catalog.storedBundles(cold.vault.id))).map(({ state }) => state)
    expect(states).toEqual(['stored', 'stored'])
  })

  test('is asked by the retriever, watched, and placed when it was asked for with --detach', async () => {
    const retrieval = await ask('', true)
    expect(await watch()).toMatchObject({ open: 2, nextAt: new Date(now + 3_600_000) })
    expect(await watch()).toMatchObject({ open: 2 })
    now += 3_601_000
    const done: string[] = []
    expect(await watch({ onDone: ({ state }: { state: string }) => done.push(state) })).toMatchObject({ open: 0 })
    expect(done).toEqual(['done'])
    expect(lookAt(join(cold.path('restored', retrieval?.id as string), root))).toEqual(lookAt(root))
    now += 10 * 86_400_000
  })

  test('whose copies expired before they were fetched says so, and asking again asks for a thaw again', async () => {
    const asked = await ask(cold.path('late'))
    expect(await watch()).toMatchObject({ open: 2 })
    now += 10 * 86_400_000
    const reasons: string[] = []
    expect(await watch({ onItemFailed: (_item: ItemRow, reason: string) => reasons.push(reason) })).toMatchObject({ open: 0 })
    expect(reasons).toHaveLength(2)
    expect(reasons[0]).toMatch(/expired/)
    await cold.catalog.finishRetrieval(asked?.id as string)
    const again = await ask(cold.path('late'))
    expect(again?.id).not.toBe(asked?.id)
    expect(await watch()).toMatchObject({ open: 2 })
  })
})

function flip(file: string, offset: number): void {
  const byte = (readFileSync(file)[offset] as number) ^ 1
  const handle = openSync(file, 'r+')
  writeSync(handle, Buffer.from([byte]), 0, 1, offset)
  closeSync(handle)
}
