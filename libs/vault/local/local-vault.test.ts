/** The local vault: the suite, in its two kinds, and what only a directory can show. */
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chown, mkdir, mkdtemp, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { openVault } from '../open-vault.js'
import { readPrices } from '../prices/price-list.js'
import { describeVault } from '../vault-suite.js'
import { publish } from './durable.js'
import { openLocalVault } from './local-vault.js'

const run = promisify(execFile)
const thawKinds: Record<string, number | undefined> = { 'local:': undefined, 'local:?thaw=1': 1, 'local:?thaw=0': 0 }

for (const [name, thawSeconds] of Object.entries(thawKinds)) {
  describeVault(
    name,
    async () => {
      const parent = await mkdtemp(join(tmpdir(), 'firn-vault-'))
      const directory = join(parent, 'vault')
      let skewMs = 0
      const options = { directory, now: () => Date.now() + skewMs, ...(thawSeconds === undefined ? {} : { thawSeconds }) }
      const vault = openLocalVault(options)
      return {
        vault,
        reopen: async () => openLocalVault(options),
        async damage(key) {
          const handle = await open(join(directory, key), 'r+')
          const byte = Buffer.alloc(1)
          await handle.read(byte, 0, 1, 1000)
          await handle.write(Buffer.from([byte[0]! ^ 4]), 0, 1, 1000)
          await handle.close()
        },
        pass(ms) {
          skewMs += ms
        },
        async done() {
          await vault.close()
          await rm(parent, { recursive: true })
        },
      }
    },
    thawSeconds === undefined ? {} : { thawMs: thawSeconds * 1000 },
  )
}

