/** Thaws and reads of a Glacier vault: what is paid for, what is shared, and what comes over a bad line. */
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { DAY_MS, HOUR_MS } from '../../../test/cloud/clock.js'
import { damageArchive } from '../../../test/cloud/glacier/vaults.js'
import type { ByteRange, Vault } from '../vault.js'
import { type ScratchGlacier, scratchGlacier } from './scratch-glacier.js'
import { MIB } from './tree-hash.js'

let at: ScratchGlacier
beforeEach(async () => {
  at = await scratchGlacier()
  await at.vault.prepare()
})
afterEach(() => at.done())

const whole = { tier: 'standard', days: 1 } as const

async function store(key: string, bytes: Uint8Array): Promise<void> {
  const upload = await at.vault.upload(key, { expectedBytes: 1 })
  await upload.write(bytes)
  await upload.complete()
}

async function read(vault: Vault, key: string, range?: ByteRange): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of vault.read(key, range)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const paid = () => at.cloud.requests.paid()
const stateOf = async (key: string, range?: ByteRange) =>
  (await at.vault.thawStates([key], range ? { ranges: new Map([[key, range]]) } : {})).get(key)?.state

describe('a thaw', () => {
  test('of a range is paid for that range alone, and only it can be read', async () => {
    const bytes = randomBytes(30 * MIB + 77)
    await store('a.tar', bytes)
    const file = { offset: 13 * MIB + 500, length: 3000 }
    expect((await at.vault.thaw('a.tar', { ...whole, range: file })).state).toBe('thawing')
    expect(paid()).toMatchObject([{ tier: 'Standard', bytes: MIB }])
    at.cloud.clock.pass(4 * HOUR_MS)
    expect(await stateOf('a.tar', file)).toBe('ready')
    expect(await stateOf('a.tar')).toBe('cold')
    expect((await read(at.vault, 'a.tar', file)).equals(bytes.subarray(file.offset, file.offset + file.length))).toBe(true)
    await expect(read(at.vault, 'a.tar')).rejects.toMatchObject({ code: 'vault-frozen' })
    await expect(read(at.vault, 'a.tar', { offset: 0, length: 1 })).rejects.toMatchObject({ code: 'vault-frozen' })

    // What lies within it is there already; what does not is asked for and paid.
    expect((await at.vault.thaw('a.tar', { ...whole, range: { offset: 13 * MIB, length: 10 } })).state).toBe('ready')
    expect((await at.vault.thaw('a.tar', { ...whole, range: { offset: 20 * MIB, length: 10 } })).state).toBe('thawing')
    expect(paid()).toHaveLength(2)
  })

  test('is shared: with another process, with another tier, and by those who ask at the same moment', async () => {
    await store('a.tar', randomBytes(3 * MIB))
    const other = at.open()
    try {
      await Promise.all(Array.from({ length: 5 }, () => at.vault.thaw('a.tar', whole)))
      await other.thaw('a.tar', { tier: 'bulk', days: 7 })
      await other.thaw('a.tar', { ...whole, range: { offset: 0, length: 10 } })
      expect(paid()).toHaveLength(1)
    } finally {
      await other.close()
    }
  })

  test('whose answer was lost is found again, and not paid twice', async () => {
    await store('a.tar', randomBytes(MIB))
    at.cloud.faults.add({ kind: 'lost-answer', operation: 'InitiateJob' })
    expect((await at.vault.thaw('a.tar', whole)).state).toBe('thawing')
    expect(paid()).toHaveLength(1)
  })

  test('that failed says why for a while, and may be asked for again', async () => {
    await store('a.tar', randomBytes(MIB))
    await at.vault.thaw('a.tar', whole)
    for (const job of at.emulated.jobs.values()) job.failure = 'The archive could not be retrieved'
    at.cloud.clock.pass(4 * HOUR_MS)
    expect((await at.vault.thawStates(['a.tar'])).get('a.tar')).toEqual({
      state: 'failed',
      reason: 'The retrieval failed: The archive could not be retrieved',
    })
    expect((await at.vault.thaw('a.tar', whole)).state).toBe('thawing')
    expect(await stateOf('a.tar')).toBe('thawing')
    expect(paid()).toHaveLength(2)
  })

  test('that is expedited when there is no capacity says so, and costs nothing', async () => {
    await store('a.tar', randomBytes(MIB))
    at.cloud.faults.add({ kind: 'no-expedited', operation: 'InitiateJob' })
    await expect(at.vault.thaw('a.tar', { tier: 'expedited', days: 1 })).rejects.toMatchObject({
      code: 'try-again',
      message: expect.stringMatching(/--tier standard/),
    })
    expect(paid()).toEqual([])
  })

  test('of hundreds of keys costs a page of jobs for fifty of them, and none for each', async () => {
    const KEYS = 240
    const keys = Array.from({ length: KEYS }, (_, i) => `set/${String(i).padStart(4, '0')}.tar`)
    for (let i = 0; i < KEYS; i += 40) await Promise.all(keys.slice(i, i + 40).map((key) => store(key, Buffer.from(key))))
    at.cloud.requests.reset()
    for (const key of keys.slice(0, 200)) await at.vault.thaw(key, whole)
    expect(at.cloud.requests.byOperation()).toMatchObject({ InitiateJob: 200, DescribeJob: 200 })
    expect(at.cloud.requests.count('ListJobs')).toBeLessThan(40) // again when what is known of them grows old
    at.cloud.requests.reset()
    at.cloud.clock.pass(4 * HOUR_MS)
    const states = await at.vault.thawStates([...keys, 'set/no.tar'])
    expect(at.cloud.requests.byOperation()).toEqual({ ListJobs: 4 })
    const count = (state: string) => [...states.values()].filter((thaw) => thaw.state === state).length
    expect([count('ready'), count('cold'), count('failed')]).toEqual([200, 40, 1])
  })

  test('whose copy expires is cold again; days are not asked for', async () => {
    await store('a.tar', randomBytes(MIB))
    await at.vault.thaw('a.tar', { tier: 'standard', days: 30 })
    at.cloud.clock.pass(4 * HOUR_MS)
    await read(at.vault, 'a.tar')
    at.cloud.clock.pass(DAY_MS)
    await expect(read(at.vault, 'a.tar')).rejects.toMatchObject({ code: 'vault-frozen' })
    expect((await at.vault.thaw('a.tar', whole)).state).toBe('thawing')
  })
})

