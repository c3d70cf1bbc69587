import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { rawFromText } from '#libs/os/raw.js'
import { crawlOptionsFrom, rootsFrom, tagsFrom } from './options.js'

const DEEP = { recursive: true, oneFileSystem: false, include: [], exclude: [] }
const roots = (...paths: string[]) => rootsFrom(paths.map(rawFromText), DEEP)

const usage = expect.objectContaining({ code: 'usage' })

describe('roots', () => {
  let directory: string
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), 'roots-')))
    mkdirSync(join(directory, 'tree', 'below'), { recursive: true })
    writeFileSync(join(directory, 'file'), '')
    symlinkSync('tree', join(directory, 'link'))
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  test('are absolute, each tree once', () => {
    const [tree, below, file] = ['tree', 'tree/below', 'file'].map((name) => join(directory, name)) as [string, string, string]
    expect(roots(below, tree, file, tree)).toEqual([file, tree])
    expect(rootsFrom([below, tree].map(rawFromText), { ...DEEP, recursive: false })).toEqual([tree, below])
  })

  test('a link is itself, and with a slash what it points to', () => {
    expect(roots(join(directory, 'link'))).toEqual([join(directory, 'link')])
    // Behind the symlink `..` is the directory that the tree lies in, and not the one that the symlink lies in.
    mkdirSync(join(directory, 'elsewhere'))
    symlinkSync(join(directory, 'tree'), join(directory, 'elsewhere/in'))
    expect(roots(`${directory}/elsewhere/in/../tree`)).toEqual([join(directory, 'tree')])
    expect(roots(`${directory}/elsewhere/in/..`)).toEqual([directory])
    expect(roots(`${directory}/elsewhere/../link`)).toEqual([join(directory, 'link')])
    expect(roots(`${join(directory, 'link')}/`)).toEqual([join(directory, 'tree')])
  })

  test('that are not there are an error', () => {
    for (const path of [join(directory, 'none'), join(directory, 'file', 'below'), '']) {
      expect(() => roots(path)).toThrow(usage)
    }
  })
})

test('tags are trimmed, empty ones dropped, and each is there once', () => {
  expect(tagsFrom(' a, b ,,a')).toEqual(['a', 'b'])
  expect(tagsFrom(undefined)).toEqual([])
  expect(tagsFrom(' , ')).toEqual([])
  expect(() => tagsFrom('a,b\u0007c')).toThrow(usage)
})

describe('ages', () => {
  const limits = { filesPerBundle: 1, bundleBytes: 1 }
  const nowMs = 1_800_000_000_000
  const ages = (olderThan?: string, newerThan?: string) =>
    crawlOptionsFrom(
      { time: 'mtime', progress: true, ...(olderThan && { olderThan }), ...(newerThan && { newerThan }) },
      limits,
      nowMs,
    ).walk.age

  test('become times', () => {
    expect(ages()).toBeUndefined()
    expect(ages('1')).toEqual({ time: 'mtime', olderThanNs: 1_799_913_600_000_000_000n })
    expect(ages('0.5', '2')).toEqual({
      time: 'mtime',
      olderThanNs: 1_799_956_800_000_000_000n,
      newerThanNs: 1_799_827_200_000_000_000n,
    })
  })

  test('that no file can have are an error', () => {
    expect(() => ages('5', '2')).toThrow(usage)
    for (const days of ['-1', 'x', '1e9', '']) expect(() => ages(days || ' ')).toThrow(usage)
  })
})