describe('a vault in a directory', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'firn-vault-'))
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  async function withVault<T>(use: (vault: ReturnType<typeof openLocalVault>) => Promise<T>, at = directory): Promise<T> {
    const vault = openLocalVault({ directory: at })
    try {
      await vault.prepare()
      return await use(vault)
    } finally {
      await vault.close()
    }
  }

  const asRoot = process.getuid?.() === 0 ? test : test.skip

  asRoot('gives what root makes in it to the owner of the directory in which root makes it', async () => {
    await chown(directory, 65_534, 65_534)
    await withVault(
      async (vault) => {
        await vault.put('2026/11/a.1.manifest', Buffer.from('{}'))
        for (const path of ['vault', 'vault/2026', 'vault/2026/11', 'vault/2026/11/a.1.manifest']) {
          const { uid, gid, mode } = await stat(join(directory, path))
          expect([path, uid, gid, mode & 0o077]).toEqual([path, 65_534, 65_534, 0])
        }
      },
      join(directory, 'vault'),
    )
  })

  test('holds plain files that nobody else may read, and nothing beside them', async () => {
    await withVault(async (vault) => {
      const upload = await vault.upload('2026/11/a.1.tar')
      await upload.write(Buffer.from('hello'))
      expect((await readdir(join(directory, '2026/11'))).join()).toMatch(/^\.a\.1\.tar\.[0-9a-f]{16}\.tmp$/)
      await upload.complete()
      await vault.put('2026/11/a.1.manifest', Buffer.from('{}'))
      expect((await readdir(join(directory, '2026/11'))).sort()).toEqual(['a.1.manifest', 'a.1.tar'])
      expect(await readFile(join(directory, '2026/11/a.1.tar'), 'utf8')).toBe('hello')
      expect((await stat(join(directory, '2026/11/a.1.tar'))).mode & 0o7777).toBe(0o600)
      expect((await stat(join(directory, '2026'))).mode & 0o7777).toBe(0o700)
    })
  })

  test('has no file descriptor open and no temporary left after a hundred failed uploads', async () => {
    await withVault(async (vault) => {
      const before = (await readdir('/proc/self/fd')).length
      for (let i = 0; i < 100; i++) {
        const stop = new AbortController()
        const upload = await vault.upload('a.tar', { signal: stop.signal })
        const writing = upload.write(randomBytes(100_000))
        stop.abort()
        await writing.catch(() => {})
        await upload.abort()
      }
      expect(await readdir(directory)).toEqual([])
      expect((await readdir('/proc/self/fd')).length).toBeLessThanOrEqual(before + 2)
    })
  })

  test('shows nothing of an upload whose process was killed, and sweeps what it left', async () => {
    const module = new URL('./local-vault.js', import.meta.url).href
    const script = `
      const { openLocalVault } = await import(${JSON.stringify(module)})
      const upload = await openLocalVault({ directory: ${JSON.stringify(directory)} }).upload('set/a.1.tar')
      await upload.write(Buffer.alloc(1_000_000))
      await upload.seal()
      process.kill(process.pid, 'SIGKILL')
      await new Promise((resolve) => setTimeout(resolve, 60_000))`
    // A file: the thread that reads back does not start below `node -e`.
    const file = join(directory, 'upload.mjs')
    await writeFile(file, script)
    await expect(run(process.execPath, [file])).rejects.toMatchObject({ signal: 'SIGKILL' })
    await withVault(async (vault) => {
      expect(await vault.stat('set/a.1.tar')).toBeUndefined()
      expect(await vault.sweep((key) => key === 'set/a.1.tar')).toEqual(['set/a.1.tar'])
      expect(await readdir(join(directory, 'set'))).toEqual([])
    })
  })

  test('reads back what it was sent before it says its SHA-256, and refuses what came out otherwise', async () => {
    await withVault(async (vault) => {
      const sent = randomBytes(3_000_000)
      for (const flipped of [undefined, 0, 1_500_000, 2_999_999]) {
        const upload = await vault.upload('set/a.1.tar')
        for (const [from, to] of [
          [0, 7],
          [7, 1_000_000],
          [1_000_000, sent.length],
        ])
          await upload.write(sent.subarray(from, to))
        if (flipped === undefined) {
          const sha256 = createHash('sha256').update(sent).digest('hex')
          expect(await upload.seal()).toEqual({ bytes: sent.length, sha256 })
          await upload.abort()
          continue
        }
        const [temporary] = await readdir(join(directory, 'set'))
        const handle = await open(join(directory, 'set', temporary!), 'r+')
        await handle.write(Buffer.from([sent[flipped]! ^ 1]), 0, 1, flipped)
        await handle.close()
        await expect(upload.seal()).rejects.toMatchObject({ code: 'damaged', message: expect.stringContaining('read back') })
        await expect(upload.complete()).rejects.toMatchObject({ code: 'damaged' })
        expect(await readdir(join(directory, 'set'))).toEqual([])
      }
    })
  })

  test('goes on where one of its directories was removed meanwhile', async () => {
    await withVault(async (vault) => {
      await vault.put('set/a', Buffer.from('x'))
      await rm(join(directory, 'set'), { recursive: true })
      await vault.put('set/b', Buffer.from('x'))
      expect(await readdir(join(directory, 'set'))).toEqual(['b'])
    })
  })

  test('that is gone is an error, not an empty vault: its disk may not be mounted', async () => {
    await withVault(async (vault) => {
      await vault.put('a', Buffer.from('x'))
      await rm(directory, { recursive: true })
      const gone = { code: 'vault-away', message: expect.stringMatching(/is its disk mounted/) }
      await expect(vault.stat('a')).rejects.toMatchObject(gone)
      await expect(vault.read('a', undefined)[Symbol.asyncIterator]().next()).rejects.toMatchObject(gone)
      await expect(vault.list('')[Symbol.asyncIterator]().next()).rejects.toMatchObject(gone)
      await expect(vault.upload('b')).rejects.toMatchObject(gone)
      await expect(vault.put('c/b', Buffer.from('x'))).rejects.toMatchObject(gone)
      await expect(stat(directory)).rejects.toMatchObject({ code: 'ENOENT' })
    })
  })

  test('follows a year that was moved to another disk, and no circle', async () => {
    const elsewhere = await mkdtemp(join(tmpdir(), 'firn-vault-'))
    try {
      await mkdir(join(elsewhere, '2025'))
      await writeFile(join(elsewhere, '2025', 'a.tar'), 'hello')
      await symlink(join(elsewhere, '2025'), join(directory, '2025'))
      await mkdir(join(directory, '2026'))
      await symlink(directory, join(directory, '2026', 'circle'))
      await symlink('nowhere', join(directory, '2026', 'dangling'))
      await withVault(async (vault) => {
        const keys: string[] = []
        for await (const { key } of vault.list('')) keys.push(key)
        expect(keys).toEqual(['2025/a.tar'])
        await vault.verify('2025/a.tar', { bytes: 5, sha256: createHash('sha256').update('hello').digest('hex') })
      })
    } finally {
      await rm(elsewhere, { recursive: true })
    }
  })

  test('names the place that is a file, or below a file', async () => {
    await writeFile(join(directory, 'file'), '')
    await expect(withVault(async () => {}, join(directory, 'file'))).rejects.toMatchObject({ code: 'vault-refused' })
    await expect(withVault(async () => {}, join(directory, 'file', 'vault'))).rejects.toMatchObject({ code: 'vault-refused' })
    await withVault(async (vault) => {
      await expect(vault.put('file/a', Buffer.from('x'))).rejects.toMatchObject({ code: 'vault-refused' })
      expect(await vault.stat('file/a')).toBeUndefined()
    })
  })

  test('gives names by renaming where there are no hard links, and overwrites nothing there either', async () => {
    const noLinks = () => Promise.reject(Object.assign(new Error('EPERM'), { code: 'EPERM' }))
    const temporaries = Array.from({ length: 8 }, (_, i) => join(directory, `.a.${i}`))
    for (const path of temporaries) await writeFile(path, path)
    const ends = await Promise.allSettled(temporaries.map((path) => publish(path, join(directory, 'a'), noLinks)))
    const winners = temporaries.filter((_, i) => ends[i]?.status === 'fulfilled')
    expect(winners).toHaveLength(1)
    expect(await readFile(join(directory, 'a'), 'utf8')).toBe(winners[0])
    for (const end of ends) if (end.status === 'rejected') expect(end.reason).toMatchObject({ code: 'EEXIST' })
    expect((await readdir(directory)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('sweeps the probe that could not be removed after it was tried whether the vault can be written', async () => {
    await withVault(async (vault) => {
      await vault.prepare()
      await writeFile(join(directory, `.prepare.${'a'.repeat(16)}.tmp`), '?')
      expect(await vault.sweep(() => false)).toEqual([])
      expect(await readdir(directory)).toEqual([])
    })
  })

  test('forgets no thaw state in a sweep but those without an object', async () => {
    const vault = openLocalVault({ directory, thawSeconds: 5 })
    try {
      const upload = await vault.upload('a.tar')
      await upload.complete()
      await writeFile(join(directory, '.b.tar.thaw'), '{}')
      expect(await vault.sweep(() => true)).toEqual(['b.tar'])
      expect((await readdir(directory)).sort()).toEqual(['.a.tar.thaw', 'a.tar'])
    } finally {
      await vault.close()
    }
  })
})

describe('the URL of a vault', () => {
  const open = async (url: string) => openVault(url, { prices: () => readPrices(), uploadMemoryBytes: 0 })
  const refused = async (url: string, message: RegExp) =>
    expect(open(url)).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(message) })

  test('names it in the catalog without its options', async () => {
    for (const [url, id] of [
      ['local:/srv/vault', 'local:/srv/vault'],
      ['local:/srv//a/../vault/?thaw=5', 'local:/srv/vault'],
      ['local:/srv/100% of it/ü?thaw=0', 'local:/srv/100% of it/ü'],
      ['local:///?thaw=1.5', 'local:/'],
    ] as const) {
      const vault = await open(url)
      expect(vault.id).toBe(id)
      await vault.close()
    }
  })

  test('is refused with a sentence that says what to write', async () => {
    await refused('/srv/vault', /written scheme:place, for example local:\/srv\/vault/)
    await refused('local:vault', /not absolute: write local:\/ and the whole path/)
    await refused('local:', /not absolute/)
    await refused('ftp://x/y', /"ftp:" is no kind of vault.*local:\/srv\/vault/)
    await refused('constructor:/x', /is no kind of vault/)
    await refused('local:/srv/vault?thwa=5', /"thwa" is unknown: did you mean "thaw"\?/)
    await refused('local:/srv/vault?thaw=soon', /no number of seconds/)
    await refused('local:/srv/vault?thaw=-1', /no number of seconds/)
    await refused('local:/srv/vault?thaw=', /no number of seconds/)
  })
})

