import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { getXattr, setXattr } from '#libs/os/libc.js'
import { type Raw, rawToBytes } from '#libs/os/raw.js'
import type { Entry } from './entry.js'
import { collect, raw, restore, scratch, snapshot, tarOf, told } from './place/test-tar.js'
import { openPlacer, type PlaceOptions } from './place.js'

const isRoot = process.geteuid?.() === 0
const asRoot = isRoot ? test : test.skip
const onTmpfs = existsSync('/dev/shm') ? test : test.skip

const open = (target: string, options: Partial<PlaceOptions> = {}) =>
  openPlacer({ target: raw(target), retrievalId: 'r1', overwrite: false, setuid: false, ...options })

const none = async () => new Map<Raw, Entry>()
const big = (bytes: number, seed = 1) =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8) * seed) & 0xff))

function restoresATree(base?: string) {
  return async () => {
    using at = scratch(base)
    const target = join(at.path, 'new')
    const tar = tarOf([
      { at: 'a', mode: 0o750, mtimeNs: 1_500_000_000_000_000_007n },
      { at: 'a/small', bytes: 'hello', mode: 0o640 },
      { at: 'a/empty', bytes: '' },
      { at: 'a/old', bytes: 'before 1970', mtimeNs: -1_234_567_890_123n, atimeNs: -5n },
      { at: 'a/link', type: 'symlink', link: raw('../nowhere/at all'), mtimeNs: 1_400_000_000_000_000_001n },
      { at: 'a/b/c/large', bytes: big(3_500_000), mode: 0o400 },
      { at: 'a/b/void', type: 'directory', mode: 0o500 },
      { at: 'a/\xfe\xff name\n', bytes: 'not UTF-8' },
    ])
    const results = await restore(target, tar)
    expect(results.every(({ outcome }) => outcome === 'placed')).toBe(true)
    expect(results).toHaveLength(8)
    for (const entry of tar.entries) {
      const path = Buffer.concat([Buffer.from(`${target}/`), rawToBytes(entry.at)])
      const stat = lstatSync(path, { bigint: true })
      expect([entry.at, stat.mtimeNs]).toEqual([entry.at, entry.mtimeNs])
      if (entry.type !== 'symlink') expect(Number(stat.mode) & 0o7777).toBe(entry.mode)
      if (entry.type === 'file') {
        expect([entry.at, stat.atimeNs]).toEqual([entry.at, entry.atimeNs])
        expect(readFileSync(path).equals(tar.tar.subarray(entry.offset, (entry.offset ?? 0) + entry.size))).toBe(true)
      }
    }
    expect(readlinkSync(join(target, 'a/link'))).toBe('../nowhere/at all')
    // Parents that the catalog does not know are private; nothing of the work is left.
    expect(statSync(join(target, 'a/b')).mode & 0o7777).toBe(0o700)
    expect(statSync(target).mode & 0o7777).toBe(0o700)
    expect(readdirSync(target)).toEqual(['a'])
  }
}

