import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { mountPoints } from './mount-points.js'
import { markOf, nearestDev } from './place-mark.js'
import { type Raw, rawFromText } from './raw.js'
import { scratchDirectory } from './scratch-directory.js'

const scratch = scratchDirectory()
const raw = (...names: string[]) => rawFromText(join(scratch, ...names))

test('mountinfo is read, with optional fields or none, and names with blanks', () => {
  const text = [
    '22 1 254:0 / / rw,relatime - ext4 /dev/vda rw',
    '40 22 0:35 / /mnt/two\\040words rw shared:7 master:1 - nfs4 nas:/export/a\\134b rw,vers=4.2',
    'nonsense',
    '',
  ].join('\n')
  expect(mountPoints(text)).toEqual([
    { path: '/', type: 'ext4', source: '/dev/vda' },
    { path: '/mnt/two words', type: 'nfs4', source: 'nas:/export/a\\b' },
  ])
})

test('a mark tells a directory from another in its place, and names the file system that it is on', () => {
  mkdirSync(join(scratch, 'a'))
  mkdirSync(join(scratch, 'b'))
  symlinkSync('a', join(scratch, 'link'))
  const a = markOf(raw('a'))
  expect(a).toEqual(markOf(raw('a')))
  expect(a?.ino).not.toBe(markOf(raw('b'))?.ino)
  expect(markOf(raw('nothing'))).toBeUndefined()
  writeFileSync(join(scratch, 'file'), '')
  expect(markOf(raw('file', 'below'))).toBeUndefined()
  const mounts = [
    { path: '/' as Raw, type: 'top', source: 'x' },
    { path: rawFromText(scratch), type: 'below', source: 'y' },
    { path: raw('a'), type: 'hidden', source: 'h' },
    { path: raw('a'), type: 'deep', source: 'z' },
    { path: raw('ab'), type: 'other', source: 'z' },
  ]
  expect(markOf(raw('a'), mounts)).toMatchObject({ fileSystem: 'deep', source: 'z' })
  expect(markOf(raw('b'), mounts)).toMatchObject({ fileSystem: 'below', source: 'y' })
  expect(markOf(rawFromText(`${scratch}/link/.`), mounts)).toMatchObject({ fileSystem: 'deep' })
  expect(markOf('/' as Raw, mounts)).toMatchObject({ fileSystem: 'top', source: 'x' })
})

test('of a path that is gone the nearest parent tells the file system', () => {
  expect(nearestDev(raw('gone', 'further'))).toBe(markOf(rawFromText(scratch))?.dev)
})
