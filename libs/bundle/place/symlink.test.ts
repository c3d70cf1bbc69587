/** A symlink is there whole or not at all: one whose making was cut off is made again. */
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { openChain } from './chain.js'
import { openDresser } from './dress.js'
import { openJournal } from './journal.js'
import { openRestorer } from './restore.js'
import { stagingNames } from './staging.js'
import { openTarget } from './target.js'
import { raw, scratch } from './test-tar.js'

test('a symlink has its times before it has its name', () => {
  using at = scratch()
  using staged = scratch(at.path)
  const journal = openJournal(raw(staged.path))
  const place = join(at.path, 'link')
  const dresser = openDresser({ setuid: false })
  const restorer = (times: typeof dresser.times) =>
    openRestorer({
      chain: openChain(openTarget(raw(at.path)), journal),
      staging: stagingNames(raw(staged.path), 'me'),
      dresser: { ...dresser, times },
      overwrite: false,
      tick: () => {},
    })
  const { uid, gid } = lstatSync(at.path)
  const symlink = {
    index: 0,
    at: raw('link'),
    link: raw('to'),
    dress: { mode: 0o777, uid, gid, atimeNs: 1n, mtimeNs: 5_000_000_001n },
  }

  const cutOff = restorer(() => {
    throw new Error('killed')
  }).symlink(symlink)
  expect(cutOff.outcome).toBe('failed')
  expect(lstatSync(place, { throwIfNoEntry: false })).toBeUndefined()

  expect(restorer(dresser.times).symlink(symlink).outcome).toBe('placed')
  expect(lstatSync(place, { bigint: true }).mtimeNs).toBe(5_000_000_001n)
  expect(restorer(dresser.times).symlink(symlink).outcome).toBe('present')
  journal.close()
})
