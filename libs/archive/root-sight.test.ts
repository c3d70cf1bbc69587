import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { Postpone } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { crawl } from './crawl.js'
import { marksOf, sightOf, strangePlaces } from './root-sight.js'
import { openStory, type ScratchStory, smallFiles } from './scratch-story.js'
import { storeBundle } from './store-bundle.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory()
  await at.claim()
})
afterAll(async () => at[Symbol.asyncDispose]())

const here = { host: 'alpha', alone: false }

/** The marks as another host made them: its mounts are not ours. */
const elsewhere = (marks: Record<string, unknown>, machine = 'other-machine') => ({ ...marks, view: `${machine}/boot/1` })
const changed = (marks: Record<string, unknown>, more: Record<string, unknown>) => ({
  ...marks,
  places: (marks['places'] as object[]).map((place) => ({ ...place, ...more })),
})

describe('a tree that was crawled on another host', () => {
  test('is seen where the same path leads to the same directory', () => {
    const marks = elsewhere(marksOf([rawFromText(at.tree('same', smallFiles(1)))]))
    expect(sightOf({ host: 'alpha', marks }, here)).toEqual({ is: 'seen' })
    // Another number of the file system is what another host, or the next mount, gives it.
    expect(sightOf({ host: 'alpha', marks: changed(marks, { dev: '1' }) }, here)).toEqual({ is: 'seen' })
  })

  test('is not seen where nothing is there, or an empty mount point, or another file system', async () => {
    const root = at.tree('other', smallFiles(1))
    await sleep(20) // the kernel's clock goes in steps
    utimesSync(root, 1, 1) // what was changed since tells when it was made
    const marks = elsewhere(marksOf([rawFromText(root)]))
    const seen = (more: Record<string, unknown>) => sightOf({ host: 'alpha', marks: changed(marks, more) }, here)
    expect(seen({ ino: '1' })).toMatchObject({ is: 'elsewhere', reason: expect.stringContaining('another directory') })
    expect(seen({ file_system: 'nfs4' })).toMatchObject({ is: 'elsewhere', reason: expect.stringContaining('nfs4') })
    expect(seen({ born_ns: '12345' })).toMatchObject({ is: 'elsewhere', reason: expect.stringContaining('made at another time') })
    expect(seen({ born_ns: undefined, source: 'nas:/x' })).toMatchObject({
      is: 'elsewhere',
      reason: expect.stringContaining('nas:/x'),
    })
    rmSync(root, { recursive: true })
    expect(seen({})).toMatchObject({ is: 'elsewhere', reason: expect.stringContaining('is not there') })
  })

  test('is not seen by a host of another name, however alike: machines made from one image have the same inodes', () => {
    const marks = elsewhere(marksOf([rawFromText(at.tree('cloned', smallFiles(1)))]))
    expect(sightOf({ host: 'beta', marks }, here)).toMatchObject({
      is: 'elsewhere',
      reason: expect.stringContaining('FIRN_HOST'),
    })
    expect(sightOf({ host: 'beta', marks: marksOf([]) }, here)).toEqual({ is: 'seen' })
    expect(sightOf({ host: 'beta', marks }, { ...here, alone: true })).toEqual({ is: 'seen' })
  })

  test('is seen by the crawler’s own machine under whatever name', () => {
    const marks = marksOf([rawFromText(at.tree('named', smallFiles(1)))])
    expect(sightOf({ host: 'beta', marks }, here)).toEqual({ is: 'seen' })
  })

  test('of a set of which nothing is known is taken to be seen', () => {
    expect(sightOf({ host: 'beta' }, here)).toEqual({ is: 'seen' })
  })
})

describe('on the crawler’s own host', () => {
  test('what was removed or replaced on the same file system is the truth', () => {
    const root = at.tree('removed', smallFiles(1))
    const marks = marksOf([rawFromText(root)])
    renameSync(root, `${root}-away`)
    expect(sightOf({ host: 'alpha', marks }, here)).toEqual({ is: 'seen' })
    mkdirSync(root)
    expect(sightOf({ host: 'alpha', marks }, here)).toEqual({ is: 'seen' })
  })

  test('a file as root may be replaced by whoever saves it', () => {
    const root = join(at.tree('saved', { file: 'one' }), 'file')
    const marks = elsewhere(marksOf([rawFromText(root)]))
    rmSync(root)
    writeFileSync(root, 'two')
    expect(sightOf({ host: 'alpha', marks }, here)).toEqual({ is: 'seen' })
  })

  test('a file system that was unmounted is not taken for removed files, nor a mount below a root', async () => {
    const root = at.tree('mounts', { 'own.txt': 'own' })
    const mountPoint = join(root, 'mounted')
    mkdirSync(mountPoint)
    try {
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mountPoint], { stdio: 'ignore' })
    } catch {
      console.warn('not tried: this user may not mount a file system')
      return
    }
    let mounted = true
    try {
      writeFileSync(join(mountPoint, 'theirs.txt'), 'theirs')
      const set = await at.catalog.createSet(at.request([root], { filesPerBundle: 1 }), at.parts.owner)
      await crawl(at.parts, set, [])
      execFileSync('umount', [mountPoint])
      mounted = false
      const row = await at.catalog.set(set.id)
      expect(sightOf(row!, here)).toMatchObject({ is: 'unmounted' })
      // Of the two bundles one needs nothing of what is gone.
      const outcomes = new Map<string, unknown>()
      for (const id of await at.catalog.strandedBundles(0, at.parts.isGone)) {
        await storeBundle(at.parts, id).then(
          () => outcomes.set(id, 'stored'),
          (error: Error) => outcomes.set(id, error.message),
        )
      }
      expect([...outcomes.values()]).toEqual(
        expect.arrayContaining([
          'stored',
          expect.stringMatching(/^The tree cannot be read: the file system of .*mounted is not mounted/),
        ]),
      )
      const problems = []
      for await (const page of at.catalog.problems(set.id)) problems.push(...page)
      expect(problems).toEqual([])
    } finally {
      if (mounted) execFileSync('umount', [mountPoint])
    }
  })
})

