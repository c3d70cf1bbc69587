/** Where links are not possible: another file system inside the target, and inodes with as many names as there can be. */
import { spawnSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { openPlacer, type PlaceResult } from '../place.js'
import { raw, restore, scratch, tarOf, told } from './test-tar.js'

/** Mounts a tmpfs; false where that is not allowed. */
const mounted = (path: string): boolean => spawnSync('mount', ['-t', 'tmpfs', 'firn-test', path]).status === 0

test('a file system mounted inside the target gets its files whole, with or without overwriting', async () => {
  using at = scratch()
  const inner = join(at.path, 'out/m')
  mkdirSync(inner, { recursive: true, mode: 0o755 })
  if (!mounted(inner)) return
  try {
    spawnSync('chmod', ['755', inner])
    writeFileSync(join(inner, 'other'), 'was there')
    const tar = tarOf([
      { at: 'm/d/one', bytes: 'linked', nlink: 3, ino: 3n, mode: 0o640 },
      { at: 'm/sparse', bytes: Buffer.alloc(3_000_000), holes: [[0, 3_000_000]] },
      { at: 'm/other', bytes: 'other' },
      { at: 'm/l', type: 'symlink', link: raw('other') },
    ])
    const one = tar.entries[0] as (typeof tar.entries)[0]
    tar.entries.push({ ...one, at: raw('m/d/two') }, { ...one, at: raw('outer') })
    const first = await restore(join(at.path, 'out'), tar)
    expect(told(first)).toEqual([
      'failed m/other: exists already; --overwrite replaces it',
      'placed m/d/one',
      'placed m/d/two',
      'placed m/l',
      'placed m/sparse',
      'placed outer',
    ])
    expect(first.find(({ entry }) => entry.at === 'm/d/two')?.notice).toBe('its hard links became files of their own')
    const check = () => {
      for (const name of ['m/d/one', 'm/d/two', 'outer']) {
        const stat = lstatSync(join(at.path, 'out', name), { bigint: true })
        expect([name, stat.mtimeNs, Number(stat.mode) & 0o777]).toEqual([name, one.mtimeNs, 0o640])
        expect(readFileSync(join(at.path, 'out', name), 'utf8')).toBe('linked')
      }
      expect(lstatSync(join(inner, 'sparse'))).toMatchObject({ size: 3_000_000, blocks: 0 })
      expect(readlinkSync(join(inner, 'l'))).toBe('other')
      expect(readdirSync(inner).sort()).toEqual(['d', 'l', 'other', 'sparse'])
    }
    check()
    const again = await restore(join(at.path, 'out'), tar, { overwrite: true })
    expect(again.every(({ outcome }) => outcome === 'placed')).toBe(true)
    check()
    expect(readFileSync(join(inner, 'other'), 'utf8')).toBe('other')
    const third = await restore(join(at.path, 'out'), tar)
    expect(third.every(({ outcome }) => outcome === 'present')).toBe(true)
  } finally {
    spawnSync('umount', [inner])
  }
})

test('a full device ends the placing with what it says, and what is there by then stays', async () => {
  using at = scratch()
  const out = join(at.path, 'out')
  mkdirSync(out, { mode: 0o700 })
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=700', 'firn-test', out]).status !== 0) return
  try {
    const tar = tarOf([
      { at: 'small', bytes: Buffer.alloc(1_000, 1) },
      { at: 'large', bytes: Buffer.alloc(5_000_000, 2) },
      { at: 'middle', bytes: Buffer.alloc(900_000, 3) },
    ])
    const placer = await openPlacer({ target: raw(out), retrievalId: 'r1', overwrite: false, setuid: false })
    const results: PlaceResult[] = []
    const placing = (async () => {
      for await (const some of placer.place(tar.entries, tar.read)) results.push(...some)
    })()
    const full = {
      code: 'target-failed',
      message: `Nothing more is restored into ${out}: no space left on the device; make room, and the same command goes on.`,
    }
    await expect(placing).rejects.toMatchObject(full)
    await placer.close()
    expect(told(results).filter((one) => !one.startsWith('placed '))).toEqual([])
    expect(readdirSync(out)).toContain('small')
    expect(readdirSync(out)).not.toContain('large')
    // What was staged is gone, so that room is made by making room.
    expect(readdirSync(join(out, '.firn-r1'))).toEqual(['directories'])
    expect(spawnSync('mount', ['-o', 'remount,size=20m', out]).status).toBe(0)
    expect((await restore(out, tar)).map(({ entry, outcome }) => `${outcome} ${entry.at}`).sort()[0]).toBe('placed large')
  } finally {
    spawnSync('umount', [out])
  }
})

/** 65,000 names of an inode, says ext4; others take more. */
const EXT4_MAGIC = 0xef53
const MOST_LINKS_OF_EXT4 = 65_000

test('more names than an inode can have go on in copies', async () => {
  using at = scratch()
  if (statfsSync(at.path).type !== EXT4_MAGIC) return
  const tar = tarOf([{ at: 'n0', bytes: 'many', nlink: 70_000, ino: 5n }])
  const first = tar.entries[0] as (typeof tar.entries)[0]
  for (let i = 1; i < MOST_LINKS_OF_EXT4 + 3; i++) tar.entries.push({ ...first, at: raw(`n${i}`) })
  const results = await restore(at.path, tar)
  expect(results.filter(({ outcome }) => outcome !== 'placed')).toEqual([])
  expect(results.filter(({ notice }) => notice !== undefined).length).toBeGreaterThan(0)
  expect(readdirSync(at.path)).toHaveLength(MOST_LINKS_OF_EXT4 + 3)
  expect(lstatSync(join(at.path, 'n0')).nlink).toBe(MOST_LINKS_OF_EXT4)
  for (const i of [1, MOST_LINKS_OF_EXT4 - 1, MOST_LINKS_OF_EXT4, MOST_LINKS_OF_EXT4 + 2]) {
    expect(readFileSync(join(at.path, `n${i}`), 'utf8')).toBe('many')
    expect(lstatSync(join(at.path, `n${i}`), { bigint: true }).mtimeNs).toBe(first.mtimeNs)
  }
})
