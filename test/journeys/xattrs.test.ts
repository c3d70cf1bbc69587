/** Extended attributes and ACLs: kept unless that is refused, also of what older runs kept less of. */
import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { getXattr, setXattr } from '#libs/os/libc.js'
import { rawFromText } from '#libs/os/raw.js'
import { type Home, openHome } from '../firn.js'
import { makeFiles } from '../tree.js'

let at: Home
beforeEach(() => {
  at = openHome()
  makeFiles(at.path('tree'), 4)
  makeFiles(at.path('tree/plain'), 3)
})
afterEach(() => at.dispose())

const FILE = 'tree/dir-0/file-1.txt'
const isRoot = process.getuid?.() === 0

async function archive(...options: string[]) {
  const ran = await at.run('archive-files', ['-r', '--json', ...options, 'tree'])
  expect([ran.code, ran.stderr]).toEqual([0, expect.anything()])
  const { files_archived: archived, files_unchanged: unchanged, bundles, bytes } = ran.summary ?? {}
  return { archived, unchanged, bundles, bytes }
}
let backs = 0
async function broughtBack(name: string): Promise<string | undefined> {
  const to = at.path(`back-${backs++}`)
  expect((await at.run('find-and-retrieve', ['--path', at.path(FILE), '--to', to])).code).toBe(0)
  return getXattr(rawFromText(`${to}${at.path(FILE)}`), name)?.toString()
}
/** False where the file system has none. */
function set(name: string, value: string): boolean {
  try {
    setXattr(rawFromText(at.path(FILE)), name, Buffer.from(value))
    return true
  } catch {
    return false
  }
}

test('are kept by default; what a run with --no-xattrs left out gets a new version later, of metadata alone, once', async () => {
  if (!set('user.colour', 'red')) return
  set('user.caf\xe9', 'no UTF-8')
  expect(await archive('--no-xattrs')).toMatchObject({ archived: 7, bundles: 1 })
  expect(await broughtBack('user.colour')).toBeUndefined()
  expect(await archive('--no-xattrs')).toMatchObject({ archived: 0, unchanged: 7, bundles: 0 })
  expect(await archive()).toMatchObject({ archived: 1, unchanged: 6, bundles: 1 })
  expect(await broughtBack('user.colour')).toBe('red')
  expect(await broughtBack('user.caf\xe9')).toBe('no UTF-8')
  for (let again = 0; again < 2; again++) expect(await archive()).toMatchObject({ archived: 0, unchanged: 7, bundles: 0 })
  const tars = await at.run('find-and-retrieve', ['--path', at.path(FILE), '-l', '--json', '--all-versions'])
  expect(tars.stdout.match(/"sha256":"([0-9a-f]{64})"/g)).toHaveLength(2)
  // What is new there later is looked at again.
  expect(await archive('--no-xattrs', '--force')).toMatchObject({ archived: 7 })
  expect(await archive()).toMatchObject({ archived: 1, unchanged: 6 })
  expect(await broughtBack('user.colour')).toBe('red')
}, 180_000)

test('that only -f keeps are kept by a run with it after one without; and nothing is removed that is not archived whole', async () => {
  if (!isRoot || !set('trusted.secret', 'yes')) return
  expect(await archive()).toMatchObject({ archived: 7 })
  const ran = await at.run('archive-files', ['-r', '-f', '--delete-after-archive', '--yes', '--json', 'tree'])
  expect([ran.code, ran.summary?.['files_archived']]).toEqual([0, 1])
  expect(existsSync(at.path(FILE))).toBe(false)
  expect(await broughtBack('trusted.secret')).toBe('yes')
}, 120_000)

test('of a directory, too', async () => {
  const directory = rawFromText(at.path('tree/dir-0'))
  try {
    setXattr(directory, 'user.kind', Buffer.from('directory'))
  } catch {
    return
  }
  await archive('--no-xattrs')
  expect(await archive()).toMatchObject({ archived: 0, unchanged: 7, bundles: 1 })
  expect(await archive()).toMatchObject({ archived: 0, unchanged: 7, bundles: 0 })
  const to = at.path('back')
  expect((await at.run('find-and-retrieve', ['--path', at.path('tree'), '--to', to])).code).toBe(0)
  expect(getXattr(rawFromText(`${to}${directory}`), 'user.kind')?.toString()).toBe('directory')
}, 120_000)
