/** The S3 vault: the suite on the emulator, hot and cold, and what only S3 can show. */
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { DAY_MS, HOUR_MS } from '../../../test/cloud/clock.js'
import type { Cloud } from '../../../test/cloud/cloud.js'
import type { Fault } from '../../../test/cloud/faults.js'
import { uploadMemory } from '../upload-memory.js'
import type { Upload, Vault } from '../vault.js'
import { describeVault } from '../vault-suite.js'
import { FIRST_PART, type PartSizes } from './part-sizes.js'
import { openScratchVault, openVaultAt, type ScratchCloud, scratchCloud } from './scratch-s3.js'

let at: ScratchCloud
beforeAll(async () => {
  at = await scratchCloud({ thawHours: () => 12 })
})
afterAll(() => at.stop())

for (const [options, thawMs] of [
  ['', undefined],
  ['&class=DEEP_ARCHIVE', 12 * HOUR_MS],
] as const) {
  describeVault(
    `s3://${options}`,
    async () => {
      at.cloud.clock.set(new Date())
      const url = `s3://cold/${at.newPrefix()}?endpoint=${at.cloud.url}${options}`
      const vault = await openScratchVault(at, url)
      return {
        vault,
        reopen: () => openScratchVault(at, url),
        damage: async () => {},
        pass: (ms) => at.cloud.clock.pass(ms),
        done: () => vault.close(),
      }
    },
    {
      ...(thawMs !== undefined && { thawMs }),
      uploadsShowFrom: FIRST_PART,
      copyLastsLongerMs: DAY_MS,
      lacks: ['damage'],
    },
  )
}

const SMALL_PARTS: PartSizes = { sizeOf: (part) => (part < 5 ? 1000 : 2500), mostBytes: 20_000 }

