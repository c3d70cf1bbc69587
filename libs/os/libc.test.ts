import { closeSync, ftruncateSync, lstatSync, mkdirSync, openSync, symlinkSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { findHoles, getXattr, libcNotice, listXattrs, setTimes, setXattr } from './libc.js'
import { type Raw, rawFromBytes, rawFromText, rawToBytes } from './raw.js'
import { scratchDirectory } from './scratch-directory.js'
import { runScript, WITHOUT_KOFFI } from './test-process.js'

const directory = scratchDirectory()
const urls = { libc: new URL('./libc.js', import.meta.url).href }
const raw = (name: string): Raw => rawFromText(join(directory, name))

function fileAt(name: string, content = 'content'): Raw {
  writeFileSync(join(directory, name), content)
  return raw(name)
}

const timesOf = (path: Raw): [bigint, bigint] => {
  const stat = lstatSync(rawToBytes(path), { bigint: true })
  return [stat.atimeNs, stat.mtimeNs]
}

const errorOf = (act: () => unknown): NodeJS.ErrnoException | undefined => {
  try {
    act()
    return undefined
  } catch (error) {
    return error as NodeJS.ErrnoException
  }
}

const onLinux = process.platform === 'linux' ? describe : describe.skip

onLinux('times', () => {
  test('are set to the nanosecond, also before 1970', () => {
    const path = fileAt('times')
    // What ext4, xfs, btrfs and tmpfs all hold: 1902 to 2446.
    const ns = fc.bigInt({ min: -2_147_483_647n * 1_000_000_000n, max: 15_000_000_000n * 1_000_000_000n })
    fc.assert(
      fc.property(ns, ns, (atime, mtime) => {
        setTimes(path, atime, mtime)
        expect(timesOf(path)).toEqual([atime, mtime])
      }),
    )
    for (const edge of [-1n, 0n, -1_000_000_000n, -999_999_999n, -1_000_000_001n]) {
      setTimes(path, edge, edge)
      expect(timesOf(path)).toEqual([edge, edge])
    }
  })

  test('are those of a symlink, not of its target', () => {
    const target = fileAt('target')
    const before = timesOf(target)
    symlinkSync('target', join(directory, 'link'))
    setTimes(raw('link'), 1n, 2n)
    expect(timesOf(raw('link'))).toEqual([1n, 2n])
    expect(timesOf(target)).toEqual(before)
  })

  test('are set on names that are not UTF-8, and on directories', () => {
    const path = rawFromBytes(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0x80])]))
    mkdirSync(rawToBytes(path))
    setTimes(path, 5n, 1_700_000_000_123_456_789n)
    expect(timesOf(path)).toEqual([5n, 1_700_000_000_123_456_789n])
  })

  test('that cannot be set say why by a code', () => {
    expect(errorOf(() => setTimes(raw('nothing'), 0n, 0n))).toMatchObject({ code: 'ENOENT', syscall: 'utimensat' })
    expect(errorOf(() => setTimes(`${directory}/file\0x` as Raw, 0n, 0n))).toMatchObject({ code: 'EINVAL' })
  })
})

/** Some file systems have none (tmpfs before Linux 6.6). */
const hasXattrs =
  process.platform === 'linux' && errorOf(() => setXattr(fileAt('probe'), 'user.x', Buffer.from('x')))?.code !== 'ENOTSUP'
const withXattrs = hasXattrs ? describe : describe.skip

withXattrs(`extended attributes${hasXattrs ? '' : ` (skipped: ${directory} keeps none)`}`, () => {
  test('are kept byte for byte, of any size, also empty ones', () => {
    const path = fileAt('xattrs')
    expect(listXattrs(path)).toEqual([])
    const values: Record<string, Buffer> = {
      'user.empty': Buffer.alloc(0),
      'user.bytes': Buffer.from([0, 1, 255, 0]),
      'user.name with spaces': Buffer.from('x'),
      'user.long': Buffer.alloc(2500, 7), // more than the first try takes
    }
    for (const [name, value] of Object.entries(values)) setXattr(path, name, value)
    expect(listXattrs(path).sort()).toEqual(Object.keys(values).sort())
    for (const [name, value] of Object.entries(values)) expect(getXattr(path, name)).toEqual(value)
    setXattr(path, 'user.bytes', Buffer.from('another'))
    expect(getXattr(path, 'user.bytes')).toEqual(Buffer.from('another'))
  })

  test('that are not there are undefined', () => {
    expect(getXattr(fileAt('plain'), 'user.nothing')).toBeUndefined()
    expect(listXattrs(rawFromText('/proc/self/status'))).toEqual([])
    expect(getXattr(rawFromText('/proc/self/status'), 'user.nothing')).toBeUndefined()
  })

  test('are those of a symlink, never of what it points to', () => {
    const target = fileAt('with-xattr')
    setXattr(target, 'user.mine', Buffer.from('x'))
    symlinkSync('with-xattr', join(directory, 'xattr-link'))
    expect(listXattrs(raw('xattr-link'))).toEqual([])
    expect(getXattr(raw('xattr-link'), 'user.mine')).toBeUndefined()
    // Linux has no user attributes on symlinks.
    expect(errorOf(() => setXattr(raw('xattr-link'), 'user.mine', Buffer.from('y')))?.code).toBe('EPERM')
    expect(getXattr(target, 'user.mine')).toEqual(Buffer.from('x'))
  })

  test('that cannot be had say why by a code', () => {
    expect(errorOf(() => listXattrs(raw('nothing')))?.code).toBe('ENOENT')
    expect(errorOf(() => setXattr(fileAt('odd'), 'no-namespace', Buffer.from('x')))?.code).toBe('ENOTSUP')
    expect(errorOf(() => setXattr(fileAt('odd'), 'user.a\0b', Buffer.from('x')))?.code).toBe('EINVAL')
  })
})

