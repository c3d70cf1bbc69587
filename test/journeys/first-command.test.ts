/** The first command of the README, as `npx` runs it in a clone: through the links that `npm ci` made (scripts/link-commands.js). */
import { spawnSync } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from '@jest/globals'
import { type CommandName, mainOf, openHome } from '../firn.js'
import { lookAt, makeFiles } from '../tree.js'

const linkOf = (name: CommandName) => fileURLToPath(new URL(`../../../node_modules/.bin/${name}`, import.meta.url))
const leadsHere = (name: CommandName) => existsSync(linkOf(name)) && realpathSync(linkOf(name)) === realpathSync(mainOf(name))

const [linked, reason] = (['archive-files', 'find-and-retrieve'] as const).every(leadsHere)
  ? [test, '']
  : [test.skip, ' (skipped: npm ci did not link the commands of this directory)']

linked(`the first command archives, and says how to find it again and bring it back${reason}`, () => {
  const at = openHome({ npm_command: 'exec' }) // as npx sets it
  const npx = (name: CommandName, args: readonly string[]) =>
    spawnSync(linkOf(name), args, { env: at.env, cwd: at.directory, encoding: 'utf8' })
  try {
    makeFiles(at.path('tree'), 20)
    const first = npx('archive-files', ['-r', '-t', 'demo', at.path('tree')])
    expect([first.status, first.stdout]).toEqual([0, ''])
    expect(first.stderr).toMatch(/^set [0-9a-f-]{36}: archived 20 files, 2\.00 kB, in 1 bundle in /m)
    expect(first.stderr).toMatch(/^find it again: {2}npx find-and-retrieve -s <words> -l$/m)
    const back = /^bring it back: {2}npx find-and-retrieve (--set [0-9a-f-]{36} --to) <directory>$/m.exec(first.stderr)
    const found = npx('find-and-retrieve', ['-s', 'demo', '-l'])
    expect([found.status, found.stdout.trimEnd().split('\n').length]).toEqual([0, 20])
    const restored = npx('find-and-retrieve', [...(back?.[1] ?? '').split(' '), at.path('back')])
    expect(restored.status).toBe(0)
    expect(lookAt(at.path('back', at.path('tree')))).toEqual(lookAt(at.path('tree')))
  } finally {
    at.dispose()
  }
})