/** A real full disk. Mounting asks for root; elsewhere the test is named as skipped. */
const mount = await canMount()
const testOnFullDisk = mount ? test : test.skip

describe('a full disk', () => {
  testOnFullDisk(
    `stops the upload, leaves nothing, and says so${mount ? '' : ' (skipped: a tmpfs cannot be mounted here)'}`,
    async () => {
      const directory = await mkdtemp(join(tmpdir(), 'firn-full-'))
      await run('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'tmpfs', directory])
      const vault = openLocalVault({ directory })
      try {
        await vault.prepare()
        const full = { code: 'vault-full', message: expect.stringContaining(vault.id) }
        const upload = await vault.upload('set/a.tar')
        const fill = async () => {
          for (let i = 0; i < 10; i++) await upload.write(randomBytes(1_000_000))
          await upload.complete()
        }
        await expect(fill()).rejects.toMatchObject(full)
        await expect(upload.complete()).rejects.toMatchObject(full)
        await upload.abort()
        await expect(vault.put('set/b.json', randomBytes(5_000_000))).rejects.toMatchObject(full)
        expect(await readdir(join(directory, 'set'))).toEqual([])
        await vault.put('set/c.json', randomBytes(3_000_000))
        expect((await vault.stat('set/c.json'))?.bytes).toBe(3_000_000)
      } finally {
        await vault.close()
        await run('umount', [directory])
        await rm(directory, { recursive: true })
      }
    },
  )

  testOnFullDisk(`that is read-only refuses${mount ? '' : ' (skipped: a tmpfs cannot be mounted here)'}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'firn-full-'))
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m,ro', 'tmpfs', directory])
    const vault = openLocalVault({ directory })
    try {
      await expect(vault.prepare()).rejects.toMatchObject({ code: 'vault-refused', message: expect.stringMatching(/read-only/) })
      await expect(vault.put('a', Buffer.from('x'))).rejects.toMatchObject({ code: 'vault-refused' })
    } finally {
      await vault.close()
      await run('umount', [directory])
      await rm(directory, { recursive: true })
    }
  })
})

async function canMount(): Promise<boolean> {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') return false
  const directory = await mkdtemp(join(tmpdir(), 'firn-mount-'))
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory])
    await run('umount', [directory])
    return true
  } catch {
    return false
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
