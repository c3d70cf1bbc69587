/** What every vault must show: one suite, called by the test of each implementation. */
import { createHash, randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { Thaw, Upload, Vault } from './vault.js'

/** One vault of its own for each test. */
export interface OpenedVault {
  readonly vault: Vault
  /** A second view of the same place, as another process would have it. The suite closes it. */
  reopen(): Promise<Vault>
  /** Flips one bit of the object behind the vault's back. */
  damage(key: string): Promise<void>
  /** Lets the vault's clock go on. */
  pass(ms: number): void | Promise<void>
  /** Closes the vault and removes the place. */
  done(): Promise<void>
}

export interface VaultFacts {
  /** How long a thaw takes; undefined where uploads are readable at once. */
  readonly thawMs?: number
  /** How long a thawed copy stays readable, where the vault decides that and not who asks. */
  readonly copyMs?: number
  /** `verify` asks a service that cannot look at its bytes: one flipped bit is found by who reads them. */
  readonly damageShowsWhenRead?: boolean
  /** A copy may stay readable so much longer than asked: Amazon rounds up to the next midnight. */
  readonly copyLastsLongerMs?: number
  /** An unfinished upload of less leaves nothing in the vault: it goes in one request in the end. */
  readonly uploadsShowFrom?: number
  /** What a server cannot do, or cannot be made to show. Each lack leaves out what the suite names after it. */
  readonly lacks?: readonly Lack[]
}

export type Lack =
  /** Its clock cannot be moved: copies do not expire in a test. */
  | 'clock'
  /** Its objects cannot be spoilt behind its back, or it does not look at their bytes when it is asked. */
  | 'damage'
  /** Of many who write one key at once, more than one may be told that it has won. */
  | 'races'
  /** It is not asked for a SHA-256 of what it holds. */
  | 'sha256'

const DAY_MS = 86_400_000
const LARGE = 20_000_003

export function describeVault(name: string, open: () => Promise<OpenedVault>, facts: VaultFacts): void {
  const cold = facts.thawMs !== undefined
  const shows = Math.max(5, facts.uploadsShowFrom ?? 0)
  const can = (...lacks: Lack[]) => !lacks.some((lack) => facts.lacks?.includes(lack))
  /** A test that names in its title why it is left out. */
  const testIf = (lack: Lack) =>
    can(lack) ? test : (name: string, _: unknown) => test.skip(`${name} (it lacks: ${lack})`, () => {})

  describe(`the vault ${name}`, () => {
    let opened: OpenedVault
    let vault: Vault

    beforeEach(async () => {
      opened = await open()
      vault = opened.vault
      await vault.prepare()
    })
    afterEach(() => opened.done())

    async function store(key: string, bytes: Uint8Array, into: Vault = vault): Promise<string> {
      const upload = await into.upload(key)
      if (bytes.length > 0) await upload.write(bytes)
      await upload.seal()
      return (await upload.complete()).archiveId
    }

    async function makeReadable(key: string, days = 1): Promise<void> {
      await vault.thaw(key, { tier: 'standard', days })
      await opened.pass(facts.thawMs ?? 0)
    }

    describe('takes objects', () => {
      test('in chunks of any size, whose memory is reused, and gives them back whole', async () => {
        const sent = randomBytes(LARGE)
        const upload = await vault.upload('2026/11/large.1.tar')
        const memory = Buffer.alloc(3_000_000)
        const sizes = [1, 65_536, 999_983, 7, 2_999_999, 512, 3_000_000]
        for (let offset = 0, turn = 0; offset < LARGE; turn++) {
          const size = Math.min(sizes[turn % sizes.length]!, LARGE - offset)
          sent.copy(memory, 0, offset, offset + size)
          await upload.write(memory.subarray(0, size))
          memory.fill(0xee)
          offset += size
        }
        await upload.seal()
        const { archiveId } = await upload.complete()
        expect(archiveId).not.toBe('')
        await makeReadable('2026/11/large.1.tar')
        expect(sha256(await collect(vault.read('2026/11/large.1.tar', undefined)))).toBe(sha256(sent))
        expect((await vault.stat('2026/11/large.1.tar'))?.bytes).toBe(LARGE)
      })

      test('that are empty', async () => {
        await store('empty.tar', Buffer.alloc(0))
        await vault.put('empty.json', Buffer.alloc(0))
        await makeReadable('empty.tar')
        for (const key of ['empty.tar', 'empty.json']) {
          expect((await vault.stat(key))?.bytes).toBe(0)
          expect(await collect(vault.read(key, undefined))).toHaveLength(0)
          await vault.verify(key, { bytes: 0, sha256: sha256(Buffer.alloc(0)) })
        }
      })

      test('that become visible with complete and not before', async () => {
        const upload = await vault.upload('a/b.tar')
        const expectNothing = async () => {
          expect(await vault.stat('a/b.tar')).toBeUndefined()
          expect(await keysOf(vault)).toEqual([])
          await expect(collect(vault.read('a/b.tar', undefined))).rejects.toMatchObject({ code: 'vault-missing' })
          await expect(vault.verify('a/b.tar', { bytes: 5, sha256: sha256('hello') })).rejects.toMatchObject({
            code: 'vault-missing',
          })
        }
        await expectNothing()
        await upload.write(Buffer.from('hello'))
        await expectNothing()
        await upload.seal()
        await expectNothing()
        await upload.complete()
        expect((await vault.stat('a/b.tar'))?.bytes).toBe(5)
        expect(await keysOf(vault)).toEqual(['a/b.tar'])
      })

      test('that another process sees at once', async () => {
        const other = await opened.reopen()
        try {
          await store('a.tar', Buffer.from('hello'))
          await vault.put('a.json', Buffer.from('{}'))
          expect(await keysOf(other)).toEqual(['a.json', 'a.tar'])
          await other.verify('a.tar', { bytes: 5, sha256: sha256('hello') })
          expect(String(await collect(other.read('a.json', undefined)))).toBe('{}')
          expect(other.id).toBe(vault.id)
        } finally {
          await other.close()
        }
      })

      test('with the time when they came', async () => {
        const before = Date.now()
        await store('a.tar', Buffer.from('hello'))
        const stored = await vault.stat('a.tar')
        // An hour of leeway: it is the vault's clock, and some keep whole seconds.
        expect(Math.abs((stored?.modifiedAt.getTime() ?? 0) - before)).toBeLessThan(3_600_000)
      })

      test('under plain relative keys only', async () => {
        for (const key of [
          '',
          '/etc/x',
          '../x',
          'a/../../x',
          'a//b',
          'a/',
          './a',
          '.a',
          'a/.b',
          'a b',
          'ä',
          'a\0b',
          'a\nb',
          'x'.repeat(300),
        ]) {
          const refusal = { code: 'usage' }
          await expect(vault.upload(key)).rejects.toMatchObject(refusal)
          await expect(vault.put(key, Buffer.from('x'))).rejects.toMatchObject(refusal)
          await expect(vault.stat(key)).rejects.toMatchObject(refusal)
          await expect(collect(vault.read(key, undefined))).rejects.toMatchObject(refusal)
        }
        expect(await keysOf(vault)).toEqual([])
      })
    })

    describe('writes once', () => {
      test('and refuses a key that is taken, whichever way it comes', async () => {
        await store('a.tar', Buffer.from('first'))
        await vault.put('a.json', Buffer.from('first'))
        for (const key of ['a.tar', 'a.json']) {
          await expect(vault.put(key, Buffer.from('second'))).rejects.toMatchObject({ code: 'vault-exists' })
          await expect(store(key, Buffer.from('second'))).rejects.toMatchObject({ code: 'vault-exists' })
          await vault.verify(key, { bytes: 5, sha256: sha256('first') })
        }
        expect(await keysOf(vault)).toEqual(['a.json', 'a.tar'])
      })

      test('but for a small object that is to be replaced: then the new bytes are there, whole', async () => {
        await vault.put('owner.json', Buffer.from('first'))
        await vault.put('owner.json', Buffer.from('the second'), { replace: true })
        await vault.verify('owner.json', { bytes: 10, sha256: sha256('the second') })
        await vault.put('new.json', Buffer.from('new'), { replace: true })
        expect(await keysOf(vault)).toEqual(['new.json', 'owner.json'])
      })

      testIf('races')('when many send the same key at once: one wins, and its bytes are there', async () => {
        const bodies = Array.from({ length: 8 }, () => randomBytes(100_000))
        const ends = await Promise.allSettled(bodies.map((body) => store('race.tar', body)))
        const winners = bodies.filter((_, i) => ends[i]?.status === 'fulfilled')
        expect(winners).toHaveLength(1)
        for (const end of ends) if (end.status === 'rejected') expect(end.reason).toMatchObject({ code: 'vault-exists' })
        await vault.verify('race.tar', { bytes: 100_000, sha256: sha256(winners[0]!) })
        expect(await keysOf(vault)).toEqual(['race.tar'])
      })
    })

    describe('abandons', () => {
      const stages: Record<string, (upload: Upload) => Promise<unknown>> = {
        'at once': async () => {},
        'after some bytes': (upload) => upload.write(Buffer.from('hello')),
        'after many bytes': (upload) => upload.write(randomBytes(6_000_000)),
        'when it is sealed': async (upload) => {
          await upload.write(Buffer.from('hello'))
          await upload.seal()
        },
      }
      for (const [when, reach] of Object.entries(stages)) {
        test(`an upload ${when}, and leaves nothing`, async () => {
          const upload = await vault.upload('a/b.tar')
          await reach(upload)
          await upload.abort()
          await upload.abort()
          await expect(upload.complete()).rejects.toThrow()
          await expect(upload.write(Buffer.from('x'))).rejects.toThrow()
          expect(await vault.stat('a/b.tar')).toBeUndefined()
          expect(await keysOf(vault)).toEqual([])
          expect(await vault.sweep(() => true)).toEqual([])
          await store('a/b.tar', Buffer.from('hello'))
          await vault.verify('a/b.tar', { bytes: 5, sha256: sha256('hello') })
        })
      }

      test('nothing that is complete', async () => {
        const upload = await vault.upload('a.tar')
        await upload.write(Buffer.from('hello'))
        await upload.complete()
        await upload.abort()
        await vault.verify('a.tar', { bytes: 5, sha256: sha256('hello') })
      })

      test('an upload whose signal is aborted, and leaves nothing', async () => {
        const stop = new AbortController()
        const upload = await vault.upload('a.tar', { signal: stop.signal })
        await upload.write(Buffer.from('hello'))
        const reason = new Error('enough')
        stop.abort(reason)
        await expect(upload.write(Buffer.from('more'))).rejects.toBe(reason)
        await expect(upload.complete()).rejects.toBe(reason)
        await upload.abort()
        expect(await keysOf(vault)).toEqual([])
        expect(await vault.sweep(() => true)).toEqual([])
      })

      test('every call whose signal is aborted already, and changes nothing', async () => {
        await vault.put('a.json', Buffer.from('hello'))
        await store('a.tar', Buffer.from('hello'))
        const reason = new Error('enough')
        const options = { signal: AbortSignal.abort(reason) }
        const calls: Promise<unknown>[] = [
          vault.prepare(options),
          vault.upload('b.tar', options),
          vault.put('b.json', Buffer.from('x'), options),
          vault.stat('a.json', options),
          vault.verify('a.json', { bytes: 5, sha256: sha256('hello') }, options),
          keysOf(vault, '', options),
          collect(vault.read('a.json', undefined, options)),
          vault.thaw('a.tar', { tier: 'bulk', days: 1 }, options),
          vault.thawStates(['a.tar'], options),
        ]
        for (const call of calls) await expect(call).rejects.toBe(reason)
        expect(await keysOf(vault)).toEqual(['a.json', 'a.tar'])
        expect((await vault.thawStates(['a.tar'])).get('a.tar')?.state).toBe(cold ? 'cold' : 'ready')
        expect(await vault.sweep(() => true)).toEqual([])
      })
    })

    describe('sweeps', () => {
      test('what dead uploads left behind, and nothing else', async () => {
        await store('set/whole.1.tar', Buffer.from('hello'))
        const bytes = randomBytes(shows)
        const dead = await vault.upload('set/dead.1.tar')
        await dead.write(bytes)
        const sealed = await vault.upload('set/dead.2.tar')
        await sealed.write(bytes)
        await sealed.seal()
        const living = await vault.upload('set/living.1.tar')
        await living.write(bytes)

        const other = await opened.reopen()
        try {
          const asked: string[] = []
          const removed = await other.sweep(async (key) => {
            asked.push(key)
            return key.includes('dead')
          })
          expect(removed.sort()).toEqual(['set/dead.1.tar', 'set/dead.2.tar'])
          expect(asked.sort()).toEqual(['set/dead.1.tar', 'set/dead.2.tar', 'set/living.1.tar'])
          expect(await other.sweep((key) => key.includes('dead'))).toEqual([])
        } finally {
          await other.close()
        }
        await expect(dead.complete()).rejects.toThrow()
        await expect(sealed.complete()).rejects.toThrow()
        await living.complete()
        await Promise.all([dead.abort(), sealed.abort()])
        expect(await keysOf(vault)).toEqual(['set/living.1.tar', 'set/whole.1.tar'])
        await vault.verify('set/living.1.tar', { bytes: shows, sha256: sha256(bytes) })
      })
    })

    describe('lists', () => {
      test('every object whose key begins so, in the order of the keys', async () => {
        const key = fc
          .tuple(
            fc.array(fc.stringMatching(/^[ab0-][ab0.-]{0,2}$/), { maxLength: 3 }),
            fc.stringMatching(/^[ab0-][ab0._-]{0,3}$/),
          )
          .map(([above, name]) => [...above, `${name}.tar`].join('/'))
        const prefix = fc.stringMatching(/^([ab0-][ab0.-]{0,2}\/?)?$/)
        let round = 0
        await fc.assert(
          fc.asyncProperty(fc.uniqueArray(key, { maxLength: 12 }), prefix, async (keys, start) => {
            const above = `r${round++}`
            for (const one of keys) await vault.put(`${above}/${one}`, Buffer.from(one))
            const expected = keys.filter((one) => one.startsWith(start)).sort((a, b) => (a < b ? -1 : 1))
            const listed = await keysOf(vault, `${above}/${start}`)
            expect(listed.map((one) => one.slice(above.length + 1))).toEqual(expected)
          }),
          { numRuns: 15 },
        )
      })

      test('with sizes, over more objects than a page has', async () => {
        for (let i = 0; i < 150; i++) await vault.put(`many/${String(i).padStart(4, '0')}`, Buffer.alloc(i))
        const sizes: number[] = []
        for await (const { key, bytes } of vault.list('many/')) sizes.push(bytes - Number(key.slice(5)))
        expect(sizes).toEqual(Array(150).fill(0))
      })

      test('nothing where nothing begins so, and stops when the reader does', async () => {
        await vault.put('a/1', Buffer.from('x'))
        await vault.put('a/2', Buffer.from('x'))
        expect(await keysOf(vault, 'b')).toEqual([])
        expect(await keysOf(vault, 'a/1/2')).toEqual([])
        for await (const { key } of vault.list('')) {
          expect(key).toBe('a/1')
          break
        }
      })
    })

    describe('reads', () => {
      test('any range', async () => {
        const bytes = randomBytes(2_500_000)
        await vault.put('a.bin', bytes)
        const range = fc
          .tuple(fc.nat(bytes.length), fc.nat(bytes.length))
          .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
        await fc.assert(
          fc.asyncProperty(range, async ([from, to]) => {
            const read = await collect(vault.read('a.bin', { offset: from, length: to - from }))
            expect(read.equals(bytes.subarray(from, to))).toBe(true)
          }),
          { numRuns: 30, examples: [[[0, 0]], [[bytes.length, bytes.length]], [[0, bytes.length]], [[1_048_575, 1_048_577]]] },
        )
      })

      test('no range that goes beyond the end: that object is damaged', async () => {
        await vault.put('a.bin', randomBytes(1000))
        for (const range of [
          { offset: 0, length: 1001 },
          { offset: 999, length: 2 },
          { offset: 5000, length: 1 },
        ]) {
          await expect(collect(vault.read('a.bin', range))).rejects.toMatchObject({ code: 'damaged' })
        }
      })

      test('until its signal is aborted, or its reader leaves', async () => {
        await vault.put('a.bin', randomBytes(5_000_000))
        const stop = new AbortController()
        const reason = new Error('enough')
        let got = 0
        const reading = async () => {
          for await (const chunk of vault.read('a.bin', undefined, { signal: stop.signal })) {
            got += chunk.length
            stop.abort(reason)
          }
        }
        await expect(reading()).rejects.toBe(reason)
        expect(got).toBeGreaterThan(0)
        expect(got).toBeLessThan(5_000_000)
        for await (const chunk of vault.read('a.bin', undefined)) {
          expect(chunk.length).toBeGreaterThan(0)
          break
        }
      })

      test('nothing that is not there, and says so', async () => {
        const missing = { code: 'vault-missing' }
        expect(await vault.stat('no.tar')).toBeUndefined()
        await expect(collect(vault.read('no.tar', undefined))).rejects.toMatchObject(missing)
        await expect(vault.verify('no.tar', { bytes: 1, sha256: sha256('x') })).rejects.toMatchObject(missing)
        await expect(vault.thaw('no.tar', { tier: 'bulk', days: 1 })).rejects.toMatchObject(missing)
        expect((await vault.thawStates(['no.tar'])).get('no.tar')?.state).toBe('failed')
      })
    })

    describe('verifies', () => {
      test('what was sent, and tells another size', async () => {
        const bytes = randomBytes(3_000_000)
        await store('a.tar', bytes)
        await vault.verify('a.tar', { bytes: bytes.length, sha256: sha256(bytes) })
        const damaged = { code: 'damaged' }
        await expect(vault.verify('a.tar', { bytes: bytes.length - 1, sha256: sha256(bytes) })).rejects.toMatchObject(damaged)
      })

      testIf('sha256')('and tells other bytes of the same size', async () => {
        const bytes = randomBytes(3_000_000)
        await store('a.tar', bytes)
        await expect(vault.verify('a.tar', { bytes: bytes.length, sha256: sha256('other') })).rejects.toMatchObject({
          code: 'damaged',
        })
      })

      testIf('damage')('and tells one flipped bit', async () => {
        const bytes = randomBytes(3_000_000)
        await store('a.tar', bytes)
        const damaged = { code: 'damaged' }
        await opened.damage('a.tar')
        if (facts.damageShowsWhenRead) {
          await makeReadable('a.tar')
          await expect(collect(vault.read('a.tar', undefined))).rejects.toMatchObject(damaged)
          return
        }
        await expect(vault.verify('a.tar', { bytes: bytes.length, sha256: sha256(bytes) })).rejects.toMatchObject(damaged)
      })

      test('several at once, and lets one of them be called off', async () => {
        const bodies = Array.from({ length: 4 }, () => randomBytes(4_000_000))
        for (const [i, body] of bodies.entries()) await vault.put(`v/${i}`, body)
        const stop = new AbortController()
        const reason = new Error('enough')
        const verifying = bodies.map((body, i) =>
          vault.verify(`v/${i}`, { bytes: body.length, sha256: sha256(body) }, i === 1 ? { signal: stop.signal } : {}),
        )
        stop.abort(reason)
        const ends = await Promise.allSettled(verifying)
        expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
        expect((ends[1] as PromiseRejectedResult).reason).toBe(reason)
      })
    })

    describe('thaws', () => {
      test('what was put: that is always ready', async () => {
        await vault.put('a.json', Buffer.from('{}'))
        expect((await vault.thaw('a.json', { tier: 'bulk', days: 1 })).state).toBe('ready')
        expect((await vault.thawStates(['a.json'])).get('a.json')).toEqual({ state: 'ready' })
        expect(String(await collect(vault.read('a.json', undefined)))).toBe('{}')
      })

      test('what was sent warm: that is as ready, however large', async () => {
        const bytes = Buffer.alloc(LARGE, 'warm')
        const upload = await vault.upload('a.ndjson.gz', { warm: true })
        for (let at = 0; at < LARGE; at += 4_000_000) await upload.write(bytes.subarray(at, at + 4_000_000))
        await upload.seal()
        await upload.complete()
        expect((await vault.thawStates(['a.ndjson.gz'])).get('a.ndjson.gz')).toEqual({ state: 'ready' })
        expect((await collect(vault.read('a.ndjson.gz', undefined))).equals(bytes)).toBe(true)
        await expect(vault.put('a.ndjson.gz', Buffer.from('x'))).rejects.toMatchObject({ code: 'vault-exists' })
      })

      if (!cold) {
        test('nothing: every upload is ready at once', async () => {
          await store('a.tar', Buffer.from('hello'))
          expect(await vault.thawStates(['a.tar'])).toEqual(new Map([['a.tar', { state: 'ready' }]]))
          expect(await vault.thaw('a.tar', { tier: 'standard', days: 1 })).toEqual({ state: 'ready' })
          expect(String(await collect(vault.read('a.tar', undefined)))).toBe('hello')
        })
        return
      }

      const stateOf = async (key: string, of: Vault = vault): Promise<Thaw | undefined> => (await of.thawStates([key])).get(key)
      const frozen = { code: 'vault-frozen' }

      test('an upload when asked: cold, thawing, ready', async () => {
        await store('a.tar', Buffer.from('hello'))
        expect(await stateOf('a.tar')).toEqual({ state: 'cold' })
        await expect(collect(vault.read('a.tar', undefined))).rejects.toMatchObject(frozen)
        expect((await vault.stat('a.tar'))?.bytes).toBe(5)
        await vault.verify('a.tar', { bytes: 5, sha256: sha256('hello') })

        const asked = await vault.thaw('a.tar', { tier: 'standard', days: 2 })
        if (facts.thawMs) {
          expect(asked.state).toBe('thawing')
          expect(await stateOf('a.tar')).toEqual(asked)
          await expect(collect(vault.read('a.tar', undefined))).rejects.toMatchObject(frozen)
        }

        await opened.pass(facts.thawMs ?? 0)
        expect(await stateOf('a.tar')).toMatchObject({ state: 'ready', expiresAt: expect.any(Date) })
        expect(String(await collect(vault.read('a.tar', undefined)))).toBe('hello')
      })

      testIf('clock')('for the asked days, and no longer', async () => {
        await store('a.tar', Buffer.from('hello'))
        await makeReadable('a.tar', 2)
        await opened.pass((facts.copyMs ?? 2 * DAY_MS) - 60_000)
        expect((await stateOf('a.tar'))?.state).toBe('ready')
        await opened.pass(120_000 + (facts.copyLastsLongerMs ?? 0))
        expect(await stateOf('a.tar')).toEqual({ state: 'cold' })
        await expect(collect(vault.read('a.tar', undefined))).rejects.toMatchObject(frozen)
        await makeReadable('a.tar')
        expect(String(await collect(vault.read('a.tar', undefined)))).toBe('hello')
      })

      testIf('clock')('once, however often it is asked, and longer when asked again while it is ready', async () => {
        await store('a.tar', Buffer.from('hello'))
        const first = await vault.thaw('a.tar', { tier: 'standard', days: 1 })
        const second = await vault.thaw('a.tar', { tier: 'standard', days: 1 })
        if (first.state === 'thawing') expect(second).toEqual(first)
        await opened.pass(facts.thawMs ?? 0)
        await opened.pass(DAY_MS / 2)
        expect((await vault.thaw('a.tar', { tier: 'standard', days: 1 })).state).toBe('ready')
        await opened.pass((DAY_MS * 3) / 4)
        expect((await stateOf('a.tar'))?.state).toBe(facts.copyMs === undefined ? 'ready' : 'cold')
      })

      test('for every process: what one asks, another sees', async () => {
        await store('a.tar', Buffer.from('hello'))
        const other = await opened.reopen()
        try {
          const asked = await other.thaw('a.tar', { tier: 'standard', days: 1 })
          if (asked.state === 'thawing' && facts.thawMs) expect(await stateOf('a.tar')).toEqual(asked)
          await opened.pass(facts.thawMs ?? 0)
          expect((await stateOf('a.tar', other))?.state).toBe('ready')
          expect(await stateOf('a.tar')).toEqual(await stateOf('a.tar', other))
        } finally {
          await other.close()
        }
      })

      test('and the state is no object, and no leftover', async () => {
        await store('a.tar', Buffer.from('hello'))
        await makeReadable('a.tar')
        await expect(store('a.tar', Buffer.from('again'))).rejects.toMatchObject({ code: 'vault-exists' })
        expect((await stateOf('a.tar'))?.state).toBe('ready')
        expect(await keysOf(vault)).toEqual(['a.tar'])
        expect(await vault.sweep(() => true)).toEqual([])
        expect((await stateOf('a.tar'))?.state).toBe('ready')
      })
    })
  })
}

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

async function keysOf(vault: Vault, prefix = '', options: { signal?: AbortSignal } = {}): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of vault.list(prefix, options)) keys.push(key)
  return keys
}
