import { closeSync, mkdirSync, openSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import type { Raw } from '#libs/os/raw.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { openRootCheck } from './root-check.js'

const scratch = scratchDirectory()
let count = 0
function tree(): { root: string; sub: string; file: string } {
  const root = join(scratch, `r${count++}`)
  const sub = join(root, 'sub')
  mkdirSync(sub, { recursive: true })
  writeFileSync(join(sub, 'file'), '')
  return { root, sub, file: join(sub, 'file') }
}

function isStraight(roots: string[], path: string, opened?: string): boolean {
  const fd = opened === undefined ? undefined : openSync(Buffer.from(opened, 'latin1'), 'r')
  try {
    return openRootCheck(roots as Raw[]).isStraight(path as Raw, fd)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

test('a path in its root is straight, the root itself too', () => {
  const { root, sub, file } = tree()
  for (const path of [root, sub, file]) {
    expect(isStraight([root], path)).toBe(true)
    expect(isStraight([root], path, path)).toBe(true)
    expect(isStraight(['/'], path)).toBe(true)
  }
  expect(isStraight([file], file, file)).toBe(true)
})

test('names that are not UTF-8 are no hindrance', () => {
  const { root } = tree()
  const path = `${root}/\xff`
  writeFileSync(Buffer.from(path, 'latin1'), '')
  expect(isStraight([root], path, path)).toBe(true)
  expect(isStraight([root], path)).toBe(true)
})

test('a path is not straight where a directory became a symlink, also to another place in the root', () => {
  const { root, file } = tree()
  for (const target of ['other', '../..', '/']) {
    const there = tree()
    renameSync(there.sub, join(there.root, 'other'))
    symlinkSync(target, there.sub)
    expect(isStraight([there.root], there.file)).toBe(false)
  }
  const elsewhere = tree()
  expect(isStraight([root], file, elsewhere.file)).toBe(false)
  expect(isStraight([root], elsewhere.file)).toBe(false)
})

test('the way to a root may go through symlinks', () => {
  const { root, sub, file } = tree()
  const way = join(scratch, `way${count++}`)
  symlinkSync(root, way)
  expect(isStraight([join(way, 'sub')], join(way, 'sub', 'file'), file)).toBe(true)
  expect(isStraight([join(way, 'sub')], join(way, 'sub'), sub)).toBe(true)
})

test('a root that is a symlink is an entry itself', () => {
  const { root } = tree()
  const link = join(root, 'link')
  symlinkSync('nowhere', link)
  expect(isStraight([link], link)).toBe(true)
})
