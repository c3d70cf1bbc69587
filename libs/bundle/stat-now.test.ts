import { expect, test } from '@jest/globals'
import { isFresh } from './stat-now.js'

const nowMs = 1_800_000_000_500
const ago = (ms: number, more = 1n) => BigInt(nowMs - ms) * 1_000_000n + more

test.each([
  ['both times are old', ago(30), ago(30), false],
  ['the mtime is as young as a tick', ago(15), ago(60_000), true],
  ['the ctime is as young as a tick', ago(60_000), ago(15), true],
  ['a time has whole seconds and is younger than two', 1_799_999_999_000_000_000n, ago(60_000), true],
  ['a time has whole seconds and is older than two', 1_799_999_997_000_000_000n, ago(60_000), false],
  ['a time is somewhat ahead of this clock', ago(-30_000), ago(60_000), true],
  ['a time is far ahead of this clock', ago(-3_600_000), ago(60_000), false],
])('a file is fresh or not where %s', (_what, mtimeNs, ctimeNs, fresh) => {
  expect(isFresh({ mtimeNs, ctimeNs }, nowMs)).toBe(fresh)
})
