/** What is wrong before anything began: one line says so, and nothing is recorded. */
import { existsSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { type Home, openHome, statusOf } from '../firn.js'
import { makeFiles } from '../tree.js'

describe('bad input', () => {
  let at: Home
  beforeAll(() => {
    at = openHome()
    makeFiles(at.path('tree'), 3)
  })
  afterAll(() => at.dispose())

  test.each([
    [['no-such-path'], 'no-such-path: there is no such file or directory'],
    [['-r', 'tree', 'no-such-path'], 'nothing was archived'],
    [['--no-such-option', 'tree'], '--help'],
    [['-r', '--bundle-size', '0', 'tree'], '--bundle-size'],
    [['-r', '--bundle-size', 'many', 'tree'], '--bundle-size'],
    [['-r', '--files-per-bundle', '0', 'tree'], '--files-per-bundle'],
    [['-r', '-x', 'old', 'tree'], '--older-than'],
    [['-r', '--vault', 'ftp://x', 'tree'], 'ftp'],
    [['-r', '--vault', 'local:/dev/null/x', 'tree'], 'The vault local:/dev/null/x cannot be used'],
    [[], "missing required argument 'path'"],
  ])('archive-files %j is one line and exit 2', async (args, says) => {
    const ran = await at.run('archive-files', args)
    expect(ran).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/^firn: [^\n]+\n$/) })
    expect(ran.stderr).toContain(says)
  })

  test.each([
    [[], 'nothing is selected'],
    [['--set', 'first'], '--set takes the id of a set'],
    [['--all', '--days', '0'], '--days'],
    [['--all', '--as-of', 'once'], '--as-of'],
    [['-s', '"open'], 'opens a quote'],
  ])('find-and-retrieve %j is one line and exit 2', async (args, says) => {
    const ran = await at.run('find-and-retrieve', args)
    expect(ran).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/^firn: [^\n]+\n$/) })
    expect(ran.stderr).toContain(says)
  })

  test('leaves nothing behind', async () => {
    expect(await statusOf(at)).toEqual({ sets: [], retrievals: [] })
    expect(existsSync(at.path('home', 'vault'))).toBe(false)
  })
})