test('a worker that does not see the tree hands the bundle back, uses up no attempt, and names no file', async () => {
  const root = at.tree('blind', smallFiles(3))
  const set = await at.catalog.createSet(at.request([root]), at.parts.owner)
  await crawl(at.parts, set, [])
  const id = (await at.catalog.strandedBundles(0, at.parts.isGone)).at(-1) as string
  renameSync(root, `${root}-away`)
  await at.catalog.markRoots(set.id, at.parts.owner, changed(elsewhere(marksOf([rawFromText(at.directory)])), { ino: '3' }))
  const reasons: string[] = []
  const blind = { ...at.parts, alone: false }
  const storing = storeBundle(blind, id, { onUnseen: (bundle, reason) => reasons.push(`${bundle.id} ${reason}`) })
  await expect(storing).rejects.toBeInstanceOf(Postpone)
  expect(reasons).toEqual([expect.stringMatching(`${id} .* is another directory than the crawler saw`)])
  expect(await at.catalog.bundle(id)).toMatchObject({ state: 'planned', attempt: 0 })
  // Back in its place, another worker takes it.
  renameSync(`${root}-away`, root)
  await at.catalog.markRoots(set.id, at.parts.owner, elsewhere(marksOf([rawFromText(root)])))
  await storeBundle(blind, id)
  expect(await at.catalog.bundle(id)).toMatchObject({ state: 'stored', attempt: 1, files: 3 })
})

test('a tree that goes away while it is packed is not a tree whose files vanished', async () => {
  const root = at.tree('away', smallFiles(3))
  const set = await at.catalog.createSet(at.request([root]), at.parts.owner)
  await crawl(at.parts, set, [])
  const id = (await at.catalog.strandedBundles(0, at.parts.isGone)).at(-1) as string
  await at.catalog.markRoots(set.id, at.parts.owner, elsewhere(marksOf([rawFromText(root)])))
  at.wrap((vault) => ({
    ...vault,
    upload(key, options) {
      at.wrap((plain) => plain)
      renameSync(root, `${root}-away`)
      return vault.upload(key, options)
    },
  }))
  // The packer may have read what it wanted before; then it is stored, and nothing is called vanished either.
  await storeBundle({ ...at.parts, alone: false }, id).catch((error: unknown) => expect(error).toBeInstanceOf(Postpone))
  const problems = []
  for await (const page of at.catalog.problems(set.id)) problems.push(...page)
  expect(problems).toEqual([])
})

describe('a place that the last set saw otherwise', () => {
  const all = () => true

  test('is strange; as it was it is not', async () => {
    const root = rawFromText(at.tree('root', smallFiles(1)))
    const marks = marksOf([root])
    expect(await strangePlaces([root], [{ roots: [root], marks }], all)).toEqual([])
    const strange = await strangePlaces([root], [{ roots: [root], marks: changed(marks, { ino: '1' }) }], all)
    expect(strange).toEqual([{ path: root, reason: expect.stringContaining('another directory') }])
    // The newest set counts.
    const earlier = [marks, changed(marks, { ino: '1' })].map((each) => ({ roots: [root], marks: each }))
    expect(await strangePlaces([root], earlier, all)).toEqual([])
  })

  test('and that was a mount point is expected for as long as it is none, unless it is not walked', async () => {
    const root = rawFromText(at.tree('with-mount', smallFiles(1)))
    mkdirSync(join(root, 'mount'))
    const mount = rawFromText(join(root, 'mount'))
    const was = { ...(marksOf([mount])['places'] as object[])[0], ino: '1', mounted: true }
    const earlier = (marks: Record<string, unknown>) => [{ roots: [root], marks }]
    const mounted = { ...marksOf([root]), places: [was] }
    const expected = expect.objectContaining({ path: mount, ino: '1', mounted: true })

    const first = await strangePlaces([root], earlier(mounted), all)
    expect(first).toEqual([{ path: mount, reason: expect.stringContaining('another directory'), expected }])
    // The next night, when the set before saw no mount point there.
    const next = [...earlier({ ...marksOf([root]), expected: first.map((place) => place.expected) }), ...earlier(mounted)]
    expect(await strangePlaces([root], next, all)).toMatchObject([{ path: mount, expected }])
    rmSync(mount, { recursive: true })
    expect(await strangePlaces([root], next, all)).toMatchObject([{ path: mount, reason: 'is not there', expected }])
    expect(await strangePlaces([root], next, (path) => path !== mount)).toEqual([])
    // A set since then, which met no mount point there and expected none.
    expect(await strangePlaces([root], [...earlier(marksOf([root])), ...next], all)).toEqual([])
    // A root that was a mount point, too.
    const asRoot = await strangePlaces([mount], [{ roots: [mount], marks: { ...marksOf([root]), places: [was] } }], all)
    expect(asRoot).toMatchObject([{ path: mount, expected }])
  })
})