onLinux('holes', () => {
  const MiB = 2 ** 20
  const holesOf = (size: number, writes: readonly [number, number][]): [number, number][] => {
    const fd = openSync(join(directory, 'sparse'), 'w+')
    try {
      ftruncateSync(fd, size)
      for (const [at, bytes] of writes) writeSync(fd, Buffer.alloc(bytes, 1), 0, bytes, at)
      return findHoles(fd, size)
    } finally {
      closeSync(fd)
    }
  }

  test('of a file full of data are none, and of an empty one, too', () => {
    expect(holesOf(2 * MiB, [[0, 2 * MiB]])).toEqual([])
    expect(holesOf(0, [])).toEqual([])
  })

  test('are found at the beginning, between and at the end', () => {
    expect(holesOf(8 * MiB, [])).toEqual([[0, 8 * MiB]])
    const writes: [number, number][] = [
      [2 * MiB, MiB],
      [5 * MiB, MiB],
    ]
    expect(holesOf(8 * MiB, writes)).toEqual([
      [0, 2 * MiB],
      [3 * MiB, 2 * MiB],
      [6 * MiB, 2 * MiB],
    ])
  })

  test('are found in a file of a terabyte', () => {
    const size = 10 ** 12
    const holes = holesOf(size, [[size / 2, 4096]])
    expect(holes).toHaveLength(2)
    expect(holes[0]![0]).toBe(0)
    expect(holes[1]![0] + holes[1]![1]).toBe(size)
  })

  test('are none where the system does not tell', () => {
    const fd = openSync('/proc/self/status', 'r')
    expect(findHoles(fd, 100).length).toBeLessThanOrEqual(1)
    closeSync(fd)
    expect(findHoles(fd, 100)).toEqual([])
  })
})

describe('where koffi does not load', () => {
  const path = () => JSON.stringify(join(directory, 'without'))
  const ask = (script: string) => runScript(urls, script, { before: WITHOUT_KOFFI })

  test('one sentence says so', () => {
    expect(ask('say(libc.libcNotice())')).toMatch(/^koffi does not load \(no build for this machine\): .*\.$/)
    if (process.platform === 'linux') expect(libcNotice()).toBeUndefined()
  })

  test('times are kept to the microsecond, also before 1970', () => {
    fileAt('without')
    ask(`libc.setTimes(${path()}, -1500000n, 1234567890123456789n); say(0)`)
    const [atime, mtime] = timesOf(raw('without'))
    expect(Number(atime - -1_500_000n)).toBeCloseTo(0, -4)
    expect(Number(mtime - 1_234_567_890_123_456_789n)).toBeCloseTo(0, -4)
  })

  test('there are no attributes and no holes, and setting one is refused as by a file system without them', () => {
    fileAt('without')
    const script = `
      let code
      try { libc.setXattr(${path()}, 'user.x', Buffer.from('x')) } catch (error) { code = error.code }
      say([libc.listXattrs(${path()}), libc.getXattr(${path()}, 'user.x') === undefined, libc.findHoles(fs.openSync(${path()}), 7), code])`
    expect(ask(script)).toEqual([[], true, [], 'ENOTSUP'])
  })

  test('nothing is loaded before the first call', () => {
    const script = `say([typeof libc.flock, process.report.getReport().sharedObjects.filter((name) => name.includes('koffi'))])`
    expect(runScript(urls, script)).toEqual(['function', []])
  })
})

test('a read lease is not to be had of a file that is open for writing, and ends when somebody opens it so', () => {
  const path = JSON.stringify(join(directory, 'leased'))
  const script = `
    fs.writeFileSync(${path}, 'x')
    const writer = fs.openSync(${path}, 'r+')
    const reader = fs.openSync(${path}, 'r')
    const first = libc.takeReadLease(reader)
    fs.closeSync(writer)
    const second = [libc.takeReadLease(reader), libc.holdsReadLease(reader)]
    const open = 'try { fs.openSync(' + JSON.stringify(${path}) + ', fs.constants.O_WRONLY | fs.constants.O_NONBLOCK) } catch (error) { console.log(error.code) }'
    const { execFileSync } = await import('node:child_process')
    const refused = execFileSync(process.execPath, ['-e', open], { encoding: 'utf8' }).trim()
    await new Promise((resolve) => setTimeout(resolve, 50)) // the signal of it ends nobody
    say({ first, second, refused, held: libc.holdsReadLease(reader) })`
  expect(runScript({ libc: new URL('./libc.js', import.meta.url).href }, script)).toEqual({
    first: 'written',
    second: ['taken', true],
    refused: 'EAGAIN',
    held: false,
  })
})
