/** A look at an entry says what lstat says, whichever way it is taken. */
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { libcNotice, setTimes } from './libc.js'
import { type Raw, rawFromText, rawToBytes } from './raw.js'
import { scratchDirectory } from './scratch-directory.js'
import { linkStat, openStat } from './stat.js'
import { runScript, WITHOUT_KOFFI } from './test-process.js'

const directory = rawFromText(scratchDirectory())
const at = (name: string) => `${directory}/${name}` as Raw

/** The same from Node, and inode numbers without a sign. */
function expected(path: Raw) {
  const stat = lstatSync(rawToBytes(path), { bigint: true })
  return {
    format: Number(stat.mode) & 0o170000,
    mode: Number(stat.mode) & 0o7777,
    size: Number(stat.size),
    blocks: Number(stat.blocks),
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    atimeNs: stat.atimeNs,
    dev: stat.dev,
    ino: BigInt.asUintN(64, stat.ino),
    nlink: Number(stat.nlink),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
  }
}

test('an entry of every kind is seen as Node sees it', () => {
  mkdirSync(rawToBytes(at('directory')), { mode: 0o1751 })
  writeFileSync(rawToBytes(at('file')), 'content', { mode: 0o640 })
  linkSync(rawToBytes(at('file')), rawToBytes(at('second')))
  writeFileSync(rawToBytes(at('sparse')), '')
  truncateSync(rawToBytes(at('sparse')), 2 ** 40)
  symlinkSync('nowhere', rawToBytes(at('symlink')))
  writeFileSync(rawToBytes(at('\xff\n\x01')), '')
  spawnSync('mkfifo', [at('fifo')])
  const names = ['directory', 'file', 'second', 'sparse', 'symlink', '\xff\n\x01', ...(spawnSync('mkfifo').error ? [] : ['fifo'])]
  for (const path of [...names.map(at), directory, '/', '/dev/null', '/proc/self/stat'] as Raw[]) {
    const { atimeNs, mtimeNs, ctimeNs, ...seen } = linkStat(path)
    const { atimeNs: a, mtimeNs: m, ctimeNs: c, ...other } = expected(path)
    expect(seen).toEqual(other)
    if (path.startsWith(directory)) expect([atimeNs, mtimeNs, ctimeNs]).toEqual([a, m, c])
  }
})

test('an open file is seen as it is, also when its name is gone or another file has it', () => {
  const path = at('open')
  writeFileSync(rawToBytes(path), 'content')
  const before = linkStat(path)
  const fd = openSync(rawToBytes(path), 'r')
  try {
    expect(openStat(fd)).toEqual(before)
    unlinkSync(rawToBytes(path))
    writeFileSync(rawToBytes(path), 'another')
    const { nlink, ctimeNs, ...rest } = openStat(fd)
    const { nlink: _, ctimeNs: __, ...same } = before
    expect(nlink).toBe(0)
    expect(ctimeNs).toBeGreaterThanOrEqual(before.ctimeNs)
    expect(rest).toEqual(same)
  } finally {
    closeSync(fd)
  }
  expect(() => openStat(fd)).toThrow(expect.objectContaining({ code: 'EBADF' }))
})

const testPrecise = libcNotice() === undefined ? test : test.skip

testPrecise('times are true to the nanosecond, also before 1970', () => {
  const path = at('times')
  writeFileSync(rawToBytes(path), '')
  for (const [atimeNs, mtimeNs] of [
    [0n, -1n],
    [1_700_000_000_123_456_789n, -1_000_000_001n],
    [999_999_999n, 4_102_444_800_000_000_001n],
  ] as const) {
    setTimes(path, atimeNs, mtimeNs)
    expect(linkStat(path)).toMatchObject({ atimeNs, mtimeNs })
  }
})

describe('what cannot be looked at', () => {
  test.each([
    ['gone', at('gone'), 'ENOENT'],
    ['below a file', at('plain/x'), 'ENOTDIR'],
    ['a name that is too long', at('x'.repeat(256)), 'ENAMETOOLONG'],
    ['a path that is too long', `/${'x/'.repeat(2_100)}` as Raw, 'ENAMETOOLONG'],
    ['a path cut by a NUL', at('plain\0'), 'ERR_INVALID_ARG_VALUE'],
  ])('throws its code: %s', (_, path, code) => {
    writeFileSync(rawToBytes(at('plain')), '')
    expect(() => linkStat(path)).toThrow(expect.objectContaining({ code }))
  })
})

test('where koffi does not load it says the same', () => {
  writeFileSync(rawToBytes(at('caf\xe9')), 'four')
  const script = `
    const look = (path) => Object.fromEntries(Object.entries(os.linkStat(path)).map(([key, value]) => [key, String(value)]))
    say([look(${JSON.stringify(at('caf\xe9'))}), look(${JSON.stringify(directory)})])`
  const imports = { os: new URL('./stat.js', import.meta.url).href }
  const plain = runScript(imports, script, { before: WITHOUT_KOFFI })
  expect(plain).toEqual(runScript(imports, script))
  expect(plain).toMatchObject([{ size: '4' }, {}])
})
