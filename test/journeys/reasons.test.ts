/** What could not be brought back is named with its reason, to whoever waits and to whoever asks later. */
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type Home, openHome, type Ran, says, tarOf } from '../firn.js'
import { makeFiles, overwrite } from '../tree.js'

let at: Home
let damaged: string
let missing: string

const reasonsIn = ({ messages }: Ran) => messages.filter((one) => one['kind'] === 'failed').map((one) => one['reason'])

beforeAll(async () => {
  at = openHome()
  makeFiles(at.path('tree'), 20)
  expect((await at.run('archive-files', ['-r', '--files-per-bundle', '5', 'tree'])).code).toBe(0)
  damaged = at.path('tree', 'dir-0', 'file-1.txt')
  missing = at.path('tree', 'dir-0', 'file-19.txt')
  const tar = await tarOf(at, damaged)
  overwrite(tar, 'content 1 ', 'CONTENT 1 ')
  const other = await tarOf(at, missing)
  expect(other).not.toBe(tar)
  rmSync(other)
})
afterAll(() => at.dispose())

test('a detached retrieval says in firn status which file was damaged and which bundle is gone', async () => {
  const asked = await at.run('find-and-retrieve', ['--all', '--detach', '--to', at.path('back'), '--json'])
  const id = asked.summary['retrieval_id'] as string
  const retriever = await at.run('firn', ['retriever', '--once'])
  expect(retriever.stderr).toContain(damaged)
  const status = await at.run('firn', ['status', '--json'])
  expect(reasonsIn(status)).toEqual(
    expect.arrayContaining([expect.stringContaining(damaged), expect.stringMatching(/no object/)]),
  )
  const own = await at.run('firn', ['status', id])
  expect(own.code).toBe(0)
  expect(own.stdout).toContain(damaged)
  expect(own.stdout).toMatch(/bundle [0-9a-f-]{36} failed: .*no object/)
  expect((await at.run('firn', ['status', id.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))])).code).toBe(4)
})

test('a command that waits is told what the retriever gave up', async () => {
  const retriever = at.start('firn', ['retriever'], { FIRN_LOG_LEVEL: 'info' })
  try {
    await says(retriever, 'on duty')
    const ran = await at.run('find-and-retrieve', ['--all', '--to', at.path('again'), '--json'])
    expect(ran.code).toBe(1)
    expect(JSON.stringify(ran.messages)).toMatch(/no object/)
    expect(ran.messages.some((one) => one['message_type'] === 'problem' && one['path'] === damaged)).toBe(true)
  } finally {
    retriever.kill('SIGTERM')
    await retriever.ended
  }
})
