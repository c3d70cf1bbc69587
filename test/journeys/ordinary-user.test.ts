/** An ordinary user, who may not read everything: tried where the tests run as root, who may become one. */
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, readdirSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { filesOf, mainOf, openHome } from '../firn.js'
import { lookAt, makeFiles } from '../tree.js'

const NOBODY = { uid: 65534, gid: 65534 }

/** Why it cannot be tried here, if so. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may become another user'
  if (spawnSync('id', ['-un', String(NOBODY.uid)]).status !== 0) return 'user 65534 has no name here'
  const ran = spawnSync(process.execPath, [mainOf('archive-files'), '--help'], { ...NOBODY, cwd: '/' })
  return ran.status === 0 ? undefined : 'this directory is closed to others'
}

const reason = obstacle()
const tried = reason === undefined ? test : test.skip

tried(
  `a file that may not be read is named, the others are archived: exit 3 (G-20)${reason ? ` (skipped: ${reason})` : ''}`,
  async () => {
    const at = openHome({}, NOBODY)
    try {
      makeFiles(at.path('tree'), 10)
      const closed = at.path('tree', 'dir-0', 'file-3.txt')
      chownSync(closed, NOBODY.uid, NOBODY.gid)
      chmodSync(closed, 0)
      const ran = await at.run('archive-files', ['-r', '--json', 'tree'])
      expect(ran.code).toBe(3)
      expect(ran.summary).toMatchObject({ files_found: 10, files_archived: 9, files_failed: 1, exit_code: 3 })
      const problems = ran.messages.filter((message) => message['message_type'] === 'problem')
      expect(problems).toMatchObject([{ path: closed, reason: expect.stringContaining('permission denied') }])
      const plain = await at.run('archive-files', ['-r', 'tree'])
      expect(plain.code).toBe(3)
      expect(plain.stderr).toContain(`${closed}: `)
      expect(filesOf(await at.run('find-and-retrieve', ['--all', '-l', '--json']))).toHaveLength(9)
      const back = await at.run('find-and-retrieve', ['--all', '--to', at.path('back')])
      expect(back.code).toBe(0)
      const files = lookAt(at.path('tree'), { directories: false })
      files.delete('dir-0/file-3.txt')
      expect(lookAt(at.path('back', at.path('tree')), { directories: false })).toEqual(files)
    } finally {
      at.dispose()
    }
  },
  90_000,
)

tried(
  `sources of other users are removed too, though no lease on them can be had${reason ? ` (skipped: ${reason})` : ''}`,
  async () => {
    const at = openHome({}, NOBODY)
    try {
      makeFiles(at.path('tree'), 5)
      chownSync(at.path('tree/dir-0'), NOBODY.uid, NOBODY.gid)
      for (const name of readdirSync(at.path('tree/dir-0'))) chownSync(at.path('tree/dir-0', name), 0, 0)
      const ran = await at.run('archive-files', ['-r', '--delete-after-archive', '--yes', 'tree'])
      expect([ran.code, ran.stderr]).toEqual([0, expect.stringContaining('removed 5 files')])
      expect(readdirSync(at.path('tree/dir-0'))).toEqual([])
    } finally {
      at.dispose()
    }
  },
  90_000,
)
