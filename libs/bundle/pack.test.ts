import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, describe, expect, test } from '@jest/globals'
import { setTimes, setXattr } from '#libs/os/libc.js'
import type { Raw } from '#libs/os/raw.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { describeWith } from '../../test/tools.js'
import type { PlannedEntry } from './entry.js'
import { openPacker } from './pack.js'
import { BUNDLE, headerOf, membersOf, packWhole, planned, plannedTree, requestOf, sha256 } from './test-packing.js'

const scratch = scratchDirectory()
const packer = openPacker({ threads: 1 })
afterAll(() => packer.close())

const MIB = 2 ** 20
let count = 0
/** A directory of a test's own. */
function directory(): string {
  const path = join(scratch, `d${count++}`)
  mkdirSync(path)
  return path
}
/** A file of a test's own, with content of its own. */
function file(bytes: number | string = 'content', name?: string): string {
  const path = name ?? join(scratch, `f${count++}`)
  const content = typeof bytes === 'string' ? bytes : contentOf(bytes)
  writeFileSync(Buffer.from(path, 'latin1'), content)
  return path
}
function contentOf(bytes: number): Buffer {
  const content = Buffer.alloc(bytes)
  for (let i = 0; i < bytes; i += 97) content[i] = (i * 31 + bytes) % 251
  return content
}
/** The entries of a manifest, as JSON. */
const linesOf = (manifest: Uint8Array) =>
  Buffer.from(manifest)
    .toString()
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => JSON.parse(line))
/** In Latin-1, so that names need not be UTF-8. */
const latin1 = (path: string) => Buffer.from(path, 'latin1')
const pack = (entries: readonly PlannedEntry[], more: Parameters<typeof requestOf>[1] = {}) =>
  packWhole(packer, requestOf(entries, more))

