import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { Raw } from './raw.js'
import { scratchDirectory } from './scratch-directory.js'
import { followTrusted } from './trusted-path.js'

const scratch = scratchDirectory()
const isRoot = process.getuid?.() === 0
const asRoot = isRoot ? test : test.skip
let count = 0
const place = () => {
  const at = join(scratch, `p${count++}`)
  mkdirSync(join(at, 'a/b'), { recursive: true })
  writeFileSync(join(at, 'a/b/file'), '', { mode: 0o600 })
  return at
}
const verdict = (path: string): string | undefined => {
  try {
    followTrusted(path as Raw)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

describe('a path that is trusted', () => {
  test('belongs to us or root from / down, and may end before its end', () => {
    const at = place()
    expect(verdict(join(at, 'a/b/file'))).toBeUndefined()
    expect(verdict(join(at, 'a/b/missing/too'))).toBeUndefined()
    expect(followTrusted(join(at, 'a/../a/b') as Raw)).toMatchObject({ path: join(at, 'a/b') })
  })

  test('is not one on whose way others may write, unless that directory is sticky', () => {
    const at = place()
    for (const [mode, trusted] of [
      [0o777, false],
      [0o757, false],
      [0o1777, true],
      [0o755, true],
    ] as const) {
      chmodSync(join(at, 'a'), mode)
      expect([mode, verdict(join(at, 'a/b/file'))]).toEqual([
        mode,
        trusted ? undefined : `${join(at, 'a')} can be written by other users`,
      ])
    }
    // Sticky means nothing of a file.
    chmodSync(join(at, 'a/b/file'), 0o1666)
    expect(verdict(join(at, 'a/b/file'))).toMatch(/file can be written by other users/)
  })

  test('follows our symlinks, and judges where they lead', () => {
    const at = place()
    mkdirSync(join(at, 'open'))
    chmodSync(join(at, 'open'), 0o777)
    symlinkSync('a/b', join(at, 'fine'))
    symlinkSync(join(at, 'open'), join(at, 'bad'))
    symlinkSync('circle', join(at, 'circle'))
    expect(verdict(join(at, 'fine/file'))).toBeUndefined()
    expect(verdict(join(at, 'bad/x'))).toMatch(/open can be written/)
    expect(verdict(join(at, 'circle'))).toMatch(/circle/)
  })

  asRoot('is not one of another user, nor behind a symlink of another user', () => {
    const at = place()
    chownSync(join(at, 'a/b'), 65_534, 65_534)
    expect(verdict(join(at, 'a/b/file'))).toBe(`${join(at, 'a/b')} belongs to another user (65534)`)
  })

  asRoot('a group that has only us may write, one that others have may not', () => {
    const at = place()
    chmodSync(join(at, 'a'), 0o775)
    chownSync(join(at, 'a'), 0, 0)
    expect(verdict(join(at, 'a/b'))).toBeUndefined()
    for (const gid of [65_534, 54_321]) {
      chownSync(join(at, 'a'), 0, gid)
      expect(verdict(join(at, 'a/b'))).toMatch(/can be written by other users/)
    }
  })
})