describe('a vault in S3', () => {
  let small: ScratchCloud
  let url: string
  let vault: Vault
  let cloud: Cloud
  beforeAll(async () => {
    small = await scratchCloud({ minPartBytes: 1000, completeAgain: 'no-such-upload' })
    cloud = small.cloud
  })
  afterAll(() => small.stop())
  beforeEach(async () => {
    cloud.faults.clear()
    cloud.requests.reset()
    cloud.clock.set(new Date())
    url = `s3://cold/${small.newPrefix()}?class=DEEP_ARCHIVE&endpoint=${cloud.url}`
    vault = await openScratchVault(small, url, { sizes: SMALL_PARTS, stallMs: 1_500 })
  })
  afterEach(() => vault.close())

  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
  const inBucket = (key: string) => cloud.s3.object('cold', `${vault.id.slice('s3://cold/'.length)}/${key}`)
  const uploads = () => cloud.s3.uploads('cold').filter(({ key }) => key.startsWith(vault.id.slice('s3://cold/'.length)))

  async function send(bytes: Uint8Array, key = 'a.tar', into = vault): Promise<void> {
    const upload = await into.upload(key)
    try {
      for (let offset = 0; offset < bytes.length; offset += 700) await upload.write(bytes.subarray(offset, offset + 700))
      await upload.complete()
    } catch (error) {
      await upload.abort()
      throw error
    }
  }

  async function expectSent(bytes: Uint8Array, key = 'a.tar'): Promise<void> {
    await vault.verify(key, { bytes: bytes.length, sha256: sha256(bytes) })
    const { bucket, prefix } = { bucket: 'cold', prefix: vault.id.slice('s3://cold/'.length) }
    expect((await cloud.s3.read(bucket, `${prefix}/${key}`)).equals(bytes)).toBe(true)
    expect(uploads()).toEqual([])
  }

  async function read(key: string, range?: { offset: number; length: number }, from = vault): Promise<Buffer> {
    const chunks: Uint8Array[] = []
    for await (const chunk of from.read(key, range)) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  describe('sends', () => {
    test('bundles in their class, in parts that grow, and manifests in one that needs no thaw', async () => {
      const bytes = randomBytes(11_300)
      await send(bytes)
      await vault.put('a.manifest', Buffer.from('{}'))
      await expectSent(bytes)
      expect(inBucket('a.tar')?.storageClass).toBe('DEEP_ARCHIVE')
      expect(inBucket('a.manifest')?.storageClass).toBe('STANDARD')
      expect(cloud.requests.byOperation()).toMatchObject({ CreateMultipartUpload: 1, UploadPart: 7, CompleteMultipartUpload: 1 })
    })

    test('what never fills a part in one request, in the same class', async () => {
      await send(randomBytes(999))
      expect(inBucket('a.tar')?.storageClass).toBe('DEEP_ARCHIVE')
      expect(cloud.requests.byOperation()).toMatchObject({ PutObject: 1 })
      expect(cloud.requests.count('CreateMultipartUpload')).toBe(0)
    })

    test('nothing twice but the first manifest, which shows whether the service keeps its conditions: then it looks no more', async () => {
      await vault.put('a.manifest', Buffer.from('{}'))
      expect(cloud.requests.byOperation()).toMatchObject({ HeadObject: 1, PutObject: 2 })
      cloud.requests.reset()
      await vault.put('b.manifest', Buffer.from('{}'))
      await send(randomBytes(999), 'b.tar')
      expect(cloud.requests.byOperation()).toEqual({ PutObject: 2 })
      await expect(vault.put('b.manifest', Buffer.from('{}'))).rejects.toMatchObject({ code: 'vault-exists' })
    })

    test('nothing that is larger than it can take', async () => {
      expect(vault.maxObjectBytes).toBe(20_000)
      await send(randomBytes(20_000), 'largest.tar')
      await expect(send(randomBytes(20_001))).rejects.toThrow(/grows beyond 20000 bytes.*FIRN_UPLOAD_MEMORY/)
      expect(inBucket('a.tar')).toBeUndefined()
      expect(uploads()).toEqual([])
    })

    test('several bundles at once with memory for one part', async () => {
      const memory = uploadMemory(2500)
      const tight = await openScratchVault(small, url, { sizes: SMALL_PARTS, memory })
      const bodies = Array.from({ length: 6 }, () => randomBytes(12_000))
      await Promise.all(bodies.map((body, i) => send(body, `${i}.tar`, tight)))
      for (const [i, body] of bodies.entries()) await expectSent(body, `${i}.tar`)
      await tight.close()
    })

    test('with checksum=md5 and checksum=none', async () => {
      for (const mode of ['md5', 'none']) {
        const other = await openScratchVault(small, `${url}&checksum=${mode}`, { sizes: SMALL_PARTS })
        const bytes = randomBytes(5300)
        await send(bytes, `${mode}.tar`, other)
        await other.put(`${mode}.json`, Buffer.from('{}'))
        await other.verify(`${mode}.tar`, { bytes: bytes.length, sha256: sha256(bytes) })
        await expectSent(bytes, `${mode}.tar`)
        await other.close()
      }
    })
  })

  describe('is not shaken by', () => {
    const passing: Record<string, Fault[]> = {
      'a storm of 503': [{ kind: 'slow-down', percent: 40, seed: 3, times: 6 }],
      'parts that fail': [{ kind: 'internal-error', operation: 'UploadPart', after: 2, times: 4 }],
      'connections that are reset': [{ kind: 'reset', percent: 30, times: 6 }],
      'a part that is never answered': [{ kind: 'stall', operation: 'UploadPart', after: 1 }],
      'lost answers to parts': [{ kind: 'lost-answer', operation: 'UploadPart', times: 3 }],
      'a lost answer to Complete': [{ kind: 'lost-answer', operation: 'CompleteMultipartUpload' }],
      'Complete that is never answered': [{ kind: 'stall', operation: 'CompleteMultipartUpload' }],
      'an error in a good answer': [{ kind: 'error-in-200', operation: 'CompleteMultipartUpload' }],
      'a lost answer to the beginning of an upload': [{ kind: 'lost-answer', operation: 'CreateMultipartUpload' }],
      'lost answers to small objects': [{ kind: 'lost-answer', operation: 'PutObject', times: 2 }],
      'bits that flip on the way there': [
        { kind: 'bit-flip-sent', operation: 'UploadPart', times: 2 },
        { kind: 'bit-flip-sent', operation: 'PutObject' },
      ],
      'answers with another checksum than what was sent': [
        { kind: 'other-checksum', operation: 'UploadPart', times: 2 },
        { kind: 'other-checksum', operation: 'PutObject' },
      ],
      'another writer of the same moment': [{ kind: 'conflict', operation: 'PutObject' }],
      'a token that expired': [{ kind: 'expired-token', operation: 'UploadPart' }],
    }
    test.each(Object.entries(passing))('%s', async (_, faults) => {
      for (const fault of faults) cloud.faults.add(fault)
      const bytes = randomBytes(11_300)
      await send(bytes)
      await vault.put('a.json', Buffer.from('{"a":1}'))
      await vault.verify('a.json', { bytes: 7, sha256: sha256(Buffer.from('{"a":1}')) })
      expect(String(await read('a.json'))).toBe('{"a":1}')
      cloud.faults.clear()
      await expectSent(bytes)
    })

    const spoiling = (['bit-flip-sent', 'other-checksum'] as const).flatMap((kind) =>
      (['sha256', 'md5'] as const).map((mode) => [kind, mode] as const),
    )
    test.each(spoiling)('a part with %s: it is sent once more (checksum=%s)', async (kind, mode) => {
      const other = await openScratchVault(small, `${url}&checksum=${mode}`, { sizes: SMALL_PARTS })
      const bytes = randomBytes(11_300)
      const partsOf = async (key: string) => {
        const before = cloud.requests.count('UploadPart')
        await send(bytes, key, other)
        return cloud.requests.count('UploadPart') - before
      }
      const parts = await partsOf('a.tar')
      cloud.faults.add({ kind, operation: 'UploadPart' })
      expect(await partsOf('b.tar')).toBe(parts + 1)
      await expectSent(bytes, 'b.tar')
      await other.close()
    })

    test('credentials that expire in the middle of an upload: it asks for new ones', async () => {
      let asked = 0
      let session = cloud.session(600)
      const credentials = async () => {
        asked++
        return { accessKeyId: session.accessKeyId, secretAccessKey: session.secretAccessKey, sessionToken: session.sessionToken }
      }
      const other = await openScratchVault(small, url, { sizes: SMALL_PARTS, credentials })
      const bytes = randomBytes(11_300)
      const upload = await other.upload('a.tar')
      await upload.write(bytes.subarray(0, 5000))
      const before = asked
      session = cloud.session(7200)
      cloud.clock.pass(1200 * 1000)
      await upload.write(bytes.subarray(5000))
      await upload.complete()
      await expectSent(bytes)
      expect(asked).toBeGreaterThan(before)
      await other.close()
    })

    test('credentials that expired before a look, whose answer has no body to say so', async () => {
      let session = cloud.session(600)
      const other = await openScratchVault(small, url, { credentials: async () => session })
      await other.put('a.manifest', Buffer.from('{}'))
      session = cloud.session(7200)
      cloud.clock.pass(1200 * 1000)
      expect(await other.stat('a.manifest')).toMatchObject({ bytes: 2 })
      await other.close()
    })

    test('credentials that nobody renews: a look says that they have expired, mostly', async () => {
      const other = await openScratchVault(small, url, { credentials: cloud.session(600) })
      await other.put('a.manifest', Buffer.from('{}'))
      cloud.clock.pass(1200 * 1000)
      const refusal = {
        code: 'vault-refused',
        message: expect.stringMatching(/does not say why \(400\).*credentials have expired/),
      }
      await expect(other.stat('a.manifest')).rejects.toMatchObject(refusal)
      await other.close()
    })

    test('a clock that is off by 20 minutes: the service says what time it is', async () => {
      cloud.clock.skew(20 * 60_000)
      try {
        const other = await openScratchVault(small, url, { sizes: SMALL_PARTS })
        await other.prepare()
        await send(randomBytes(5000), 'a.tar', other)
        await other.close()
      } finally {
        cloud.clock.skew(0)
      }
    })
  })

  describe('settles', () => {
    test('a lost answer where another has written the same key: refused, and the other object stays', async () => {
      const upload = await vault.upload('a.tar')
      await upload.write(randomBytes(5000))
      await upload.seal()
      const other = randomBytes(5000)
      await send(other)
      cloud.faults.add({ kind: 'reset', operation: 'CompleteMultipartUpload' })
      await expect(upload.complete()).rejects.toMatchObject({ code: 'vault-exists' })
      await expectSent(other)
    })

    test('a part that is refused: so is the upload, and nothing is left', async () => {
      cloud.faults.add({ kind: 'access-denied', operation: 'UploadPart', after: 1 })
      const upload = await vault.upload('a.tar')
      await upload.write(randomBytes(1000))
      await expect(
        (async () => {
          await upload.write(randomBytes(3000))
          await upload.seal()
        })(),
      ).rejects.toMatchObject({ code: 'vault-refused' })
      await upload.abort()
      expect(uploads()).toEqual([])
    })
  })

  describe('reads', () => {
    test('on behind the last byte when the connection breaks', async () => {
      const bytes = randomBytes(3_000_000)
      await vault.put('a.bin', bytes)
      cloud.faults.add({ kind: 'truncate', operation: 'GetObject', times: 3 })
      expect((await read('a.bin')).equals(bytes)).toBe(true)
      cloud.faults.add({ kind: 'truncate', operation: 'GetObject', times: 2 })
      expect((await read('a.bin', { offset: 7, length: 2_000_000 })).equals(bytes.subarray(7, 2_000_007))).toBe(true)
      expect(cloud.requests.count('GetObject')).toBe(7)
    })

    test('on when nothing comes', async () => {
      await vault.put('a.bin', Buffer.from('hello'))
      cloud.faults.add({ kind: 'stall', operation: 'GetObject', times: 2 })
      expect(String(await read('a.bin'))).toBe('hello')
    })

    test('no bytes of two objects as if they were one', async () => {
      await vault.put('a.bin', randomBytes(3_000_000))
      cloud.faults.add({ kind: 'truncate', operation: 'GetObject' })
      const reading = (async () => {
        let replaced = false
        for await (const _ of vault.read('a.bin', undefined)) {
          if (!replaced) await vault.put('a.bin', randomBytes(3_000_000), { replace: true })
          replaced = true
        }
      })()
      await expect(reading).rejects.toMatchObject({ code: 'damaged' })
    })

    test('a copy that expires in the middle: frozen', async () => {
      await send(randomBytes(15_000))
      await vault.thaw('a.tar', { tier: 'standard', days: 1 })
      cloud.clock.pass(12 * HOUR_MS)
      cloud.faults.add({ kind: 'expire-copy', operation: 'GetObject' })
      await expect(read('a.tar')).rejects.toMatchObject({ code: 'vault-frozen' })
    })
  })

  describe('thaws', () => {
    test('by the tier and for the days that are asked, once', async () => {
      await send(randomBytes(5000))
      await vault.thaw('a.tar', { tier: 'bulk', days: 5 })
      await vault.thaw('a.tar', { tier: 'bulk', days: 5 })
      expect(cloud.requests.paid()).toMatchObject([{ operation: 'RestoreObject', tier: 'Bulk', days: 5, bytes: 5000 }])
    })

    test('never expedited from Deep Archive, and not now where none is to be had', async () => {
      await send(randomBytes(5000))
      await expect(vault.thaw('a.tar', { tier: 'expedited', days: 1 })).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/no expedited thaw: choose --tier standard or bulk/),
      })
      cloud.faults.add({ kind: 'no-expedited', operation: 'RestoreObject' })
      await expect(vault.thaw('a.tar', { tier: 'standard', days: 1 })).rejects.toMatchObject({
        code: 'try-again',
        message: expect.stringMatching(/no expedited thaw is to be had/),
      })
      expect(cloud.requests.paid()).toEqual([])
    })

    test('and tells of thousands in tens of requests', async () => {
      const prefix = vault.id.slice('s3://cold/'.length)
      const keys = Array.from({ length: 1500 }, (_, i) => `2026/11/set-${i % 3}/${String(i).padStart(5, '0')}.1.tar`)
      const planted = keys.map((key) => `${prefix}/${key}`)
      await cloud.s3.plant('cold', planted, () => Buffer.from('x'), 'DEEP_ARCHIVE')
      for (const key of keys.slice(0, 20)) await vault.thaw(key, { tier: 'bulk', days: 1 })
      cloud.clock.pass(48 * HOUR_MS)
      for (const key of keys.slice(20, 30)) await vault.thaw(key, { tier: 'bulk', days: 1 })
      const states = async (options: string) => {
        const other = await openScratchVault(small, url + options)
        cloud.requests.reset()
        const found = await other.thawStates([...keys, 'none/a.tar'])
        await other.close()
        const count = (state: string) => [...found.values()].filter((thaw) => thaw.state === state).length
        return [count('ready'), count('thawing'), count('cold'), count('failed')]
      }
      expect(await states('&restore-status=list')).toEqual([20, 10, 1470, 1])
      expect(cloud.requests.byOperation()).toEqual({ ListObjectsV2: 2 })
      expect(await states('')).toEqual([20, 10, 1470, 1])
      expect(cloud.requests.count()).toBeLessThan(10)
      expect(await states('&restore-status=head')).toEqual([20, 10, 1470, 1])
      expect(cloud.requests.count('HeadObject')).toBe(1501)
    })

    test('and tells of scattered ones by as few requests as pages of a listing, or heads, could', async () => {
      const PAGE = 50
      const paged = await scratchCloud({ pageKeys: PAGE })
      try {
        const prefix = paged.newPrefix()
        const keys = Array.from({ length: 2_000 }, (_, i) => `2026/11/set-${Math.floor(i / 10)}/${i}.1.tar`).sort()
        const planted = keys.map((key) => `${prefix}/${key}`)
        await paged.cloud.s3.plant('cold', planted, () => Buffer.from('x'), 'DEEP_ARCHIVE')
        const url = `s3://cold/${prefix}?class=DEEP_ARCHIVE&endpoint=${paged.cloud.url}&restore-status=list`
        const other = await openScratchVault(paged, url)
        const cost = async (asked: readonly string[]) => {
          paged.cloud.requests.reset()
          const states = await other.thawStates(asked)
          expect([...states.keys()].sort()).toEqual([...asked].sort())
          expect([...states.values()].every(({ state }) => state === 'cold')).toBe(true)
          return paged.cloud.requests.count()
        }
        const pages = Math.ceil(keys.length / PAGE)
        expect(await cost(keys)).toBeLessThanOrEqual(pages + 1)
        expect(await cost(keys.filter((_, i) => i % 5 === 0))).toBeLessThanOrEqual(pages + 1)
        expect(await cost(keys.filter((_, i) => i % 20 === 0))).toBeLessThanOrEqual(pages + 1)
        // Further apart than a page: one request for each, and most of them heads.
        const far = keys.filter((_, i) => i % (PAGE + 10) === 0)
        expect(await cost(far)).toBeLessThanOrEqual(far.length)
        expect(paged.cloud.requests.count('HeadObject')).toBeGreaterThan(far.length / 2)
        // Some far apart, and then many together.
        const both = keys.filter((_, i) => (i < 1_000 ? i % (PAGE + 10) === 0 : true))
        expect(await cost(both)).toBeLessThanOrEqual(17 + 32 + 1_000 / PAGE + 2)
        await other.close()
      } finally {
        await paged.stop()
      }
    })

    test('with its price, which is Amazon’s for cold classes and nobody’s on a server of one’s own', async () => {
      const request = { objects: 1, thawBytes: 1e9, readBytes: 1e9, tier: 'bulk', days: 1 } as const
      expect(vault.quote(request)).toMatchObject({ usd: expect.any(Number), hours: [24, 48] })
      expect(() => vault.quote({ ...request, tier: 'expedited' })).toThrow(/no expedited/)
      const open = async (more: string) => {
        const other = await openScratchVault(small, `s3://cold/x?${more}`)
        await other.close()
        return other
      }
      expect((await open(`endpoint=${cloud.url}`)).quote(request)).toBeUndefined()
      expect((await open('region=eu-west-1')).quote(request)).toMatchObject({ hours: [0, 0] })
    })
  })

  test('is asked by another process for the checksum of the parts that it was sent in', async () => {
    for (const mode of ['sha256', 'md5', 'none']) {
      const place = `${url.replace('?', `-${mode}?`)}&checksum=${mode}`
      await using sender = closing(await openScratchVault(small, place, { sizes: SMALL_PARTS }))
      await using other = closing(await openScratchVault(small, place, { sizes: SMALL_PARTS }))
      const bytes = randomBytes(5_500)
      const upload = await sender.vault.upload('parts.tar')
      await upload.write(bytes)
      await upload.seal()
      const checksum = upload.checksum?.()
      await upload.complete()
      const expected = { bytes: bytes.length, sha256: sha256(bytes) }
      const isSaid = mode !== 'none'
      expect(checksum !== undefined).toBe(isSaid)
      // Only the size is known to one who was not told; and a whole object says its own hash.
      expect(await other.vault.verify('parts.tar', expected)).toBe('size')
      expect(await other.vault.verify('parts.tar', { ...expected, checksum })).toBe(isSaid ? 'checksum' : 'size')
      if (isSaid) {
        const wrong = checksum?.replace(/:./, (start) => `:${start[1] === 'a' ? 'b' : 'a'}`)
        await expect(other.vault.verify('parts.tar', { ...expected, checksum: wrong })).rejects.toMatchObject({ code: 'damaged' })
      }
      const whole = await sender.vault.upload('whole.tar')
      await whole.write(bytes.subarray(0, 500))
      await whole.seal()
      expect(whole.checksum?.()).toBeUndefined()
      await whole.complete()
      const short = { bytes: 500, sha256: sha256(bytes.subarray(0, 500)) }
      expect(await other.vault.verify('whole.tar', short)).toBe(mode === 'sha256' ? 'checksum' : 'size')
    }
  })

  test('sweeps its own prefix alone, page by page', async () => {
    const other = await openScratchVault(small, `${url.replace('?', '-other?')}`, { sizes: SMALL_PARTS })
    const foreign = await other.upload('a.tar')
    await foreign.write(randomBytes(1000))
    const mine: Upload[] = []
    for (const i of [1, 2, 3]) {
      const upload = await vault.upload(`dead.${i}.tar`)
      await upload.write(randomBytes(1000))
      mine.push(upload)
    }
    const asked: string[] = []
    expect(
      await vault.sweep((key) => {
        asked.push(key)
        return true
      }),
    ).toEqual(['dead.1.tar', 'dead.2.tar', 'dead.3.tar'])
    expect(asked).toHaveLength(3)
    await foreign.complete()
    await Promise.all(mine.map((upload) => upload.abort()))
    await other.close()
  })

  test('sweeps what finding out whether it can be written left behind, where the answer was lost', async () => {
    cloud.faults.add({ kind: 'lost-answer', operation: 'CreateMultipartUpload' })
    await vault.prepare()
    expect(cloud.s3.uploads('cold').map(({ key }) => key)).toEqual([expect.stringContaining('.firn-probe-')])
    expect(await vault.sweep(() => false)).toEqual([])
    expect(cloud.s3.uploads('cold')).toEqual([])
  })

  describe('says in one sentence', () => {
    const open = (place: string, options: Parameters<typeof openScratchVault>[2] = {}) =>
      openScratchVault(small, place.replace('ENDPOINT', `endpoint=${cloud.url}`), options)

    test('that there is no such bucket, for objects too', async () => {
      const none = await open('s3://no-such-bucket/x?ENDPOINT')
      const refusal = { code: 'vault-refused', message: expect.stringMatching(/there is no bucket no-such-bucket at http/) }
      await expect(none.prepare()).rejects.toMatchObject(refusal)
      await expect(none.stat('a.tar')).rejects.toMatchObject(refusal)
      await expect(none.thawStates(['a.tar'])).rejects.toMatchObject(refusal)
      await expect(none.put('a.json', Buffer.from('x'))).rejects.toMatchObject(refusal)
      await expect(none.sweep(() => true)).rejects.toMatchObject(refusal)
      await none.close()
    })

    test('that the bucket lies in another region, and in which', async () => {
      cloud.s3.addBucket('far', 'eu-central-1')
      const far = await open('s3://far/x?region=us-east-1&ENDPOINT')
      await expect(far.prepare()).rejects.toMatchObject({
        code: 'vault-refused',
        message: expect.stringMatching(/the bucket far lies in eu-central-1: say region=eu-central-1 in the URL/),
      })
      await far.close()
      const right = await open('s3://far/x?region=eu-central-1&ENDPOINT')
      await right.prepare()
      await right.close()
    })

    test('that the key is not known, the secret is wrong, or has expired', async () => {
      const { credentials } = cloud
      const session = cloud.session(60)
      cloud.clock.pass(120_000)
      for (const [wrong, message] of [
        [{ ...credentials, accessKeyId: 'AKIANOBODY' }, /does not know the access key/],
        [{ ...credentials, secretAccessKey: 'sesame' }, /the secret access key is wrong/],
        [session, /the credentials have expired/],
      ] as const) {
        const { accessKeyId, secretAccessKey } = wrong
        const token = 'sessionToken' in wrong ? { sessionToken: wrong.sessionToken } : {}
        const refused = await openVaultAt(url, { credentials: { accessKeyId, secretAccessKey, ...token } })
        const refusal = await refused.prepare().catch((error: Error) => error)
        expect(refusal).toMatchObject({ code: 'vault-refused', message: expect.stringMatching(message) })
        expect((refusal as Error).message).not.toContain(secretAccessKey)
        await refused.close()
      }
    })

    test('that a permission is missing', async () => {
      cloud.faults.add({ kind: 'access-denied', operation: 'CreateMultipartUpload' })
      await expect(vault.prepare()).rejects.toMatchObject({
        code: 'vault-refused',
        message: expect.stringMatching(/lack a permission there \(AccessDenied.*docs\/vaults\.md/),
      })
    })

    test('that nobody answers there: that may pass', async () => {
      const gone = await openScratchVault(small, 's3://cold/x?endpoint=http://127.0.0.1:1')
      await expect(gone.prepare()).rejects.toMatchObject({
        code: 'vault-failed',
        message: expect.stringMatching(/http:\/\/127\.0\.0\.1:1 cannot be reached \(ECONNREFUSED\)/),
      })
      await gone.close()
    })

    test('that it can be written, and leaves nothing by finding out', async () => {
      await vault.prepare()
      expect(uploads()).toEqual([])
      expect(cloud.requests.count('PutObject')).toBe(0)
    })
  })

  test('does not let the SDK complain of Node', async () => {
    const opener = new URL('../open-vault.js', import.meta.url).href
    const script = `
      const { openVault } = await import(${JSON.stringify(opener)})
      const options = { prices: async () => ({}), uploadMemoryBytes: 0 }
      await (await openVault('s3://bucket/x?region=eu-west-1', options)).close()
      await (await openVault('s3://bucket/y?region=eu-west-1', options)).close()
      process.emitWarning('another')
    `
    const { stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stderr).toMatch(/another/)
    expect(stderr).not.toMatch(/NodeVersionSupportWarning/)
  })
})

const closing = (vault: Vault) => ({ vault, [Symbol.asyncDispose]: () => vault.close() })
