import { execFileSync, spawnSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { getXattr, setXattr } from '#libs/os/libc.js'
import { type Raw, rawFromBytes, rawToBytes } from '#libs/os/raw.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { describeWith } from '../../test/tools.js'
import { type MemberHead, padded, prepareHead, writePrepared } from './tar-header.js'
import { xattrRecords } from './xattrs.js'

const scratch = scratchDirectory()

const head = (name: string, more: Partial<MemberHead> = {}): MemberHead => ({
  name: name as Raw,
  type: 'file',
  size: 0,
  mode: 0o644,
  uid: 0,
  gid: 0,
  uname: '',
  gname: '',
  mtimeNs: 1_600_000_000_000_000_000n,
  ...more,
})

/** A whole tar of members with these bytes. */
function tarOf(members: readonly (MemberHead & { bytes?: string })[]): Buffer {
  const parts = members.map((member) => {
    const bytes = Buffer.from(member.bytes ?? '', 'latin1')
    const prepared = prepareHead({ ...member, size: bytes.length })
    // Into a buffer that holds other things already, as in a packing.
    const buffer = Buffer.alloc(prepared.bytes + padded(bytes.length), 0xee)
    expect(writePrepared(prepared, buffer, 0)).toBe(prepared.bytes)
    buffer.fill(0, prepared.bytes)
    bytes.copy(buffer, prepared.bytes)
    return buffer
  })
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}

let count = 0
function tarFile(members: Parameters<typeof tarOf>[0]): string {
  const path = join(scratch, `${count++}.tar`)
  writeFileSync(path, tarOf(members))
  return path
}

/** What a tool says; it must be content and must not grumble. */
function quietly(tool: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(tool, args, {
    encoding: 'latin1',
    env: { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC' },
  })
  expect({ tool, stderr, status }).toEqual({ tool, stderr: '', status: 0 })
  return stdout
}

/** One name for each length: components short enough for a file system, plain, UTF-8, or neither. */
function nameOf(length: number, letter: string, component = 60): string {
  let name = ''
  while (name.length < length) name += name.length % component === component - 1 ? '/' : letter[name.length % letter.length]
  // No directory is called as a file is.
  return `${name.slice(0, length - 1)}Z`
}

const PYTHON_EXTRACT = `
import sys, tarfile
tar = tarfile.open(sys.argv[1], errors='surrogateescape', encoding='utf-8')
names = [member.name for member in tar]
options = {'filter': 'fully_trusted'} if hasattr(tarfile, 'fully_trusted_filter') else {}
tar.extractall(sys.argv[2], **options)
sys.stdout.buffer.write(b'\\0'.join(name.encode('utf-8', 'surrogateescape') for name in names))
`

/** How each reader unpacks a tar into a directory. GNU tar calls times before 1970 and after now strange, whoever wrote them. */
const READERS: readonly { tool: string; extract: (tar: string, into: string) => void }[] = [
  { tool: 'tar', extract: (tar, into) => quietly('tar', ['--warning=no-timestamp', '-xpf', tar, '-C', into]) },
  { tool: 'bsdtar', extract: (tar, into) => quietly('bsdtar', ['-xpf', tar, '-C', into]) },
  { tool: 'python3', extract: (tar, into) => quietly('python3', ['-c', PYTHON_EXTRACT, tar, into]) },
]

/** Everything below a directory: path (latin1) to what it is. */
function seen(root: string): Map<string, { mtimeNs: bigint; ino: bigint; mode: number; what: string }> {
  const found = new Map<string, { mtimeNs: bigint; ino: bigint; mode: number; what: string }>()
  const walk = (directory: Buffer, prefix: string) => {
    for (const name of readdirSync(directory, { encoding: 'buffer' }) as unknown as Buffer[]) {
      const path = Buffer.concat([directory, Buffer.from('/'), name])
      const stat = lstatSync(path, { bigint: true })
      const at = `${prefix}${name.toString('latin1')}`
      const what = stat.isDirectory()
        ? 'directory'
        : stat.isSymbolicLink()
          ? `-> ${readlinkSync(path, 'latin1')}`
          : readFileSync(path, 'latin1')
      found.set(at, { mtimeNs: stat.mtimeNs, ino: stat.ino, mode: Number(stat.mode & 0o7777n), what })
      if (stat.isDirectory()) walk(path, `${at}/`)
    }
  }
  walk(Buffer.from(root), '')
  return found
}

/** Unpacked by each tool. */
function inEach(
  members: Parameters<typeof tarOf>[0],
  check: (files: ReturnType<typeof seen>, root: string, tool: string) => void,
) {
  const tar = tarFile(members)
  for (const { tool, extract } of READERS) {
    const into = join(scratch, `${count++}.${tool}`)
    mkdirSync(into)
    extract(tar, into)
    try {
      check(seen(into), into, tool)
    } catch (error) {
      throw new Error(`as ${tool} has it: ${(error as Error).message}`, { cause: error })
    }
  }
}

/** A file of each name, with its own name in it. */
const filesOf = (names: readonly string[]) => names.map((name) => ({ ...head(name), bytes: `<${name}>` }))

function expectNames(names: readonly string[]) {
  inEach(filesOf(names), (files) => {
    for (const name of names) expect([name, files.get(name)?.what]).toEqual([name, `<${name}>`])
  })
}

const AROUND = [
  1, 2, 50, 98, 99, 100, 101, 102, 153, 154, 155, 156, 157, 254, 255, 256, 257, 258, 259, 299, 300, 511, 512, 513, 1023, 1500,
]

describeWith(['tar', 'bsdtar', 'python3'], 'the head of a member, as GNU tar, bsdtar and Python read it', () => {
  test('names of every length up to 300 bytes', () => {
    expectNames(Array.from({ length: 300 }, (_, i) => nameOf(i + 1, 'abc')))
  })

  test('names that can be cut into prefix and name only in one place, or nowhere', () => {
    for (const parts of [
      [155, 100],
      [154, 100],
      [156, 99],
      [155, 101],
      [1, 100],
      [1, 101],
      [100, 155],
    ]) {
      expectNames([parts.map((length) => 'p'.repeat(length)).join('/')])
    }
  })

  test('names in UTF-8, where characters of several bytes lie over every border', () => {
    for (const shift of ['', 'a', 'ab'])
      expectNames(AROUND.map((length) => rawFromBytes(Buffer.from(shift + nameOf(length, '€é', 40)))))
  })

  test('names that are not UTF-8, short and long', () => {
    expectNames([...AROUND.map((length) => nameOf(length, '\xff\xfea')), 'caf\xe9', '\xc3', 'a\xff'])
  })

  test('names with line breaks, control characters, spaces and signs', () => {
    const awkward = ['a\nb', '\n', '\x01\x1b[31m', 'a=b', ' a', 'a ', '12 path=x\n', '"\\\'$`', '*?[', '-rf', 'a\tb', '\x7f']
    expectNames([...awkward, ...awkward.map((name) => `in ${name}/${'long'.repeat(30)}`)])
  })

  test('directories of every awkward length keep the slash that tells them', () => {
    const names = AROUND.map((length) => nameOf(length, 'dir'))
    for (const list of [names, AROUND.map((length) => nameOf(length, '\xffir'))]) {
      inEach(
        list.map((name) => head(`${name}/`, { type: 'directory', mode: 0o751 })),
        (files) => {
          for (const name of list) expect([name, files.get(name)]).toMatchObject([name, { what: 'directory', mode: 0o751 }])
        },
      )
    }
  })

  test('symlinks to targets of every kind', () => {
    const targets = [
      'x',
      '/',
      '..',
      'caf\xc3\xa9',
      'a\nb',
      '\xff',
      ...AROUND.flatMap((length) => [nameOf(length, 'abc'), nameOf(length, '\xfe\xff')]),
    ]
    inEach(
      targets.map((link, i) => head(`${i}`, { type: 'symlink', link: link as Raw, mode: 0o777 })),
      (files) => targets.forEach((target, i) => void expect(files.get(`${i}`)?.what).toBe(`-> ${target}`)),
    )
  })

  test('hard links whose first name is long or not UTF-8', () => {
    const names = ['a', 'caf\xc3\xa9', '\xff', ...AROUND.flatMap((length) => [nameOf(length, 'abc'), nameOf(length, '\xfe\xff')])]
    inEach(
      names.flatMap((name, i) => [
        { ...head(`${i}/${name}`), bytes: `<${i}>` },
        head(`${i}/.other-${nameOf(i * 8 + 1, '\xc3\xa9')}`, { type: 'hardlink', link: `${i}/${name}` as Raw }),
      ]),
      (files) => {
        names.forEach((name, i) => {
          const first = files.get(`${i}/${name}`)
          expect(first?.what).toBe(`<${i}>`)
          const links = [...files].filter(([path, { ino }]) => path.startsWith(`${i}/`) && ino === first?.ino)
          expect(links).toHaveLength(2)
        })
      },
    )
  })

  test('every mode', () => {
    const modes = [0, 0o400, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o7777]
    inEach(
      modes.map((mode) => head(`m${mode}`, { mode })),
      (files) => modes.forEach((mode) => void expect(files.get(`m${mode}`)?.mode).toBe(mode)),
    )
  })

  test('owners beyond what seven octal digits hold', () => {
    const owners = [0, 1000, 0o7777777, 0o7777777 + 1, 65_534, 2 ** 31, 2 ** 32 - 2]
    const tar = tarFile(owners.map((uid, i) => head(`o${i}`, { uid, gid: uid })))
    const ids = owners.map((id) => `${id}/${id}`)
    expect(quietly('tar', ['--numeric-owner', '-tvf', tar]).match(/\d+\/\d+/g)).toEqual(ids)
    expect(
      quietly('bsdtar', ['--numeric-owner', '-tvf', tar])
        .match(/ \d+ +\d+ +0 /g)
        ?.map((line) => line.trim().split(/ +/).slice(0, 2).join('/')),
    ).toEqual(ids)
    expect(
      quietly('python3', ['-c', 'import sys,tarfile\nfor m in tarfile.open(sys.argv[1]): print(f"{m.uid}/{m.gid}")', tar])
        .trim()
        .split('\n'),
    ).toEqual(ids)
  })

  test('names of owners, also longer than their field, in any alphabet', () => {
    const tar = tarFile([
      head('a', { uname: 'ann', gname: 'users' }),
      head('b', { uname: 'u'.repeat(40), gname: 'é'.repeat(20) }),
    ])
    const expected = ['ann/users', `${'u'.repeat(40)}/${'é'.repeat(20)}`]
    const listed = Buffer.from(quietly('tar', ['-tvf', tar]), 'latin1')
      .toString()
      .split('\n')
    expect(listed.slice(0, 2).map((line) => line.split(/ +/)[1])).toEqual(expected)
    expect(quietly('bsdtar', ['-tvf', tar])).toContain('ann')
  })
})

describeWith(['tar', 'bsdtar', 'python3'], 'times in a head', () => {
  const read = (tool: string, mtimeNs: bigint): bigint => {
    const tar = tarFile([head('t', { mtimeNs })])
    const into = join(scratch, `${count++}.times`)
    mkdirSync(into)
    READERS.find((reader) => reader.tool === tool)?.extract(tar, into)
    return seen(into).get('t')?.mtimeNs as bigint
  }
  const times = [
    0n,
    1n,
    999_999_999n,
    1_600_000_000_123_456_789n,
    1_600_000_000_100_000_000n,
    1_600_000_000_000_000_000n,
    4_102_444_800_000_000_001n,
  ]

  test.each(['tar', 'bsdtar'])('come back to the nanosecond with %s', (tool) => {
    for (const time of times) expect([time, read(tool, time)]).toEqual([time, time])
  })

  test('before 1970, and in the year 2400, come back with GNU tar', () => {
    for (const time of [-1n, -1_000_000_000n, -1_500_000_000n, -999_999_999n, -86_400_000_000_001n, 13_569_465_600_000_000_007n])
      expect([time, read('tar', time)]).toEqual([time, time])
  })

  test('of any size are read without complaint by all', () => {
    const far = [-1n, -1_500_000_000n, -(2n ** 62n), 8_589_934_591n * 10n ** 9n, 8_589_934_592n * 10n ** 9n, 2n ** 66n]
    const tar = tarFile(far.map((mtimeNs, i) => head(`t${i}`, { mtimeNs })))
    for (const [tool, ...args] of [
      ['tar', '-tvf'],
      ['bsdtar', '-tf'],
      ['python3', '-c', 'import sys,tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.name)'],
    ])
      expect(
        quietly(tool as string, [...args, tar])
          .trim()
          .split('\n'),
      ).toHaveLength(far.length)
    const seconds = quietly('python3', ['-c', 'import sys,tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.mtime)', tar])
      .trim()
      .split('\n')
      .map(Number)
    expect(seconds.slice(0, 2)).toEqual([-1e-9, -1.5])
  })
})

describeWith(['tar', 'bsdtar', 'python3'], 'sizes in a head', () => {
  // Only the head: eight gigabytes of data need not follow for the size to be read.
  test.each([8 * 2 ** 30 - 1, 8 * 2 ** 30, 2 ** 40 + 1, 2 ** 52 + 511])('of %d bytes are read', (size) => {
    const prepared = prepareHead(head('big', { size }))
    const buffer = Buffer.alloc(prepared.bytes)
    writePrepared(prepared, buffer, 0)
    const tar = join(scratch, `${count++}.tar`)
    writeFileSync(tar, buffer)
    for (const [tool, ...args] of [
      ['tar', '-tvf', tar],
      ['bsdtar', '-tvf', tar],
      ['python3', '-c', 'import sys,tarfile\nprint(tarfile.open(sys.argv[1]).next().size)', tar],
    ]) {
      const { stdout } = spawnSync(tool as string, args as string[], { encoding: 'utf8' })
      expect([tool, stdout]).toEqual([tool, expect.stringContaining(String(size))])
    }
  })
})

describeWith(['tar', 'bsdtar', 'setfacl', 'getfacl'], 'xattrs and ACLs in a head', () => {
  const source = join(scratch, 'with-xattrs')
  const value = Buffer.from([0, 1, 10, 0x3d, 0xff, 0])
  let supported = false
  beforeAll(() => {
    mkdirSync(source)
    try {
      setXattr(source as Raw, 'user.directory', Buffer.from('of a directory'))
      execFileSync('setfacl', ['-m', 'u:1234:rw,g:4321:r,d:u:1234:rwx', source])
      supported = true
    } catch {
      // this file system has none: nothing to compare with
    }
  })
  const xattrs = (): Record<string, string> => {
    const acl = (name: string) => (getXattr(source as Raw, name) as Buffer).toString('base64')
    return {
      'user.plain': Buffer.from('text').toString('base64'),
      'user.binary': value.toString('base64'),
      'user.empty': '',
      'user.caf\u00e9': Buffer.from('x').toString('base64'),
      'system.posix_acl_access': acl('system.posix_acl_access'),
      'system.posix_acl_default': acl('system.posix_acl_default'),
    }
  }

  test.each(['tar', 'bsdtar'])('come back with %s --acls --xattrs', (tool) => {
    if (!supported) return
    const kept = xattrs()
    for (const name of ['d/', `${nameOf(200, 'dir')}/`, '\xff\xfe/', `${nameOf(200, '\xfe')}/`]) {
      const tar = tarFile([head(name, { type: 'directory', mode: 0o755, records: xattrRecords(kept) })])
      const into = join(scratch, `${count++}.x`)
      mkdirSync(into)
      quietly(tool, ['--acls', '--xattrs', '-xpf', tar, '-C', into])
      const path = rawFromBytes(Buffer.concat([Buffer.from(`${into}/`), rawToBytes(name.slice(0, -1) as Raw)]))
      for (const [attribute, base64] of Object.entries(kept)) {
        // bsdtar sets no empty attribute.
        if (tool === 'bsdtar' && base64 === '') continue
        expect([name, attribute, getXattr(path, attribute)?.toString('base64')]).toEqual([name, attribute, base64])
      }
    }
  })
})

describe('a head', () => {
  test('with values of every length counts itself right', () => {
    for (let length = 0; length < 1_100; length++) {
      const records = new Map([['SCHILY.xattr.user.x' as Raw, 'a'.repeat(length) as Raw]])
      const prepared = prepareHead(head('a', { records }))
      const { bytes } = prepared
      const buffer = Buffer.alloc(bytes)
      writePrepared(prepared, buffer, 0)
      const size = Number.parseInt(buffer.toString('latin1', 124, 135), 8)
      const text = buffer.toString('latin1', 512, 512 + size)
      expect(Number(text.split(' ')[0])).toBe(size)
      expect(text.endsWith('\n')).toBe(true)
      expect(bytes).toBe(512 + padded(size) + 512)
    }
  })

  test('of a plain name with a whole second is one block, and two more for the nanoseconds', () => {
    expect(prepareHead(head('a')).bytes).toBe(512)
    expect(prepareHead(head('a', { mtimeNs: 1n })).bytes).toBe(1536)
  })
})