describe('a packed tree', () => {
  const root = directory()
  mkdirSync(join(root, 'sub'), { mode: 0o751 })
  mkdirSync(join(root, 'empty'))
  file(5_000, join(root, 'plain'))
  file(0, join(root, 'nothing'))
  file('in latin1', `${root}/caf\xe9`)
  file('in UTF-8', `${root}/caf\xc3\xa9`)
  file('lines', `${root}/a\nb\x1b`)
  file('deep', join(root, 'sub', 'n'.repeat(200)))
  file(3 * MIB + 5, join(root, 'large'))
  symlinkSync('nowhere', join(root, 'dangling'))
  symlinkSync(latin1('\xff'), join(root, 'odd'))
  file('linked', join(root, 'first'))
  linkSync(join(root, 'first'), join(root, 'sub', 'second'))
  setTimes(join(root, 'plain') as Raw, 1n, 1_600_000_000_123_456_789n)
  setTimes(join(root, 'nothing') as Raw, 1n, -1_500_000_000n)
  chmodSync(join(root, 'plain'), 0o4640)

  test('has for every entry a line that says what lstat says, in the order of the plan', async () => {
    const tree = plannedTree(root)
    const { entries, problems } = await pack(tree)
    expect(problems).toEqual([])
    expect(entries.map(({ path }) => path)).toEqual(tree.map(({ path }) => path))
    // Looking at directories and symlinks moves their atime, where it is kept.
    tree.forEach(({ link: _, atimeNs, ...stat }, i) => {
      expect(entries[i]).toMatchObject(stat.type === 'file' ? { ...stat, atimeNs } : stat)
    })
    expect(entries.filter(({ type }) => type === 'directory').map(({ size }) => size)).toEqual([0, 0, 0])
  })

  test('holds each file where the manifest says, with the hash that it says', async () => {
    const whole = await pack(plannedTree(root))
    for (const entry of whole.entries) {
      if (entry.type !== 'file' && entry.type !== 'hardlink') {
        expect(entry).not.toHaveProperty('sha256')
        expect(entry).not.toHaveProperty('offset')
        continue
      }
      const content = readFileSync(latin1(entry.path))
      expect(whole.data(entry.path).equals(content)).toBe(true)
      expect(entry.sha256).toBe(sha256(content))
    }
  })

  test('keeps links as links, the bytes of an inode once', async () => {
    const whole = await pack(plannedTree(root))
    expect(whole.entry(`${root}/dangling`).link).toBe('nowhere')
    expect(whole.entry(`${root}/odd`).link).toBe('\xff')
    const [first, second] = [whole.entry(`${root}/first`), whole.entry(`${root}/sub/second`)]
    expect(second).toMatchObject({
      type: 'hardlink',
      link: first.path,
      size: 6,
      offset: first.offset,
      sha256: first.sha256,
      nlink: 2,
    })
    expect(whole.tar.toString('latin1').split('linked').length).toBe(2)
  })

  test('is a tar of whole records, with the manifest as its last member, and the hash that was said', async () => {
    const { tar, tarBytes, tarSha256, manifest } = await pack(plannedTree(root))
    expect(tar.length).toBe(tarBytes)
    expect(tarBytes % 10_240).toBe(0)
    expect(sha256(tar)).toBe(tarSha256)
    const last = membersOf(tar).at(-1)
    expect(last).toMatchObject({ name: '.firn/manifest.ndjson', flag: '0', size: manifest.length })
    expect(tar.subarray(last?.offset, (last?.offset ?? 0) + manifest.length).equals(Buffer.from(manifest))).toBe(true)
  })

  test('is the same tar, byte for byte, when packed again', async () => {
    const tree = plannedTree(root)
    expect((await pack(tree)).tarSha256).toBe((await pack(tree)).tarSha256)
  })

  test('leaves the atimes of its files where they were', async () => {
    const old = new Date('2001-02-03')
    for (const name of ['plain', 'large']) utimesSync(join(root, name), old, lstatSync(join(root, name)).mtime)
    await pack(plannedTree(root))
    for (const name of ['plain', 'large']) expect(lstatSync(join(root, name)).atime).toEqual(old)
  })

  describeWith(['tar'], 'by GNU tar', () => {
    test('compares equal to the sources', async () => {
      const tar = join(directory(), 'a.tar')
      writeFileSync(tar, (await pack(plannedTree(root))).tar)
      // The manifest is no source; all the rest must be there and be equal, in silence.
      const said = execFileSync('tar', ['--compare', '-f', tar, '-C', '/', '--exclude=.firn'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      expect(said).toBe('')
    })
  })

  describeWith(['bsdtar'], 'by bsdtar', () => {
    test('comes out as it went in', async () => {
      const into = directory()
      const tar = join(into, 'a.tar')
      writeFileSync(tar, (await pack(plannedTree(root))).tar)
      // In the C locale it has no names that are not ASCII.
      const env = { ...process.env, LC_ALL: 'C.UTF-8' }
      execFileSync('bsdtar', ['-xpf', tar, '-C', into], { env, stdio: ['ignore', 'inherit', 'pipe'] })
      const before = plannedTree(root)
      const after = plannedTree(join(into, root))
      const what = (entries: readonly PlannedEntry[], from: string) =>
        entries.map(({ path, type, size, mtimeNs, mode, link }) => ({
          path: path.slice(from.length),
          type,
          size,
          mtimeNs,
          mode,
          link: link?.slice(from.length),
        }))
      // libarchive reads "-1.5" as half a second before 1970.
      const comparable = (entries: readonly PlannedEntry[], from: string) =>
        what(entries, from).filter(({ path }) => path !== '/nothing')
      expect(comparable(after, join(into, root))).toEqual(comparable(before, root))
    })
  })
})

describe('sizes', () => {
  test('around those of a block and of a buffer are kept to the byte', async () => {
    const sizes = [
      0,
      1,
      511,
      512,
      513,
      MIB - 1537,
      MIB - 1536,
      MIB - 1535,
      MIB - 513,
      MIB - 512,
      MIB - 511,
      MIB - 1,
      MIB,
      MIB + 1,
      2 * MIB,
      2 * MIB + 513,
    ]
    const paths = sizes.map((size) => file(size))
    const whole = await pack(paths.map((path) => planned(path)))
    for (const path of paths) expect(whole.data(path).equals(readFileSync(path))).toBe(true)
    expect(membersOf(whole.tar).filter(({ flag }) => flag === '0')).toHaveLength(sizes.length + 1)
  })

  test('of a plan without entries: a tar of the manifest alone', async () => {
    const { tar, entries } = await pack([])
    expect(entries).toEqual([])
    expect(membersOf(tar).map(({ name }) => name)).toEqual(['.firn/manifest.ndjson'])
    expect(tar.length).toBe(10_240)
  })

  test('of a path /', async () => {
    const { tar, entries } = await pack([planned('/')])
    expect(entries).toMatchObject([{ path: '/', type: 'directory' }])
    expect(membersOf(tar).filter(({ flag }) => flag === '5')).toMatchObject([{ name: './' }])
  })
})

describe('hard links', () => {
  const group = (): [string, string, string] => {
    const root = directory()
    const names: [string, string, string] = [join(root, 'a'), join(root, 'b'), join(root, 'c')]
    file('of one inode', names[0])
    linkSync(names[0], names[1])
    linkSync(names[0], names[2])
    return names
  }
  const planOf = ([a, b, c]: [string, string, string]) => [
    planned(a),
    planned(b, { type: 'hardlink', link: a as Raw }),
    planned(c, { type: 'hardlink', link: a as Raw }),
  ]

  test('whose first name vanished hang on the next one', async () => {
    const [a, b, c] = group()
    const plan = planOf([a, b, c])
    rmSync(a)
    const whole = await pack(plan)
    expect(whole.problems).toEqual([{ path: a, kind: 'failed', reason: 'vanished before it was read' }])
    expect(whole.entry(b)).toMatchObject({ type: 'file' })
    expect(whole.entry(c)).toMatchObject({ type: 'hardlink', link: b, offset: whole.entry(b).offset })
    expect(whole.data(c).toString()).toBe('of one inode')
  })

  test('of which one was replaced by a file of its own carry its bytes apart', async () => {
    const [a, b, c] = group()
    const plan = planOf([a, b, c])
    rmSync(b)
    file('another', b)
    const whole = await pack(plan)
    expect(whole.entry(b)).toMatchObject({ type: 'file' })
    expect(whole.data(b).toString()).toBe('another')
    expect(whole.entry(c)).toMatchObject({ type: 'hardlink', link: a })
    expect(whole.data(c).toString()).toBe('of one inode')
  })

  test('to a first name that was replaced still find their own bytes', async () => {
    const [a, b, c] = group()
    const plan = planOf([a, b, c])
    rmSync(a)
    file('another', a)
    const whole = await pack(plan)
    expect(whole.problems).toEqual([])
    expect([a, b, c].map((path) => whole.data(path).toString())).toEqual(['another', 'of one inode', 'of one inode'])
    expect(whole.entry(c)).toMatchObject({ type: 'hardlink', link: b })
  })

  test('to bytes that an earlier bundle holds point there, and have no members', async () => {
    const [a, b, c] = group()
    const held = { bundle: 'e0000000-0000-4000-8000-000000000009', offset: 4_711, sha256: sha256('of one inode') }
    const [first, ...others] = planOf([a, b, c])
    const whole = await pack([{ ...(first as PlannedEntry), held }, ...others])
    for (const path of [a, b, c])
      expect(whole.entry(path)).toMatchObject({ dataBundle: held.bundle, offset: 4_711, sha256: held.sha256 })
    expect(membersOf(whole.tar)).toHaveLength(1)
  })
})

describe('a file that an earlier bundle holds', () => {
  const bundle = 'e0000000-0000-4000-8000-000000000009'

  test.each([10, 3 * MIB])('is not sent again while its %d bytes are the same, and is when they are not', async (bytes) => {
    const path = file(bytes)
    const held = { bundle, offset: 1_536, sha256: sha256(readFileSync(path)) }
    const same = await pack([planned(path, { held })])
    expect(same.entries).toMatchObject([{ path, dataBundle: bundle, offset: 1_536, sha256: held.sha256, state: 'ok' }])
    expect(membersOf(same.tar)).toHaveLength(1)

    const other = await pack([planned(path, { held: { ...held, sha256: sha256('something else') } })])
    expect(other.entry(path)).not.toHaveProperty('dataBundle')
    expect(sha256(other.data(path))).toBe(held.sha256)
  })
})

describe('what changed since the crawl', () => {
  const cases: [string, (path: string) => void, string][] = [
    ['vanished', () => {}, 'vanished before it was read'],
    ['became a FIFO', (path) => execFileSync('mkfifo', [path]), 'was a file and is a special file now'],
    ['became a symlink', (path) => symlinkSync('/etc/passwd', path), 'was a file and is a symlink now'],
    ['became a dangling symlink', (path) => symlinkSync('nowhere', path), 'was a file and is a symlink now'],
    ['became a directory', (path) => mkdirSync(path), 'was a file and is a directory now'],
  ]
  test.each(cases)('a file that %s is named, and the others are packed', async (_, become, reason) => {
    const paths = [file('before'), file('it'), file('after')]
    const plan = paths.map((path) => planned(path))
    rmSync(paths[1] as string)
    become(paths[1] as string)
    const { entries, problems, tar } = await pack(plan)
    expect(problems).toEqual([{ path: paths[1], kind: 'failed', reason }])
    expect(entries.map(({ path }) => path)).toEqual([paths[0], paths[2]])
    membersOf(tar)
  })

  test('a file whose directory is no directory any more is named', async () => {
    const root = directory()
    const path = file('x', join(root, 'f'))
    const plan = [planned(path), planned(root)]
    rmSync(root, { recursive: true })
    file('now a file', root)
    const { problems } = await pack(plan)
    expect(problems).toEqual([
      { path, kind: 'failed', reason: 'vanished before it was read' },
      { path: root, kind: 'failed', reason: 'was a directory and is a file now' },
    ])
  })

  test('symlinks and directories that vanished or became something else are named', async () => {
    const root = directory()
    symlinkSync('x', join(root, 'link'))
    mkdirSync(join(root, 'gone'))
    const plan = [planned(join(root, 'link')), planned(join(root, 'gone'))]
    rmSync(join(root, 'link'))
    mkdirSync(join(root, 'link'))
    rmSync(join(root, 'gone'), { recursive: true })
    expect((await pack(plan)).problems.map(({ reason }) => reason)).toEqual([
      'was a symlink and is a directory now',
      'vanished before it was read',
    ])
  })

  test.each([1_000, 3 * MIB])('a file of %d bytes is packed as it is now: longer, shorter, or another one', async (bytes) => {
    const [longer, shorter, other] = [file(bytes), file(bytes), file(bytes)]
    const plan = [longer, shorter, other].map((path) => planned(path))
    appendFileSync(longer, 'and more')
    truncateSync(shorter, 10)
    writeFileSync(`${other}.new`, 'saved anew')
    renameSync(`${other}.new`, other)
    const whole = await pack(plan)
    expect(whole.problems).toEqual([])
    for (const path of [longer, shorter, other]) {
      expect(whole.data(path).equals(readFileSync(path))).toBe(true)
      expect(whole.entry(path)).toMatchObject({ size: lstatSync(path).size, state: 'ok' })
    }
  })

  test('a directory that became a symlink leads nowhere', async () => {
    const [root, elsewhere] = [directory(), directory()]
    mkdirSync(join(root, 'sub'))
    const paths = ['f', 'd', 'l'].map((name) => join(root, 'sub', name))
    for (const where of [join(root, 'sub'), elsewhere]) {
      file('secret', join(where, 'f'))
      mkdirSync(join(where, 'd'))
      symlinkSync('secret', join(where, 'l'))
    }
    const before = paths.map((path) => planned(path))
    renameSync(join(root, 'sub'), join(root, 'was-sub'))
    symlinkSync(elsewhere, join(root, 'sub'))
    // Exchanged after the crawl, or between its listing and its lstat: then the plan has the inodes of what lies outside.
    for (const plan of [before, paths.map((path) => planned(path))]) {
      const { entries, problems, tar } = await pack(plan, { header: headerOf([root]) })
      expect(entries).toEqual([])
      expect(problems.map(({ reason }) => reason)).toEqual(paths.map(() => 'lies behind a symlink now, which is not followed'))
      expect(tar.includes('secret')).toBe(false)
    }
  })

  test('a root that was given through a symlink is a root all the same', async () => {
    const [real, way] = [directory(), join(scratch, `way${count++}`)]
    symlinkSync(real, way)
    mkdirSync(join(real, 'root'))
    const path = file('old', join(way, 'root', 'f'))
    const plan = [planned(path)]
    writeFileSync(`${path}.new`, 'new')
    renameSync(`${path}.new`, path)
    const whole = await pack(plan, { header: headerOf([join(way, 'root')]) })
    expect(whole.problems).toEqual([])
    expect(whole.data(path).toString()).toBe('new')
  })
})

/** A script in a process of its own, from a file: the threads of a script that is given as an option do not start. `say` is its answer. */
function runScript(script: string, before = ''): unknown {
  const path = join(scratch, `${count++}.mjs`)
  const imports = ['pack', 'pack-bundle', 'tar-sink', 'test-packing']
  const lines = imports.map(
    (name) => `import * as ${name.replace('-', '_')} from ${JSON.stringify(new URL(`./${name}.js`, import.meta.url).href)}`,
  )
  writeFileSync(path, [...lines, 'const say = (answer) => console.log(JSON.stringify(answer))', script].join('\n'))
  const { NODE_OPTIONS: _, ...env } = process.env
  const args = before ? ['--import', `data:text/javascript,${encodeURIComponent(before)}`] : []
  return JSON.parse(
    execFileSync(process.execPath, [...args, path], { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'inherit'] }),
  )
}

/** A process that writes to a file without pause, until it is told to stop. */
async function withWriter<T>(script: string, path: string, work: () => Promise<T>): Promise<T> {
  const stopped = new Int32Array(new SharedArrayBuffer(4))
  const code = `const { workerData, parentPort } = require('node:worker_threads'); const fs = require('node:fs'); const { path, stopped } = workerData
    const fd = fs.openSync(path, 'r+'); parentPort.postMessage('writing'); while (Atomics.load(stopped, 0) === 0) { ${script} }`
  const writer = new Worker(code, { eval: true, workerData: { path, stopped } })
  const ended = new Promise((resolve) => writer.once('exit', resolve))
  await new Promise((resolve) => writer.once('message', resolve))
  try {
    return await work()
  } finally {
    Atomics.store(stopped, 0, 1)
    await ended
  }
}

describe('a file that changes while it is read', () => {
  test('again and again is kept as it was read, and marked', async () => {
    const [path, after] = [file(8 * MIB), file('after')]
    const whole = await withWriter('fs.writeSync(fd, "x", 4_000_000)', path, () => pack([planned(path), planned(after)]))
    expect(whole.problems).toEqual([
      { path, kind: 'changed', reason: expect.stringMatching(/^changed while it was read, twice/) },
    ])
    // The first try had gone out in part: it is void; the second one is kept, behind the others.
    expect(whole.entries.map(({ path: of, state }) => [of, state])).toEqual([
      [path, 'void'],
      [after, 'ok'],
      [path, 'changed'],
    ])
    expect(sha256(whole.data(path))).toBe(whole.entry(path).sha256)
    expect(membersOf(whole.tar).filter(({ flag }) => flag === '0')).toHaveLength(4)
  })

  test('by growing is kept to the size that it had', async () => {
    // Read for longer than a busy machine keeps the writer waiting.
    const path = file(48 * MIB)
    const whole = await withWriter('fs.appendFileSync(path, "x".repeat(1000))', path, () => pack([planned(path)]))
    expect(whole.problems).toMatchObject([{ path, kind: 'changed' }])
    const { size, sha256: hash } = whole.entry(path)
    expect(size).toBeGreaterThanOrEqual(48 * MIB)
    expect(sha256(whole.data(path))).toBe(hash)
    membersOf(whole.tar)
  })

  test('by being cut short, twice, leaves a valid tar, and is named', async () => {
    const [path, after] = [file(20 * MIB), file('after')]
    const packing = packer.pack(requestOf([planned(path), planned(after)]))
    const chunks: Buffer[] = []
    // The thread is at most four buffers ahead: it reads the file at the first chunk, and again at the 21st.
    for await (const chunk of packing.chunks) {
      if (chunks.length === 0) truncateSync(path, 16 * MIB)
      if (chunks.length === 21) truncateSync(path, 1_000)
      chunks.push(Buffer.from(chunk))
    }
    const { problems, manifest } = await packing.result
    expect(problems).toEqual([{ path, kind: 'failed', reason: 'changed while it was read, twice, and could not be kept' }])
    expect(linesOf(manifest).map(({ state, size }) => [state, size])).toEqual([
      ['void', 20 * MIB],
      ['ok', 5],
      ['void', 16 * MIB],
    ])
    expect(membersOf(Buffer.concat(chunks)).map(({ size }) => size)).toEqual(expect.arrayContaining([20 * MIB, 16 * MIB]))
  })

  test('but is quiet at the end is packed then, and its first member is void', async () => {
    // The consumer holds the packing: the first buffers are full, the file is in the middle of being read.
    const [path, after] = [file(8 * MIB), file('after')]
    const packing = packer.pack(requestOf([planned(path), planned(after)]))
    const chunks: Buffer[] = []
    for await (const chunk of packing.chunks) {
      if (chunks.length === 0) writeFileSync(path, contentOf(9 * MIB))
      chunks.push(Buffer.from(chunk))
    }
    const { problems, manifest } = await packing.result
    expect(problems).toEqual([])
    const lines = linesOf(manifest)
    expect(lines.map(({ state, size }) => [state, size])).toEqual([
      ['void', 8 * MIB],
      ['ok', 5],
      ['ok', 9 * MIB],
    ])
    expect(lines[0]).not.toHaveProperty('sha256')
    const tar = Buffer.concat(chunks)
    expect(tar.subarray(lines[2].offset, lines[2].offset + 9 * MIB).equals(readFileSync(path))).toBe(true)
    membersOf(tar)
  })
})

describe('sparse files', () => {
  test('are recorded with their holes, and their zeros are in the tar', async () => {
    const path = join(scratch, `sparse${count++}`)
    const fd = openSync(path, 'w')
    writeSync(fd, 'begin', 0)
    writeSync(fd, 'middle', 2 * MIB)
    ftruncateSync(fd, 5 * MIB)
    closeSync(fd)
    const whole = await pack([planned(path)])
    const { holes } = whole.entry(path)
    expect(whole.data(path).equals(readFileSync(path))).toBe(true)
    expect(holes?.length).toBe(2)
    for (const [offset, length] of holes ?? [])
      expect(
        whole
          .data(path)
          .subarray(offset, offset + length)
          .every((byte) => byte === 0),
      ).toBe(true)
    expect(holes?.at(-1)?.reduce((a, b) => a + b)).toBe(5 * MIB)
  })

  test('of holes alone are one hole', async () => {
    const path = join(scratch, `sparse${count++}`)
    writeFileSync(path, '')
    truncateSync(path, 3 * MIB)
    const whole = await pack([planned(path)])
    expect(whole.entry(path)).toMatchObject({ holes: [[0, 3 * MIB]], sha256: sha256(Buffer.alloc(3 * MIB)) })
  })
})

describe('extended attributes', () => {
  test('are kept where they are asked for, more than a buffer holds too', async () => {
    const path = file('x')
    const value = Buffer.alloc(1_000, 7)
    try {
      setXattr(path as Raw, 'user.kept', value)
    } catch {
      return // this file system has none
    }
    expect((await pack([planned(path)])).entry(path)).not.toHaveProperty('xattrs')
    const whole = await pack([planned(path)], { keep: { xattrs: 'all', cifs: true } })
    expect(whole.entry(path).xattrs).toEqual({ 'user.kept': value.toString('base64') })
    expect(whole.tar.includes(Buffer.concat([Buffer.from('SCHILY.xattr.user.kept='), value]))).toBe(true)
    expect(whole.data(path).toString()).toBe('x')
  })
})

describe('an ordinary user', () => {
  test('has the files that he may not read named, one by one', () => {
    if (process.getuid?.() !== 0) return
    const root = directory()
    chmodSync(scratch, 0o755)
    const paths = ['readable', 'unreadable', 'of-root'].map((name) => file(name, join(root, name)))
    chownSync(paths[0] as string, 65_534, 65_534)
    chownSync(paths[1] as string, 65_534, 65_534)
    chmodSync(paths[1] as string, 0o000)
    chmodSync(paths[2] as string, 0o600)
    const plan = paths.map((path) => planned(path))
    const request = requestOf(plan)
    // In one thread, because what a process becomes is not what its new threads load their code as.
    const said = runScript(
      `const request = { plan: Buffer.from(${JSON.stringify(Buffer.from(request.plan).toString('base64'))}, 'base64'), keep: { xattrs: 'none', cifs: false },
         header: { roots: ['/'], tags: [], setStartedAt: new Date(0), createdAt: new Date(0) } }
       process.setgroups([65534]); process.setgid(65534); process.setuid(65534)
       const { problems, manifest } = pack_bundle.packBundle(request, tar_sink.createTarSink({ next: () => Buffer.alloc(2 ** 20), send() {} }, { hash: false }), () => {})
       say({ problems, paths: Buffer.from(manifest).toString().trim().split('\\n').slice(1).map((line) => JSON.parse(line).path) })`,
    )
    expect(said).toEqual({
      problems: [
        { path: paths[1], kind: 'failed', reason: 'permission denied' },
        { path: paths[2], kind: 'failed', reason: 'permission denied' },
      ],
      paths: [paths[0]],
    })
  })
})

describe('the life of a packing', () => {
  const large = () => [planned(file(20 * MIB))]

  test('whose consumer stops early leaves the thread for the next one', async () => {
    const packing = packer.pack(requestOf(large()))
    for await (const _ of packing.chunks) break
    await expect(packing.result).rejects.toThrow('given up')
    const path = file('next')
    expect((await pack([planned(path)])).data(path).toString()).toBe('next')
  })

  test('that is aborted in the middle throws the reason, and leaves the thread for the next one', async () => {
    const abort = new AbortController()
    const packing = packer.pack(requestOf(large()), { signal: abort.signal })
    const reason = new Error('enough')
    const taken = (async () => {
      for await (const _ of packing.chunks) abort.abort(reason)
    })()
    await expect(taken).rejects.toBe(reason)
    await expect(packing.result).rejects.toBe(reason)
    expect((await pack([])).entries).toEqual([])
  })

  test('that is aborted before it begins does not begin', async () => {
    const packing = packer.pack(requestOf(large()), { signal: AbortSignal.abort(new Error('too late')) })
    await expect(packing.chunks[Symbol.asyncIterator]().next()).rejects.toThrow('too late')
    await expect(packing.result).rejects.toThrow('too late')
  })

  test('that waits for a thread hears of its abort at once', async () => {
    const first = packer.pack(requestOf(large())).chunks[Symbol.asyncIterator]()
    await first.next() // has the only thread, and does not ask for more
    const abort = new AbortController()
    const waits = packer.pack(requestOf(large()), { signal: abort.signal }).chunks[Symbol.asyncIterator]().next()
    const next = pack([])
    abort.abort(new Error('no longer wanted'))
    await expect(waits).rejects.toThrow('no longer wanted')
    await first.return?.()
    expect((await next).entries).toEqual([])
  })

  test('on one thread are queued, and each gets its own', async () => {
    const paths = Array.from({ length: 5 }, (_, i) => file(3 * MIB + i))
    const all = await Promise.all(paths.map((path) => pack([planned(path)])))
    all.forEach((whole, i) => void expect(whole.data(paths[i] as string).equals(readFileSync(paths[i] as string))).toBe(true))
  })

  test('of a plan that is damaged says so', async () => {
    const packing = packer.pack({ ...requestOf([]), plan: Buffer.from([1, 2, 3]) })
    await expect(packing.chunks[Symbol.asyncIterator]().next()).rejects.toMatchObject({ name: 'FirnError', code: 'damaged' })
    await expect(packing.result).rejects.toMatchObject({ code: 'damaged' })
  })

  test('ends when the packer is closed, and none begins afterwards', async () => {
    const own = openPacker({ threads: 1 })
    const running = own.pack(requestOf(large())).chunks[Symbol.asyncIterator]()
    await running.next()
    const waiting = own.pack(requestOf(large())).chunks[Symbol.asyncIterator]().next()
    const [ended, neverBegan] = [expect(running.next()).rejects.toThrow('ended'), expect(waiting).rejects.toThrow('ended')]
    await own.close()
    await Promise.all([ended, neverBegan])
    await expect(own.pack(requestOf([])).chunks[Symbol.asyncIterator]().next()).rejects.toThrow('ended')
    await own.close()
  })

  test('whose consumer hangs does not keep the packer from closing', async () => {
    const own = openPacker({ threads: 1 })
    const stuck = own.pack(requestOf(large())).chunks[Symbol.asyncIterator]()
    await stuck.next() // and asks no more, while the thread waits for a buffer
    await own.close()
    await expect(stuck.next()).rejects.toThrow('ended')
  })

  test('keeps memory as it is, however large a file', () => {
    const path = join(scratch, `large${count++}`)
    const fd = openSync(path, 'w')
    const piece = contentOf(MIB)
    for (let i = 0; i < 300; i++) writeSync(fd, piece)
    closeSync(fd)
    const growth = runScript(
      `const packer = pack.openPacker({ threads: 1 })
       const rss = () => process.memoryUsage.rss()
       const take = async (path) => { for await (const _ of packer.pack(test_packing.requestOf([test_packing.planned(path)])).chunks) continue }
       await take(${JSON.stringify(file(10 * MIB))})
       const before = rss()
       let most = before
       for await (const _ of packer.pack(test_packing.requestOf([test_packing.planned(${JSON.stringify(path)})])).chunks) most = Math.max(most, rss())
       await packer.close()
       say(most - before)`,
    )
    rmSync(path)
    expect(growth).toBeLessThan(40 * MIB)
  })

  test('on a thread that dies is an error, and the next one has a new thread', () => {
    const path = join(directory(), 'file')
    writeFileSync(path, 'x')
    const said = runScript(
      `const packer = pack.openPacker({ threads: 1 })
       const take = async (entries) => {
         const one = packer.pack(test_packing.requestOf(entries))
         try { for await (const _ of one.chunks) continue } catch (error) { return error.message }
         return (await one.result).tarBytes
       }
       const deadly = test_packing.planned(${JSON.stringify(path)})
       const first = take([deadly])
       const waiting = take([])
       say([await first, await waiting, await take([]), await take([deadly]), await take([])])
       await packer.close()`,
      `import fs from 'node:fs'; import { isMainThread } from 'node:worker_threads'; import { syncBuiltinESMExports } from 'node:module'
          // Node reads its modules by it, too; files are read into shared memory.
          if (!isMainThread) { const read = fs.readSync; fs.readSync = (...args) => (args[1].buffer instanceof SharedArrayBuffer ? process.exit(7) : read(...args)); syncBuiltinESMExports() }`,
    )
    const died = 'a packing thread ended unexpectedly'
    expect(said).toEqual([died, 10_240, 10_240, died, 10_240])
  })
})

describe('the manifest of a packing', () => {
  test('begins with the header as it was given', async () => {
    const { manifest } = await pack([], { header: headerOf(['/a', '/caf\xe9'], { description: 'ünïcode "quoted"\n', tags: [] }) })
    const [line] = Buffer.from(manifest).toString().split('\n')
    expect(JSON.parse(line as string)).toEqual({
      format: 'firn-bundle/1',
      bundle: BUNDLE,
      attempt: 1,
      set: '50000000-0000-4000-8000-000000000002',
      set_started_at: '2026-11-20T10:00:00.000Z',
      host: 'test-host',
      roots: ['/a', { path_b64: Buffer.from('/caf\xe9', 'latin1').toString('base64') }],
      created_at: '2026-11-20T10:01:02.345Z',
      description: 'ünïcode "quoted"\n',
      tags: [],
      vault: 'local:/vault',
    })
  })
})