describe('placing a tree', () => {
  test('restores bytes, names, modes, nanoseconds and symlinks', restoresATree())
  onTmpfs('does so on a tmpfs', restoresATree('/dev/shm'))

  test('reads only the bytes needed, ascending, near ones joined, many chunks of any size', async () => {
    using at = scratch()
    const tar = tarOf(
      [
        { at: 'far', bytes: big(2_000_000), gap: 5_000_000 },
        { at: 'one', bytes: big(100_000, 2), gap: 200_000 },
        { at: 'two', bytes: big(10_000, 3), gap: 60_000 },
        { at: 'three', bytes: 'x', gap: 66_000 },
        { at: 'other', bytes: big(50_000, 4) },
      ],
      7_001,
    )
    const [far, one, two, three] = tar.entries
    const wanted = [three, one, far, two].map((entry) => entry as (typeof tar.entries)[0])
    const placer = await open(at.path)
    const results = await collect(placer.place(wanted, tar.read))
    await placer.close()
    expect(told(results)).toEqual(['placed far', 'placed one', 'placed three', 'placed two'])
    expect(tar.reads).toEqual([
      { offset: far?.offset, length: 2_000_000 },
      { offset: one?.offset, length: 170_000 },
      { offset: three?.offset, length: 1 },
    ])
    expect(readFileSync(join(at.path, 'two')).equals(big(10_000, 3))).toBe(true)
  })

  test('one file of many is read with nothing around it', async () => {
    using at = scratch()
    const tar = tarOf(Array.from({ length: 50 }, (_, i) => ({ at: `f${i}`, bytes: big(1000, i) })))
    const placer = await open(at.path)
    await collect(placer.place(tar.entries.slice(20, 21), tar.read))
    await placer.close()
    expect(tar.reads).toEqual([{ offset: tar.entries[20]?.offset, length: 1000 }])
  })

  test('names of one inode become hard links, with their bytes read once', async () => {
    using at = scratch()
    const bytes = big(1_500_000)
    const tar = tarOf([{ at: 'd/first', bytes, ino: 77n, nlink: 3 }])
    const first = tar.entries[0] as (typeof tar.entries)[0]
    const second = { ...first, at: raw('e/second'), type: 'hardlink' as const, link: raw('/d/first') }
    const alone = { ...first, at: raw('alone'), ino: 78n }
    const results = await restore(at.path, { ...tar, entries: [second, first, alone] })
    expect(told(results)).toEqual(['placed alone', 'placed d/first', 'placed e/second'])
    expect(tar.reads).toEqual([{ offset: 512, length: bytes.length }])
    const [a, b, c] = ['d/first', 'e/second', 'alone'].map((name) => statSync(join(at.path, name)))
    expect(b?.ino).toBe(a?.ino)
    expect(a?.nlink).toBe(2)
    expect(c?.nlink).toBe(1)
    expect(readFileSync(join(at.path, 'alone')).equals(bytes)).toBe(true)
  })

  test('two versions of an inode that differ in metadata share bytes, not an inode', async () => {
    using at = scratch()
    const tar = tarOf([{ at: 's1/f', bytes: 'same', ino: 5n, nlink: 2, mode: 0o600 }])
    const first = tar.entries[0] as (typeof tar.entries)[0]
    const results = await restore(at.path, { ...tar, entries: [first, { ...first, at: raw('s2/f'), mode: 0o644 }] })
    expect(told(results)).toEqual(['placed s1/f', 'placed s2/f'])
    expect(statSync(join(at.path, 's1/f')).mode & 0o777).toBe(0o600)
    expect(statSync(join(at.path, 's2/f')).mode & 0o777).toBe(0o644)
    expect(statSync(join(at.path, 's1/f')).nlink).toBe(1)
  })

  test('holes are holes again, but never where the bytes are no zeros', async () => {
    using at = scratch()
    const bytes = Buffer.alloc(8_000_000)
    bytes.write('begin', 0)
    bytes.write('here', 4_000_000)
    const holes: [number, number][] = [
      [65_536, 3_900_000],
      [4_100_000, 3_900_000],
    ]
    const lie: [number, number][] = [[0, 8_000_000]]
    const tar = tarOf([
      { at: 'sparse', bytes, holes },
      { at: 'lie', bytes, holes: lie },
      { at: 'small', bytes: bytes.subarray(0, 300_000), holes: [[65_536, 234_464]] },
      { at: 'nonsense', bytes: bytes.subarray(0, 300_000), holes: [[200_000, 50], [100, 1e300], [-5, 3]] }, // biome-ignore format: short
    ])
    const results = await restore(at.path, tar)
    expect(results.map(({ outcome }) => outcome)).toEqual(['placed', 'placed', 'placed', 'placed'])
    expect(readFileSync(join(at.path, 'sparse')).equals(bytes)).toBe(true)
    expect(readFileSync(join(at.path, 'lie')).equals(bytes)).toBe(true)
    expect(readFileSync(join(at.path, 'small')).equals(bytes.subarray(0, 300_000))).toBe(true)
    expect(readFileSync(join(at.path, 'nonsense')).equals(bytes.subarray(0, 300_000))).toBe(true)
    expect(statSync(join(at.path, 'sparse')).blocks * 512).toBeLessThan(500_000)
    expect(statSync(join(at.path, 'small')).blocks * 512).toBeLessThan(200_000)
    expect(statSync(join(at.path, 'nonsense')).blocks * 512).toBeGreaterThanOrEqual(300_000)
  })

  test('xattrs and ACLs come back on files and directories, also on a file that is read-only', async () => {
    using at = scratch()
    writeFileSync(join(at.path, 'probe'), '')
    const acl = Buffer.from('0200000001000600ffffffff020004000c00000004000400ffffffff10000600ffffffff20000000ffffffff', 'hex')
    setXattr(raw(join(at.path, 'probe')), 'system.posix_acl_access', acl)
    const xattrs = { 'user.colour': Buffer.from([0, 1, 255]).toString('base64') }
    const withAcl = { ...xattrs, 'system.posix_acl_access': acl.toString('base64') }
    const tar = tarOf([
      { at: 'd', xattrs, mode: 0o555 },
      { at: 'd/f', bytes: 'x', mode: 0o444, xattrs },
      { at: 'd/acl', bytes: 'x', mode: 0o660, xattrs: withAcl },
      { at: 'd/odd', bytes: 'x', xattrs: { 'nonsense.name': 'AAAA', ...xattrs } },
    ])
    const results = await restore(join(at.path, 'out'), tar)
    for (const name of ['d', 'd/f', 'd/acl', 'd/odd'])
      expect(getXattr(raw(join(at.path, 'out', name)), 'user.colour')).toEqual(Buffer.from([0, 1, 255]))
    expect(getXattr(raw(join(at.path, 'out/d/acl')), 'system.posix_acl_access')).toEqual(acl)
    const noticeOf = (at: string) => results.find(({ entry }) => entry.at === at)?.notice
    expect(noticeOf('d/odd')).toContain('"nonsense.name"')
    expect(['d', 'd/f', 'd/acl'].map(noticeOf)).toEqual([undefined, undefined, undefined])
  })

  test('a default ACL of the target is not handed down to what is restored', async () => {
    using at = scratch()
    const acl = Buffer.from('0200000001000700ffffffff020007000c00000004000700ffffffff10000700ffffffff20000000ffffffff', 'hex')
    setXattr(raw(at.path), 'system.posix_acl_default', acl)
    const tar = tarOf([{ at: 'd' }, { at: 'd/f', bytes: 'x' }, { at: 'e/f', bytes: 'x' }])
    await restore(at.path, tar)
    for (const name of ['d', 'd/f', 'e', 'e/f'])
      expect([name, getXattr(raw(join(at.path, name)), 'system.posix_acl_access')]).toEqual([name, undefined])
    expect(getXattr(raw(join(at.path, 'd')), 'system.posix_acl_default')).toBeUndefined()
    expect(statSync(join(at.path, 'd/f')).mode & 0o777).toBe(0o644)
  })

  test('setuid, setgid and file capabilities come back only when asked for; sticky always', async () => {
    using at = scratch()
    const xattrs = isRoot ? { xattrs: { 'security.capability': 'AQAAAgAEAAAAAAAAAAAAAAAAAAA=' } } : {}
    const tar = tarOf([
      { at: 'd', mode: 0o3755 },
      { at: 'd/f', bytes: 'x', mode: 0o6755 },
      { at: 'd/cap', bytes: 'x', ...xattrs },
    ])
    await restore(join(at.path, 'no'), tar)
    await restore(join(at.path, 'yes'), tar, { setuid: true })
    const mode = (name: string) => (statSync(join(at.path, name)).mode & 0o7777).toString(8)
    expect([mode('no/d'), mode('no/d/f')]).toEqual(['1755', '755'])
    expect([mode('yes/d'), mode('yes/d/f')]).toEqual(['3755', '6755'])
    expect(getXattr(raw(join(at.path, 'no/d/cap')), 'security.capability')).toBeUndefined()
    if (isRoot) expect(getXattr(raw(join(at.path, 'yes/d/cap')), 'security.capability')?.length).toBe(20)
  })

  asRoot('root gives files, symlinks and directories their owners', async () => {
    using at = scratch()
    const tar = tarOf([
      { at: 'd', uid: 1234, gid: 5678 },
      { at: 'd/f', bytes: 'x', uid: 1235, gid: 5679, mode: 0o4755 },
      { at: 'd/l', type: 'symlink', link: raw('f'), uid: 1236, gid: 5680 },
      { at: 'd/bad', bytes: 'x', uid: -7, gid: 4294967295, mode: 0o6755 },
    ])
    const results = await restore(at.path, tar, { setuid: true })
    expect(results.map(({ outcome }) => outcome)).toEqual(['placed', 'placed', 'placed', 'placed'])
    const owner = (name: string) => {
      const { uid, gid, mode } = lstatSync(join(at.path, name))
      return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`
    }
    expect(['d', 'd/f', 'd/l', 'd/bad'].map(owner)).toEqual(['1234:5678 755', '1235:5679 4755', '1236:5680 777', '0:0 755'])
  })

  test('existing directories keep what they are', async () => {
    using at = scratch()
    mkdirSync(join(at.path, 'd'), { mode: 0o710 })
    utimesSync(join(at.path, 'd'), 1_000_000_000, 1_000_000_000)
    const tar = tarOf([
      { at: 'd', mode: 0o777 },
      { at: 'd/f', bytes: 'x' },
    ])
    expect(told(await restore(at.path, tar))).toEqual(['placed d/f', 'present d'])
    expect(statSync(join(at.path, 'd')).mode & 0o7777).toBe(0o710)
  })

  test('a tree of 300 directories, and of none', async () => {
    using at = scratch()
    const deep = Array.from({ length: 300 }, (_, i) => `d${i}`).join('/')
    const tar = tarOf([{ at: `${deep}/f`, bytes: 'deep' }])
    expect(told(await restore(at.path, tar))).toEqual([`placed ${deep}/f`])
    expect(readFileSync(join(at.path, deep, 'f'), 'utf8')).toBe('deep')
    expect(await restore(at.path, tarOf([]))).toEqual([])
  })
})

describe('bytes that are not what the catalog says', () => {
  test('are placed nowhere, and the others are', async () => {
    using at = scratch()
    const wrong = 'f'.repeat(64)
    const tar = tarOf([
      { at: 'good', bytes: 'good' },
      { at: 'bad', bytes: 'bad', sha256: wrong },
      { at: 'large', bytes: big(2_500_000), sha256: wrong },
      { at: 'none', bytes: '', sha256: wrong },
      { at: 'last', bytes: big(1_200_000) },
    ])
    const reason = 'its bytes do not match their SHA-256'
    expect(told(await restore(at.path, tar))).toEqual([
      `failed bad: ${reason}`,
      `failed large: ${reason}`,
      `failed none: ${reason}`,
      'placed good',
      'placed last',
    ])
    expect(readdirSync(at.path).sort()).toEqual(['good', 'last'])
  })

  test('an object that ends early fails what it lacks', async () => {
    using at = scratch()
    const tar = tarOf([
      { at: 'a', bytes: 'whole' },
      { at: 'b', bytes: big(3_000_000) },
      { at: 'c', bytes: 'gone' },
    ])
    const cut = tarOf([])
    const read = async function* (range: { offset: number; length: number }) {
      for await (const chunk of tar.read({ ...range, length: Math.min(range.length, 1_500_000) })) yield chunk
    }
    const results = await restore(at.path, { ...cut, entries: tar.entries, read })
    const why = 'the vault gave fewer bytes than the bundle has'
    expect(told(results)).toEqual([`failed b: ${why}`, `failed c: ${why}`, 'placed a'])
    expect(readdirSync(at.path)).toEqual(['a'])
  })

  test('entries that cannot be are refused one by one', async () => {
    using at = scratch()
    const tar = tarOf([
      { at: 'good', bytes: 'good' },
      { at: 'negative', bytes: 'x', offset: -5 },
      { at: 'huge', bytes: 'x', size: Number.MAX_SAFE_INTEGER, offset: 10 },
      { at: 'fraction', bytes: 'x', size: 1.5 },
      { at: 'behind', bytes: 'x', offset: 10_000_000 },
      { at: 'unhashed', bytes: 'x', sha256: undefined as unknown as string },
      { at: 'void', bytes: 'x', state: 'void' },
      { at: 'aimless', type: 'symlink' },
      { at: 'nul', type: 'symlink', link: raw('a\0b') },
      { at: 'device', type: 'device' as 'file' },
    ])
    const placer = await open(at.path)
    const results = await collect(placer.place(tar.entries, tar.read, { tarBytes: tar.tar.length }))
    await placer.close()
    expect(results.filter(({ outcome }) => outcome === 'placed').map(({ entry }) => entry.at)).toEqual(['good'])
    expect(results).toHaveLength(10)
    expect(readdirSync(at.path).sort()).toEqual(['.firn-r1', 'good'])
  })

  test('pieces that overlap are each read and verified', async () => {
    using at = scratch()
    const bytes = big(10_000)
    const tar = tarOf([{ at: 'whole', bytes }])
    const whole = tar.entries[0] as (typeof tar.entries)[0]
    const { createHash } = await import('node:crypto')
    const part = (from: number, size: number) => ({
      ...whole,
      at: raw(`part${from}`),
      offset: (whole.offset ?? 0) + from,
      size,
      sha256: createHash('sha256')
        .update(bytes.subarray(from, from + size))
        .digest('hex'),
    })
    const results = await restore(at.path, { ...tar, entries: [part(5, 100), whole, part(7, 9_000)] })
    expect(told(results)).toEqual(['placed part5', 'placed part7', 'placed whole'])
    expect(readFileSync(join(at.path, 'part7')).equals(bytes.subarray(7, 9_007))).toBe(true)
  })
})

describe('what stands in the way', () => {
  test('the same is present and not read again, another is kept', async () => {
    using at = scratch()
    const tar = tarOf([
      { at: 'd/same', bytes: 'same' },
      { at: 'd/other', bytes: 'other' },
      { at: 'd/touched', bytes: 'touched' },
      { at: 'd/link', type: 'symlink', link: raw('same') },
      { at: 'd/astray', type: 'symlink', link: raw('elsewhere') },
      { at: 'd/dir', bytes: 'x' },
    ])
    await restore(at.path, { ...tar, entries: tar.entries.filter(({ at }) => /same|touched|link/.test(at)) })
    writeFileSync(join(at.path, 'd/other'), 'rehto')
    utimesSync(join(at.path, 'd/touched'), 5, 5)
    symlinkSync('mine', join(at.path, 'd/astray'))
    mkdirSync(join(at.path, 'd/dir'))
    const before = snapshot(join(at.path, 'd'))
    tar.reads.length = 0
    const exists = 'exists already; --overwrite replaces it'
    expect(told(await restore(at.path, tar))).toEqual([
      `failed d/astray: ${exists}`,
      'failed d/dir: a directory stands in its place',
      `failed d/other: ${exists}`,
      `failed d/touched: ${exists}`,
      'present d/link',
      'present d/same',
    ])
    expect(snapshot(join(at.path, 'd'))).toEqual(before)
    expect(tar.reads.every(({ offset }) => offset > (tar.entries[0]?.offset ?? 0))).toBe(true)
  })

  test('overwrite replaces files and symlinks, never directories, never through symlinks', async () => {
    using at = scratch()
    mkdirSync(join(at.path, 'out/d/dir'), { recursive: true })
    writeFileSync(join(at.path, 'victim'), 'victim')
    symlinkSync(join(at.path, 'victim'), join(at.path, 'out/d/file'))
    writeFileSync(join(at.path, 'out/d/link'), 'was a file')
    const tar = tarOf([
      { at: 'd/file', bytes: 'new', nlink: 2, ino: 4n },
      { at: 'd/dir', bytes: 'new' },
      { at: 'd/link', type: 'symlink', link: raw('file') },
    ])
    const first = tar.entries[0] as (typeof tar.entries)[0]
    tar.entries.push({ ...first, at: raw('d/name2') })
    const results = await restore(join(at.path, 'out'), tar, { overwrite: true })
    expect(told(results)).toEqual([
      'failed d/dir: a directory stands in its place',
      'placed d/file',
      'placed d/link',
      'placed d/name2',
    ])
    expect(readFileSync(join(at.path, 'victim'), 'utf8')).toBe('victim')
    expect(lstatSync(join(at.path, 'out/d/file')).isFile()).toBe(true)
    expect(statSync(join(at.path, 'out/d/file')).ino).toBe(statSync(join(at.path, 'out/d/name2')).ino)
    expect(readlinkSync(join(at.path, 'out/d/link'))).toBe('file')
    // Once more, over itself: still both names of one inode.
    await restore(join(at.path, 'out'), tar, { overwrite: true })
    expect(statSync(join(at.path, 'out/d/file')).nlink).toBe(2)
    expect(readdirSync(join(at.path, 'out')).sort()).toEqual(['d'])
  })

  test('after an interruption the missing names become links of those that are there', async () => {
    using at = scratch()
    const tar = tarOf([{ at: 'one', bytes: 'x', nlink: 3, ino: 9n }])
    const one = tar.entries[0] as (typeof tar.entries)[0]
    await restore(at.path, { ...tar, entries: [one] })
    const entries = ['zero', 'one', 'two'].map((name) => ({ ...one, at: raw(name) }))
    expect(told(await restore(at.path, { ...tar, entries }))).toEqual(['placed two', 'placed zero', 'present one'])
    expect(statSync(join(at.path, 'two')).nlink).toBe(3)
  })

  test('a symlink, a file or an open directory on the path stops what is below it', async () => {
    using at = scratch()
    mkdirSync(join(at.path, 'outside'))
    mkdirSync(join(at.path, 'out/open'), { recursive: true })
    chmodSync(join(at.path, 'out/open'), 0o777)
    symlinkSync(join(at.path, 'outside'), join(at.path, 'out/link'))
    writeFileSync(join(at.path, 'out/file'), '')
    const tar = tarOf([
      { at: 'link/f', bytes: 'x' },
      { at: 'link/sub/f', bytes: 'x' },
      { at: 'link' },
      { at: 'file/f', bytes: 'x' },
      { at: 'open/f', bytes: 'x' },
      { at: 'fine', bytes: 'x' },
    ])
    expect(told(await restore(join(at.path, 'out'), tar))).toEqual([
      'failed file/f: something stands where a directory of its path should be',
      'failed link/f: a symlink stands where a directory of its path should be',
      'failed link/sub/f: a symlink stands where a directory of its path should be',
      'failed link: a symlink stands where a directory of its path should be',
      'failed open/f: a directory on its path can be written by other users',
      'placed fine',
    ])
    expect(readdirSync(join(at.path, 'outside'))).toEqual([])
  })

  test('a directory that becomes a symlink between two bundles is noticed', async () => {
    using at = scratch()
    mkdirSync(join(at.path, 'outside'))
    const tar = tarOf([
      { at: 'd/one', bytes: 'x' },
      { at: 'd/two', bytes: 'x' },
    ])
    const placer = await open(join(at.path, 'out'))
    await collect(placer.place(tar.entries.slice(0, 1), tar.read))
    const { renameSync } = await import('node:fs')
    renameSync(join(at.path, 'out/d'), join(at.path, 'aside'))
    symlinkSync(join(at.path, 'outside'), join(at.path, 'out/d'))
    const results = await collect(placer.place(tar.entries.slice(1), tar.read))
    expect(told(results)).toEqual(['failed d/two: a symlink stands where a directory of its path should be'])
    await placer.finish(none)
    await placer.close()
    expect(readdirSync(join(at.path, 'outside'))).toEqual([])
    expect(statSync(join(at.path, 'aside')).mode & 0o7777).toBe(0o1700)
  })

  test('symlinks of an archive lead nothing else astray, in the same call or the next', async () => {
    using at = scratch()
    mkdirSync(join(at.path, 'outside'))
    const tar = tarOf([
      { at: 'd', type: 'symlink', link: raw(join(at.path, 'outside')) },
      { at: 'd/f', bytes: 'x' },
    ])
    const placer = await open(join(at.path, 'out'))
    expect(told(await collect(placer.place(tar.entries, tar.read)))).toEqual([
      'failed d: a directory stands in its place',
      'placed d/f',
    ])
    await placer.close()
    expect(readdirSync(join(at.path, 'outside'))).toEqual([])
  })
})

describe('interruptions', () => {
  test('an error of the vault comes after the results of what was placed', async () => {
    using at = scratch()
    const tar = tarOf([{ at: 'a', bytes: 'a' }, { at: 'b', bytes: big(4_000_000) }, { at: 'l', type: 'symlink', link: raw('a') }]) // biome-ignore format: short
    const broken = async function* (range: { offset: number; length: number }) {
      for await (const chunk of tar.read({ ...range, length: 2_200_000 })) yield chunk
      throw new Error('the vault burns')
    }
    const placer = await open(at.path)
    const seen: string[] = []
    await expect(
      (async () => {
        for await (const page of placer.place(tar.entries, broken)) seen.push(...told(page))
      })(),
    ).rejects.toThrow('the vault burns')
    expect(seen).toEqual(['placed a'])
    // The same placer goes on.
    expect(told(await collect(placer.place(tar.entries, tar.read)))).toEqual(['placed b', 'placed l', 'present a'])
    await placer.finish(none)
    await placer.close()
    expect(readdirSync(at.path).sort()).toEqual(['a', 'b', 'l'])
  })

  test('an abort ends a read that hangs', async () => {
    using at = scratch()
    const tar = tarOf([{ at: 'a', bytes: big(2_000_000) }])
    const controller = new AbortController()
    let closed = false
    const hanging = async function* (range: { offset: number; length: number }) {
      try {
        for await (const chunk of tar.read({ ...range, length: 1_100_000 })) yield chunk
        setTimeout(() => controller.abort(new Error('enough')), 20)
        await new Promise((resolve) => setTimeout(resolve, 300))
      } finally {
        closed = true
      }
    }
    const placer = await open(at.path)
    await expect(collect(placer.place(tar.entries, hanging, { signal: controller.signal }))).rejects.toThrow('enough')
    await placer.close()
    expect(readdirSync(at.path)).toEqual(['.firn-r1'])
    expect(readdirSync(join(at.path, '.firn-r1'))).toEqual(['directories'])
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect(closed).toBe(true)
    const early = await open(at.path)
    await expect(collect(early.place(tar.entries, tar.read, { signal: controller.signal }))).rejects.toThrow('enough')
    await early.close()
  })

  test('a consumer that stops early ends the reading', async () => {
    using at = scratch()
    const tar = tarOf(Array.from({ length: 600 }, (_, i) => ({ at: `d${i}/f`, bytes: big(20_000, i) })))
    const placer = await open(at.path)
    for await (const page of placer.place(tar.entries, tar.read)) {
      expect(page.length).toBeGreaterThan(0)
      break
    }
    await placer.close()
    const placed = readdirSync(at.path, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('/f'))
    expect(placed.length).toBeLessThan(600)
    expect(readdirSync(join(at.path, '.firn-r1'))).toEqual(['directories'])
    await expect(placer.finish(none)).rejects.toMatchObject({ code: 'failed' })
  })

  test('a later run finishes the directories of an earlier one, and clears what it staged', async () => {
    using at = scratch()
    const tar = tarOf([
      { at: 'a', mode: 0o750 },
      { at: 'a/b', mode: 0o500 },
      { at: 'a/b/f', bytes: 'x' },
      { at: 'z', bytes: 'x' },
    ])
    const first = await open(at.path)
    await collect(first.place(tar.entries.slice(0, 3), tar.read))
    await first.close()
    expect(statSync(join(at.path, 'a')).mode & 0o7777).toBe(0o1700)
    writeFileSync(join(at.path, '.firn-r1/17'), 'left behind')
    writeFileSync(join(at.path, '.firn-r1/directories'), 'a/torn rec', { flag: 'a' })

    const second = await open(at.path)
    expect(readdirSync(join(at.path, '.firn-r1'))).toEqual(['directories'])
    await collect(second.place(tar.entries, tar.read))
    const asked: Raw[] = []
    await second.finish(async (ats) => {
      asked.push(...ats)
      return new Map(tar.entries.map((entry) => [entry.at, entry]))
    })
    await second.close()
    expect(asked).toEqual(['a/torn rec', 'a/b', 'a'])
    // What a crash tore off names nothing that bears our mark.
    expect(statSync(join(at.path, 'a')).mode & 0o7777).toBe(0o750)
    expect(statSync(join(at.path, 'a/b')).mode & 0o7777).toBe(0o500)
    expect(readdirSync(at.path).sort()).toEqual(['a', 'z'])
  })

  test('a finish that failed can be repeated, and touches only what still bears the mark', async () => {
    using at = scratch()
    const tar = tarOf([{ at: 'a' }, { at: 'b' }, { at: 'c' }])
    const placer = await open(at.path)
    await collect(placer.place(tar.entries, tar.read))
    await expect(placer.finish(async () => Promise.reject(new Error('the catalog is down')))).rejects.toThrow(
      'the catalog is down',
    )
    chmodSync(join(at.path, 'b'), 0o711)
    await placer.finish(async () => new Map(tar.entries.map((entry) => [entry.at, entry])))
    await placer.close()
    const modes = ['a', 'b', 'c'].map((name) => (statSync(join(at.path, name)).mode & 0o7777).toString(8))
    expect(modes).toEqual(['755', '711', '755'])
  })

  test('two placers of one retrieval do not disturb each other', async () => {
    using at = scratch()
    const tar = tarOf(Array.from({ length: 300 }, (_, i) => ({ at: `d${i % 7}/f${i}`, bytes: big(10_000, i) })))
    const placers = await Promise.all([open(at.path), open(at.path)])
    const halves = [tar.entries.slice(0, 200), tar.entries.slice(100)]
    const all = await Promise.all(placers.map((placer, i) => collect(placer.place(halves[i] ?? [], tar.read))))
    expect(all.flat().filter(({ outcome }) => outcome === 'failed')).toEqual([])
    await placers[0]?.finish(none)
    await Promise.all(placers.map((placer) => placer.close()))
    expect(readdirSync(at.path)).toHaveLength(7)
  })

  test('several calls at once on one placer', async () => {
    using at = scratch()
    const tars = [1, 2, 3].map((n) =>
      tarOf(Array.from({ length: 40 }, (_, i) => ({ at: `t${n}/f${i}`, bytes: big(70_000, i + n) }))),
    )
    const placer = await open(at.path)
    const all = await Promise.all(tars.map((tar) => collect(placer.place(tar.entries, tar.read))))
    await placer.finish(none)
    await placer.close()
    expect(all.flat().map(({ outcome }) => outcome)).toEqual(Array(120).fill('placed'))
  })

  test('thousands of directories are finished block by block', async () => {
    using at = scratch()
    const names = Array.from({ length: 1300 }, (_, i) => `d${i % 10}/${'n'.repeat(40)}${i}`)
    const tar = tarOf(names.map((at) => ({ at, mode: 0o751 })))
    const placer = await open(at.path)
    await collect(placer.place(tar.entries, tar.read))
    const blocks: number[] = []
    await placer.finish(async (ats) => {
      blocks.push(ats.length)
      return new Map(tar.entries.map((entry) => [entry.at, entry]))
    })
    await placer.close()
    expect(Math.max(...blocks)).toBeLessThanOrEqual(500)
    expect(blocks.reduce((a, b) => a + b)).toBe(1310)
    expect(names.every((name) => (statSync(join(at.path, name)).mode & 0o7777) === 0o751)).toBe(true)
  })
})

test('a hard link that stands in the place of another name is the same file', async () => {
  using at = scratch()
  const tar = tarOf([
    { at: 'a', bytes: 'x' },
    { at: 'b', bytes: 'x' },
  ])
  await restore(at.path, { ...tar, entries: tar.entries.slice(0, 1) })
  linkSync(join(at.path, 'a'), join(at.path, 'b'))
  expect(told(await restore(at.path, tar))).toEqual(['present a', 'present b'])
})
