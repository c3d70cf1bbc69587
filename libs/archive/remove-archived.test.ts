import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { manifestKey, parseKey } from '#libs/bundle/key.js'
import type { SetRow } from '#libs/catalog/catalog.js'
import { optionsFromJson } from './crawl-options.js'
import { removeArchived } from './remove-archived.js'
import { openStory, type ScratchStory } from './scratch-story.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory()
})
afterAll(async () => at[Symbol.asyncDispose]())

const FILES = { 'a.txt': 'the first', 'b.txt': 'the second', 'c/d.txt': 'the third' }

const remove = async (set: SetRow, options: { dryRun?: boolean; beforeEach?: (path: string) => void } = {}) => {
  const removed: string[] = []
  const kept = new Map<string, string>()
  const planned = { id: set.id, host: set.host, roots: set.roots, vaultId: set.vaultId, options: optionsFromJson(set.options) }
  const count = await removeArchived(at.parts, at.vault, planned, [], {
    dryRun: options.dryRun ?? false,
    onRemoved: (path) => {
      removed.push(path)
      options.beforeEach?.(path)
    },
    onKept: (path, reason) => kept.set(path, reason),
  })
  expect(count).toBe(removed.length)
  return { removed, kept }
}
const archived = async (name: string, files: Record<string, string> = FILES) => {
  const root = at.tree(name, files)
  const set = await at.archive(at.request([root]))
  const [bundle] = await at.bundlesOf(set)
  const tar = join(at.vaultDirectory, bundle?.key as string)
  const names = parseKey(bundle?.key as string)
  if (names === undefined) throw new Error('no key')
  return { root, set, tar, sidecar: join(at.vaultDirectory, manifestKey(names)) }
}
const paths = (root: string, files: object = FILES) => Object.keys(files).map((name) => join(root, name))
const flip = (file: string, offset: number) => {
  const handle = openSync(file, 'r+')
  writeSync(handle, Buffer.from([(readFileSync(file)[offset] as number) ^ 1]), 0, 1, offset)
  closeSync(handle)
}
const restoring = async (file: string, spoil: () => void, check: () => Promise<void>) => {
  const whole = readFileSync(file)
  spoil()
  try {
    await check()
  } finally {
    rmSync(file, { force: true })
    writeFileSync(file, whole)
  }
}

test('what is archived, unchanged and verified goes, and the dry run named the same', async () => {
  const { root, set } = await archived('all')
  const dry = await remove(set, { dryRun: true })
  expect(paths(root).every(existsSync)).toBe(true)
  const { removed, kept } = await remove(set)
  expect(removed).toEqual(dry.removed)
  expect(removed.sort()).toEqual(paths(root))
  expect(kept.size).toBe(0)
  expect(paths(root).some(existsSync)).toBe(false)
  expect(existsSync(join(root, 'c'))).toBe(true)
})

test('a file that changed, or whose time moved, or that is another now, is kept', async () => {
  const { root, set } = await archived('changed', { 'a.txt': 'a', 'b.txt': 'b', 'c.txt': 'c', 'd.txt': 'd' })
  writeFileSync(join(root, 'a.txt'), 'longer now')
  utimesSync(join(root, 'b.txt'), new Date(), new Date())
  writeFileSync(join(root, 'new'), 'c')
  renameSync(join(root, 'new'), join(root, 'c.txt'))
  const { removed } = await remove(set)
  expect(removed).toEqual([join(root, 'd.txt')])
})

test('a file that changes between the look at its bundle and its removal is kept', async () => {
  const { root, set } = await archived('late', { 'a.txt': 'a', 'b.txt': 'b' })
  const { removed, kept } = await remove(set, { beforeEach: () => utimesSync(join(root, 'b.txt'), new Date(1), new Date(1)) })
  expect(removed).toEqual([join(root, 'a.txt')])
  expect(kept.get(join(root, 'b.txt'))).toBe('it changed meanwhile')
})

test('nothing goes without its tar, or its manifest, or when a byte of either is another', async () => {
  const { root, set, tar, sidecar } = await archived('unsafe')
  const other = await archived('unsafe-other')
  const nothingGoes = async () => {
    const dry = await remove(set, { dryRun: true })
    const { removed, kept } = await remove(set)
    expect(removed).toEqual([])
    expect(dry.removed).toEqual([])
    expect([...kept.keys()].sort()).toEqual(paths(root))
    expect(paths(root).every(existsSync)).toBe(true)
  }
  await restoring(tar, () => rmSync(tar), nothingGoes)
  await restoring(tar, () => flip(tar, readFileSync(tar).indexOf('the second')), nothingGoes)
  await restoring(tar, () => writeFileSync(tar, readFileSync(tar).subarray(0, 1024)), nothingGoes)
  await restoring(sidecar, () => rmSync(sidecar), nothingGoes)
  await restoring(sidecar, () => flip(sidecar, 40), nothingGoes)
  await restoring(sidecar, () => writeFileSync(sidecar, ''), nothingGoes)
  await restoring(sidecar, () => writeFileSync(sidecar, readFileSync(other.sidecar)), nothingGoes)
  expect((await remove(set)).removed).toHaveLength(3)
})

test('nothing goes of a bundle whose bytes lie in another one that is damaged', async () => {
  const { root, tar } = await archived('points')
  for (const path of paths(root)) chmodSync(path, 0o600)
  const set = await at.archive(at.request([root]))
  expect(set.counts.archived).toBe(3)
  await restoring(
    tar,
    () => flip(tar, readFileSync(tar).indexOf('the third')),
    async () => expect((await remove(set)).removed).toEqual([]),
  )
  expect((await remove(set)).removed).toHaveLength(3)
})

test('an inode goes with all its names, or not at all', async () => {
  const root = at.tree('names', { 'a.txt': 'two names', 'out.txt': 'one outside' })
  linkSync(join(root, 'a.txt'), join(root, 'b.txt'))
  linkSync(join(root, 'out.txt'), at.path('outside.txt'))
  const set = await at.archive(at.request([root]))
  const dry = await remove(set, { dryRun: true })
  const { removed, kept } = await remove(set)
  expect(removed).toEqual([join(root, 'a.txt'), join(root, 'b.txt')])
  expect(dry.removed).toEqual(removed)
  expect([...kept.keys()]).toEqual([join(root, 'out.txt')])
})
