import { chmodSync, chownSync, lchownSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { buildForUsers } from './as-user.js'
import { openStaging } from './staging.js'
import { openTarget } from './target.js'
import { raw, scratch } from './test-tar.js'

const asRoot = process.geteuid?.() === 0 ? test : test.skip
const OTHER = 4242

const opened = (path: string) => openTarget(raw(path)).path
const refusal = (why: string) => expect.objectContaining({ code: 'target-refused', message: expect.stringContaining(why) })

describe('a target', () => {
  test('is made private, with its parents', () => {
    using at = scratch()
    expect(opened(join(at.path, 'a/b//./c/'))).toBe(join(at.path, 'a/b/c'))
    for (const name of ['a', 'a/b', 'a/b/c']) expect(lstatSync(join(at.path, name)).mode & 0o7777).toBe(0o700)
    expect(openTarget(raw(join(at.path, 'a/b')))).toMatchObject({ fresh: false })
    expect(openTarget(raw(join(at.path, 'a/d')))).toMatchObject({ fresh: true })
  })

  test('may be reached through symlinks that can be trusted', () => {
    using at = scratch()
    mkdirSync(join(at.path, 'real/deep'), { recursive: true, mode: 0o755 })
    symlinkSync('real', join(at.path, 'relative'))
    symlinkSync(join(at.path, 'relative/deep'), join(at.path, 'absolute'))
    expect(opened(join(at.path, 'absolute/new'))).toBe(join(at.path, 'real/deep/new'))
    expect(opened(join(at.path, 'relative/deep/../x'))).toBe(join(at.path, 'real/x'))
    symlinkSync('circle', join(at.path, 'circle'))
    expect(() => opened(join(at.path, 'circle/x'))).toThrow(refusal('lead in a circle'))
  })

  test('that is a file, relative, or lies below a file is refused in one sentence', () => {
    using at = scratch()
    writeFileSync(join(at.path, 'file'), '')
    expect(() => opened(join(at.path, 'file'))).toThrow(refusal('file is not a directory.'))
    expect(() => opened(join(at.path, 'file/x'))).toThrow(refusal('file is not a directory.'))
    expect(() => opened('relative')).toThrow(refusal('not an absolute path'))
  })

  test('that others may write to is refused, also a parent, unless it is sticky', () => {
    using at = scratch()
    for (const mode of [0o770, 0o707, 0o777]) {
      mkdirSync(join(at.path, `d${mode}`))
      // A group that has only us in it does not count as others.
      if (process.getuid?.() === 0) chownSync(join(at.path, `d${mode}`), 0, 65_534)
      else if ((mode & 0o002) === 0) continue
      chmodSync(join(at.path, `d${mode}`), mode)
      expect(() => opened(join(at.path, `d${mode}`))).toThrow(refusal('can be written by other users'))
      expect(() => opened(join(at.path, `d${mode}/new/deep`))).toThrow(refusal('can be written by other users'))
      expect(readdirSync(join(at.path, `d${mode}`))).toEqual([])
      chmodSync(join(at.path, `d${mode}`), mode | 0o1000)
      expect(opened(join(at.path, `d${mode}/new`))).toBe(join(at.path, `d${mode}/new`))
    }
  })

  asRoot('of another user, below one, or behind a symlink of one is refused', () => {
    using at = scratch()
    mkdirSync(join(at.path, 'theirs/ours'), { recursive: true })
    chownSync(join(at.path, 'theirs'), OTHER, OTHER)
    symlinkSync('/', join(at.path, 'link'))
    lchownSync(join(at.path, 'link'), OTHER, OTHER)
    const why = `belongs to another user (${OTHER})`
    expect(() => opened(join(at.path, 'theirs'))).toThrow(refusal(why))
    expect(() => opened(join(at.path, 'theirs/ours'))).toThrow(refusal(why))
    expect(() => opened(join(at.path, 'link/tmp'))).toThrow(refusal(`is a symlink that ${why}`))
  })

  test('has a staging directory of ours alone', () => {
    using at = scratch()
    const target = openTarget(raw(at.path))
    const staging = () => openStaging(target, 'x-1')
    expect(lstatSync(staging()).mode & 0o7777).toBe(0o700)
    expect(staging()).toBe(join(at.path, '.firn-x-1'))
    chmodSync(join(at.path, '.firn-x-1'), 0o755)
    expect(staging).toThrow(refusal('not a private directory of ours'))
    mkdirSync(join(at.path, 'elsewhere'), { mode: 0o700 })
    symlinkSync('elsewhere', join(at.path, '.firn-x-2'))
    expect(() => openStaging(target, 'x-2')).toThrow(refusal('not a private directory of ours'))
    expect(() => openStaging(target, '../x')).toThrow(refusal('no file name'))
  })
})

asRoot('an ordinary user restores what he may: his own bits and groups, and nobody else’s', () => {
  using build = buildForUsers()
  using at = scratch('/tmp')
  chmodSync(at.path, 0o1777)
  const body = `
    const { tarOf, restore, told, raw } = testTar
    const tar = tarOf([
      { at: 'ro', mode: 0o500 },
      { at: 'ro/mine', bytes: 'x', mode: 0o6755, uid: ${OTHER}, gid: ${OTHER} },
      { at: 'ro/group', bytes: 'x', mode: 0o2755, uid: ${OTHER}, gid: 777 },
      { at: 'ro/theirs', bytes: 'x', mode: 0o6444, uid: 0, gid: 0, xattrs: { 'user.a': 'AAAA' } },
      { at: 'ro/l', type: 'symlink', link: 'x', uid: 0, gid: 0 },
      { at: 'ro/trusted', bytes: 'x', xattrs: { 'trusted.x': 'AAAA' } },
    ])
    const target = ${JSON.stringify(at.path)} + '/new'
    const results = await restore(target, tar, { setuid: true })
    const stat = (name) => { const s = fs.lstatSync(target + '/' + name); return s.uid + ':' + s.gid + ' ' + (s.mode & 0o7777).toString(8) }
    say({
      told: told(results), notices: results.filter((r) => r.notice).map((r) => r.entry.at),
      stats: ['', 'ro', 'ro/mine', 'ro/group', 'ro/theirs', 'ro/l'].map(stat), left: fs.readdirSync(target),
    })`
  expect(build.run({ uid: OTHER, gid: OTHER, groups: [777] }, body)).toEqual({
    told: ['placed ro', 'placed ro/group', 'placed ro/l', 'placed ro/mine', 'placed ro/theirs', 'placed ro/trusted'],
    notices: ['ro/trusted'],
    stats: [
      `${OTHER}:${OTHER} 700`,
      `${OTHER}:${OTHER} 500`,
      `${OTHER}:${OTHER} 6755`,
      `${OTHER}:777 2755`,
      `${OTHER}:${OTHER} 444`,
      `${OTHER}:${OTHER} 777`,
    ],
    left: ['ro'],
  })
})

asRoot('an ordinary user restores into a directory that he may write to and not list', () => {
  using build = buildForUsers()
  using at = scratch('/tmp')
  chmodSync(at.path, 0o1777)
  const body = `
    const { tarOf, restore, told } = testTar
    const target = ${JSON.stringify(at.path)} + '/drop'
    fs.mkdirSync(target, 0o300)
    say(told(await restore(target, tarOf([{ at: 'one', bytes: 'x' }]))))`
  expect(build.run({ uid: OTHER, gid: OTHER }, body)).toEqual(['placed one'])
})

asRoot('an ordinary user restores files that their mode keeps even him from', () => {
  using build = buildForUsers()
  using at = scratch('/tmp')
  chmodSync(at.path, 0o1777)
  const body = `
    const { tarOf, restore, told, raw } = testTar
    const tar = tarOf([{ at: 'one', bytes: Buffer.alloc(2_500_000, 5), mode: 0 }])
    tar.entries.push({ ...tar.entries[0], at: 'two', mode: 0o200 }, { ...tar.entries[0], at: 'three', mode: 0o444 })
    const target = ${JSON.stringify(at.path)} + '/new'
    const first = told(await restore(target, tar))
    say({ first, again: told(await restore(target, tar)), modes: ['one', 'two', 'three'].map((name) => fs.statSync(target + '/' + name).mode & 0o7777) })`
  const why = 'exists already, and cannot be read to compare it'
  expect(build.run({ uid: OTHER, gid: OTHER }, body)).toEqual({
    first: ['placed one', 'placed three', 'placed two'],
    again: [`failed one: ${why}`, `failed two: ${why}`, 'present three'],
    modes: [0, 0o200, 0o444],
  })
})

asRoot('an ordinary user is kept from what belongs to others', () => {
  using build = buildForUsers()
  using at = scratch('/tmp')
  chmodSync(at.path, 0o755)
  mkdirSync(join(at.path, 'roots'))
  mkdirSync(join(at.path, 'open'))
  chmodSync(join(at.path, 'open'), 0o1777)
  mkdirSync(join(at.path, 'open/theirs'), { mode: 0o777 })
  chmodSync(join(at.path, 'open/theirs'), 0o777)
  chownSync(join(at.path, 'open/theirs'), 4243, 4243)
  mkdirSync(join(at.path, 'open/roots'))
  const body = `
    const { tarOf, restore, told, raw } = testTar
    const base = ${JSON.stringify(at.path)}
    const options = { retrievalId: 'r1', overwrite: false, setuid: false }
    const refusal = (target) => place.openPlacer({ target, ...options }).then(() => 'opened', (error) => error.code + ': ' + error.message)
    const tar = tarOf([{ at: 'theirs/f', bytes: 'x' }, { at: 'roots/f', bytes: 'x' }, { at: 'mine/f', bytes: 'x' }])
    say({
      roots: await refusal(base + '/roots'), below: await refusal(base + '/roots/new'), theirs: await refusal(base + '/open/theirs'),
      told: told(await restore(base + '/open', tar)),
    })`
  expect(build.run({ uid: OTHER, gid: OTHER }, body)).toEqual({
    roots: `target-refused: Nothing is restored into ${at.path}/roots: permission denied.`,
    below: `target-refused: Nothing is restored into ${at.path}/roots/new: ${at.path}/roots/new cannot be made: permission denied.`,
    theirs: `target-refused: Nothing is restored into ${at.path}/open/theirs: ${at.path}/open/theirs belongs to another user (4243).`,
    told: [
      'failed roots/f: permission denied',
      'failed theirs/f: a directory on its path belongs to another user (4243)',
      'placed mine/f',
    ],
  })
  expect(readdirSync(join(at.path, 'open')).sort()).toEqual(['mine', 'roots', 'theirs'])
})

asRoot('root does not restore through a directory that a user owns', async () => {
  using at = scratch()
  const { restore, tarOf, told } = await import('./test-tar.js')
  mkdirSync(join(at.path, 'home/alice'), { recursive: true })
  chownSync(join(at.path, 'home/alice'), OTHER, OTHER)
  const tar = tarOf([
    { at: 'home/alice/f', bytes: 'x' },
    { at: 'home/f', bytes: 'x' },
  ])
  expect(told(await restore(at.path, tar))).toEqual([
    `failed home/alice/f: a directory on its path belongs to another user (${OTHER})`,
    'placed home/f',
  ])
})