describe('reading', () => {
  const bytes = randomBytes(20 * MIB + 12_345)
  beforeEach(async () => {
    await store('a.tar', bytes)
    await at.vault.thaw('a.tar', whole)
    at.cloud.clock.pass(4 * HOUR_MS)
    at.cloud.requests.reset()
  })

  test('goes on where the line broke, and notices what changed on the way', async () => {
    at.cloud.faults.add({ kind: 'truncate', operation: 'GetJobOutput' })
    at.cloud.faults.add({ kind: 'bit-flip', operation: 'GetJobOutput', after: 1 })
    at.cloud.faults.add({ kind: 'reset', operation: 'GetJobOutput', after: 2 })
    expect((await read(at.vault, 'a.tar')).equals(bytes)).toBe(true)
    expect(at.cloud.faults.pending).toBe(0)
  })

  test('tells what changed in the vault, instead of giving it', async () => {
    await damageArchive(at.emulated, () => true, 9 * MIB)
    await expect(read(at.vault, 'a.tar')).rejects.toMatchObject({ code: 'damaged' })
    const good = await read(at.vault, 'a.tar', { offset: 0, length: MIB })
    expect(good.equals(bytes.subarray(0, MIB))).toBe(true)
  })

  test('of a small file costs one request for one MiB', async () => {
    const range = { offset: 5 * MIB + 10, length: 2000 }
    expect((await read(at.vault, 'a.tar', range)).equals(bytes.subarray(range.offset, range.offset + range.length))).toBe(true)
    expect(at.cloud.requests.count('GetJobOutput')).toBe(1)
    expect(at.cloud.requests.count('ListJobs')).toBeLessThanOrEqual(1)
  })

  test('of a copy that expires in the middle says that it is frozen again', async () => {
    at.cloud.faults.add({ kind: 'expire-copy', operation: 'GetJobOutput' })
    await expect(read(at.vault, 'a.tar')).rejects.toMatchObject({ code: 'vault-frozen' })
  })
})
