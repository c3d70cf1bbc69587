import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { manifestKey, parseKey } from '#libs/bundle/key.js'
import type { SetRow } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { STEPS } from '#libs/os/steps.js'
import type { Vault } from '#libs/vault/vault.js'
import { putBack } from './aside.js'
import { optionsFromJson } from './crawl-options.js'
import { removeArchived } from './remove-archived.js'
import { openStory, type ScratchStory } from './scratch-story.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory()
})
afterAll(async () => at[Symbol.asyncDispose]())

const FILES = { 'a.txt': 'the first', 'b.txt': 'the second', 'c/d.txt': 'the third' }

interface Options {
  dryRun?: boolean
  beforeEach?: (path: string) => void
  vault?: Vault
  withoutLeases?: boolean
}

const remove = async (set: SetRow, options: Options = {}) => {
  const removed: string[] = []
  const kept = new Map<string, string>()
  const planned = { id: set.id, host: set.host, roots: set.roots, vaultId: set.vaultId, options: optionsFromJson(set.options) }
  const count = await removeArchived(
    { ...at.parts, withoutLeases: options.withoutLeases ?? false },
    options.vault ?? at.vault,
    planned,
    [],
    {
      dryRun: options.dryRun ?? false,
      onRemoved: (path) => {
        removed.push(path)
        options.beforeEach?.(path)
      },
      onKept: (path, reason) => kept.set(path, reason),
    },
  )
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

test('a directory that is exchanged for a symlink before a removal loses nothing outside', async () => {
  const { root, set } = await archived('exchanged', { 'd/a.txt': 'a', 'd/b.txt': 'b' })
  const outside = at.tree('exchanged-outside', { 'a.txt': 'a', 'b.txt': 'b' })
  const { removed } = await remove(set, {
    beforeEach: () => {
      if (!existsSync(join(root, 'was-d'))) {
        renameSync(join(root, 'd'), join(root, 'was-d'))
        symlinkSync(outside, join(root, 'd'))
      }
    },
  })
  expect(removed).toHaveLength(2)
  expect(readdirSync(outside)).toEqual(['a.txt', 'b.txt'])
  expect(readdirSync(join(root, 'was-d'))).toEqual([])
})

test('a file whose bytes are others, though its size and times say nothing of it, is kept', async () => {
  const { root, set } = await archived('same-times', { 'a.txt': 'first', 'b.txt': 'other' })
  await sql(`UPDATE file SET sha256 = decode(repeat('ab', 32), 'hex') WHERE name = 'a.txt'`)
  const { removed, kept } = await remove(set)
  expect(removed).toEqual([join(root, 'b.txt')])
  expect(kept.get(join(root, 'a.txt'))).toBe('its bytes are not those that the vault holds')
})

test('a file that somebody has open for writing is kept, though nothing of it changed yet', async () => {
  const { root, set } = await archived('open')
  const writer = openSync(join(root, 'a.txt'), 'r+')
  const { removed, kept } = await remove(set)
  closeSync(writer)
  expect([removed.length, kept.get(join(root, 'a.txt'))]).toEqual([2, 'a process has it open for writing'])
  expect((await remove(set)).removed).toEqual([join(root, 'a.txt')])
})

test('a bundle that was adopted or rebuilt is read back as a whole first, once; cold, its sources are kept', async () => {
  const { root, set } = await archived('adopted', { 'a.txt': 'first' })
  const [bundle] = await at.bundlesOf(set)
  await sql(`UPDATE bundle SET adopted = TRUE WHERE id = '${bundle?.id}'`)
  const frozen = { ...at.vault, verify: async () => 'checksum' as const, read: cold(at.vault) }
  expect((await remove(set, { vault: frozen })).kept.get(join(root, 'a.txt'))).toMatch(/found in the vault, and not read back/)
  expect((await remove(set, { dryRun: true })).removed).toHaveLength(1)
  expect(await at.catalog.bundle(bundle?.id as string)).toMatchObject({ adopted: true })
  expect((await remove(set)).removed).toHaveLength(1)
  expect(await at.catalog.bundle(bundle?.id as string)).toMatchObject({ adopted: false })
})

test('where a service says no more than the size, a bundle is read back, or its sources are kept', async () => {
  const { root, set } = await archived('by-size', { 'a.txt': 'first' })
  const unsaid = { ...at.vault, verify: async () => 'size' as const }
  const { kept } = await remove(set, { vault: { ...unsaid, read: cold(at.vault) } })
  expect(kept.get(join(root, 'a.txt'))).toMatch(/gives no checksum of bundle .*must be thawed/)
  expect((await remove(set, { vault: unsaid })).removed).toHaveLength(1)
})

/** Bundles are cold; what lies beside them is not. */
function cold(vault: Vault): Vault['read'] {
  return async function* (key, ...rest) {
    if (key.endsWith('.tar')) throw new FirnError('vault-frozen', 'it is cold')
    yield* vault.read(key, ...rest)
  }
}

async function sql(text: string): Promise<void> {
  const client = new pg.Client(at.databaseUrl)
  await client.connect()
  await client.query(text)
  await client.end()
}

describe('where there are no leases', () => {
  const once = (moment: string, act: () => void) => {
    const seen = (name: unknown) => {
      if (name !== moment) return
      unsubscribe(STEPS, seen)
      act()
    }
    subscribe(STEPS, seen)
    return { [Symbol.dispose]: () => void unsubscribe(STEPS, seen) }
  }
  const asides = () => at.catalog.asides('alpha')

  test('a file is moved aside, looked at, and removed', async () => {
    const { root, set } = await archived('aside')
    let meanwhile: string[] = []
    using _look = once('remove:aside', () => {
      meanwhile = readdirSync(root)
    })
    const { removed, kept } = await remove(set, { withoutLeases: true })
    expect([removed, [...kept]]).toEqual([paths(root), []])
    expect(meanwhile.sort()).toEqual([expect.stringMatching(/^a\.txt\.firn-[0-9a-f]{16}$/), 'b.txt', 'c'])
    expect([readdirSync(root), readdirSync(join(root, 'c')), await asides()]).toEqual([['c'], [], []])
  })

  test('one that is not what the vault holds has its name again, or, where that is taken by then, stays beside it', async () => {
    const { root, set } = await archived('aside-kept', { 'x1.txt': 'first', 'x2.txt': 'other' })
    await sql(`UPDATE file SET sha256 = decode(repeat('ab', 32), 'hex') WHERE name IN ('x1.txt', 'x2.txt')`)
    using _taken = once('remove:aside', () => writeFileSync(join(root, 'x1.txt'), 'new'))
    const { removed, kept } = await remove(set, { withoutLeases: true })
    expect(removed).toEqual([])
    expect(kept.get(join(root, 'x2.txt'))).toBe('its bytes are not those that the vault holds')
    expect(kept.get(join(root, 'x1.txt'))).toMatch(
      /its name was taken by then, so it is called "?x1\.txt\.firn-[0-9a-f]{16}"? now/,
    )
    const names = readdirSync(root).sort()
    expect(names).toEqual(['x1.txt', expect.stringMatching(/^x1\.txt\.firn-/), 'x2.txt'])
    expect(names.map((name) => readFileSync(join(root, name), 'utf8'))).toEqual(['new', 'first', 'other'])
    expect(await asides()).toEqual([])
  })

  test('what a killed removal left is put back by the next command, and no crawl takes it for a file of its own', async () => {
    const root = at.tree('aside-killed', { a: 'first', b: 'second', d: 'fourth' })
    const file = (name: string) => ({
      path: rawFromText(join(root, name)),
      aside: rawFromText(join(root, `${name}.firn-0123456789abcdef`)),
    })
    for (const name of ['a', 'b', 'c', 'd']) await at.catalog.noteAside('alpha', 'process-1', file(name))
    for (const name of ['a', 'b']) renameSync(join(root, name), `${join(root, name)}.firn-0123456789abcdef`)
    writeFileSync(join(root, 'b'), 'taken')
    expect((await at.archive(at.request([root]))).counts).toMatchObject({ found: 2, archived: 2 })

    const told: string[] = []
    const put = (isGone: boolean) =>
      putBack(
        { catalog: at.catalog, host: 'alpha', isGone: () => isGone },
        { onPutBack: ({ path }) => told.push(`back ${path}`), onBeside: ({ path }) => told.push(`beside ${path}`) },
      )
    await put(false) // its owner lives
    expect(told).toEqual([])
    await put(true)
    expect(told).toEqual([`back ${join(root, 'a')}`, `beside ${join(root, 'b')}`])
    expect(readdirSync(root).sort()).toEqual(['a', 'b', 'b.firn-0123456789abcdef', 'd'])
    expect([readFileSync(join(root, 'a'), 'utf8'), await asides()]).toEqual(['first', []])
    expect((await at.archive(at.request([root]))).counts).toMatchObject({ found: 4, archived: 2, gone: 0 })
  })

  test('a row that names another file, or one elsewhere, has nothing renamed', async () => {
    const root = at.tree('aside-forged', { other: 'x', 'b.firn-0123456789abcdef': 'y', 'sub/a.firn-0123456789abcdef': 'z' })
    const before = readdirSync(root).sort()
    const forged = [
      ['a', 'other'],
      ['a', 'b.firn-0123456789abcdef'],
      ['a', 'sub/a.firn-0123456789abcdef'],
      ['sub/../a', 'sub/../other'],
    ] as const
    for (const [path, aside] of forged) {
      await at.catalog.noteAside('forger', 'nobody', {
        path: rawFromText(join(root, path)),
        aside: rawFromText(`${root}/${aside}`),
      })
    }
    await putBack({ catalog: at.catalog, host: 'forger', isGone: () => true })
    expect([readdirSync(root).sort(), readdirSync(join(root, 'sub'))]).toEqual([before, ['a.firn-0123456789abcdef']])
  })
})
