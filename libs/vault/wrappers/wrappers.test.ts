/** The wrappers: they change nothing that the port promises, and each does the one thing it is for. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { FirnError } from '#libs/errors/errors.js'
import { openLocalVault } from '../local/local-vault.js'
import type { Vault } from '../vault.js'
import { describeVault } from '../vault-suite.js'
import { counted, type VaultCount } from './counted.js'
import { type Fault, faulty } from './faulty.js'
import { retrying } from './retrying.js'

describeVault(
  'local: in all its wrappers',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'firn-vault-'))
    const wrapped = () => retrying(counted(faulty(openLocalVault({ directory }), []), () => {}))
    const vault = wrapped()
    return {
      vault,
      reopen: async () => wrapped(),
      async damage(key) {
        const handle = await open(join(directory, key), 'r+')
        await handle.write('\0\0\0\0', 1000)
        await handle.close()
      },
      pass() {},
      async done() {
        await vault.close()
        await rm(directory, { recursive: true })
      },
    }
  },
  {},
)

describe('a wrapped vault', () => {
  let directory: string
  let vault: Vault
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'firn-vault-'))
    vault = openLocalVault({ directory })
  })
  afterEach(async () => {
    await vault.close()
    await rm(directory, { recursive: true })
  })

  async function store(into: Vault, key: string, bytes: Uint8Array): Promise<void> {
    const upload = await into.upload(key)
    await upload.write(bytes)
    await upload.seal()
    await upload.complete()
  }

  async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
    const all: Uint8Array[] = []
    for await (const chunk of chunks) all.push(chunk)
    return Buffer.concat(all)
  }

  test('counts operations and bytes', async () => {
    const counts: VaultCount[] = []
    const counting = counted(vault, (count) => counts.push(count))
    await store(counting, 'a.tar', randomBytes(3_000_000))
    await collect(counting.read('a.tar', { offset: 1_000_000, length: 1_500_000 }))
    for await (const _ of counting.list('')) await counting.stat('a.tar')
    expect(counts.filter(({ begins }) => begins).map(({ operation }) => operation)).toEqual([
      'upload',
      'write',
      'seal',
      'complete',
      'read',
      'list',
      'stat',
    ])
    expect(counts.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0)).toBe(3_000_000)
    expect(counts.reduce((sum, { bytesRead }) => sum + bytesRead, 0)).toBe(1_500_000)
  })

  const failed = new FirnError('vault-failed', 'the net is down')
  const quick = { delayMs: 1 }

  test('fails where its script says so, once, or loses the answer', async () => {
    const failing = faulty(vault, [
      { operation: 'complete', at: 1, error: failed, answerLost: true },
      { operation: 'put', at: 2, error: failed },
    ])
    await expect(store(failing, 'a.tar', Buffer.from('hello'))).rejects.toBe(failed)
    expect((await vault.stat('a.tar'))?.bytes).toBe(5)
    await failing.put('1', Buffer.from('x'))
    await expect(failing.put('2', Buffer.from('x'))).rejects.toBe(failed)
    expect(await vault.stat('2')).toBeUndefined()
    await failing.put('2', Buffer.from('x'))
  })

  test('asks again what may be asked twice, and not for ever', async () => {
    await vault.put('a', Buffer.from('hello'))
    const down = (times: number): Fault[] => Array.from({ length: times }, (_, i) => ({ at: i + 1, error: failed }))
    const sha256 = createHash('sha256').update('hello').digest('hex')
    const calls: ((vault: Vault) => Promise<unknown>)[] = [
      (one) => one.prepare(),
      (one) => one.stat('a'),
      (one) => one.verify('a', { bytes: 5, sha256 }),
      (one) => one.thaw('a', { tier: 'bulk', days: 1 }),
      (one) => one.thawStates(['a']),
      (one) => collect(one.read('a', undefined)),
      async (one) => {
        for await (const _ of one.list(''));
      },
    ]
    for (const call of calls) {
      await call(retrying(faulty(vault, down(4)), quick))
      await expect(call(retrying(faulty(vault, down(5)), quick))).rejects.toBe(failed)
    }
    for (const call of [(one: Vault) => one.put('b', Buffer.from('x')), (one: Vault) => one.upload('b')]) {
      await expect(call(retrying(faulty(vault, down(1)), quick))).rejects.toBe(failed)
    }
  })

  test('asks nothing again that would only fail again', async () => {
    const refused = new FirnError('vault-refused', 'no permission')
    const once = retrying(faulty(vault, [{ at: 1, error: refused }]), quick)
    await expect(once.stat('a')).rejects.toBe(refused)
  })

  test('reads on behind the last byte that came', async () => {
    const bytes = randomBytes(5_000_000)
    await vault.put('a', bytes)
    for (const range of [undefined, { offset: 1, length: 4_999_998 }]) {
      let reads = 0
      const breaking: Vault = {
        ...vault,
        async *read(key, part, options) {
          reads++
          let chunks = 0
          for await (const chunk of vault.read(key, part, options)) {
            yield chunk
            if (++chunks === 2) throw failed
          }
        },
      }
      const read = await collect(retrying(breaking, { ...quick, tries: 2 }).read('a', range))
      expect(read.equals(range ? bytes.subarray(1, -1) : bytes)).toBe(true)
      expect(reads).toBeGreaterThan(1)
    }
  })

  test('waits no longer when its signal is aborted', async () => {
    const stop = new AbortController()
    const reason = new Error('enough')
    const down: Vault = { ...vault, stat: () => Promise.reject(failed) }
    const asking = retrying(down, { delayMs: 3_600_000 }).stat('a', { signal: stop.signal })
    stop.abort(reason)
    await expect(asking).rejects.toBe(reason)
  })
})
