/** How archives get into a Glacier vault when the way there is bad, and what is left behind. */
import { createHash, randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { FirnError } from '#libs/errors/errors.js'
import { openLocalVault } from '../local/local-vault.js'
import { type UploadMemory, uploadMemory } from '../upload-memory.js'
import type { Vault } from '../vault.js'
import { faulty } from '../wrappers/faulty.js'
import { describeKey } from './description.js'
import { readPointer } from './pointer.js'
import { type ScratchGlacier, scratchGlacier } from './scratch-glacier.js'
import { MIB, treeHash } from './tree-hash.js'

let at: ScratchGlacier
beforeEach(async () => {
  at = await scratchGlacier()
  await at.vault.prepare()
})
afterEach(() => at.done())

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function store(vault: Vault, key: string, bytes: Uint8Array, expectedBytes?: number): Promise<string> {
  const upload = await vault.upload(key, expectedBytes === undefined ? {} : { expectedBytes })
  await upload.write(bytes)
  await upload.seal()
  return (await upload.complete()).archiveId
}

const archives = () => [...at.emulated.archives.values()].filter(({ deletedAt }) => !deletedAt)

describe('an archive', () => {
  test('travels in equal parts, and its pointer says id, size and both hashes', async () => {
    const bytes = randomBytes(40 * MIB + 5)
    const id = await store(at.vault, 'set/a.1.tar', bytes, bytes.length)
    expect(at.cloud.requests.byOperation()).toMatchObject({
      InitiateMultipartUpload: 1,
      UploadMultipartPart: 3,
      CompleteMultipartUpload: 1,
    })
    expect(await readPointer(at.companion, 'set/a.1.tar')).toMatchObject({
      archiveId: id,
      bytes: bytes.length,
      sha256: sha256(bytes),
      treeHash: treeHash(bytes).toString('hex'),
      vault: 'photos',
    })
    expect(await at.vault.stat('set/a.1.tar')).toMatchObject({ archiveId: id, bytes: bytes.length })
    expect(archives()).toMatchObject([{ id, description: describeKey('set/a.1.tar') }])
  })

  test('gets through a bad line: every part and every end that fails is sent again', async () => {
    const bytes = randomBytes(40 * MIB)
    at.cloud.faults.add({ kind: 'reset', operation: 'UploadMultipartPart', after: 1 })
    at.cloud.faults.add({ kind: 'slow-down', operation: 'UploadMultipartPart', times: 2 })
    at.cloud.faults.add({ kind: 'internal-error', operation: 'CompleteMultipartUpload' })
    at.cloud.faults.add({ kind: 'slow-down', operation: 'InitiateMultipartUpload' })
    await store(at.vault, 'a.tar', bytes, bytes.length)
    await at.vault.verify('a.tar', { bytes: bytes.length, sha256: sha256(bytes) })
    expect(archives()).toMatchObject([{ treeHash: treeHash(bytes).toString('hex') }])
  })

  test('whose part was taken and whose answer was lost: the part is not sent twice', async () => {
    const bytes = randomBytes(MIB)
    at.cloud.faults.add({ kind: 'lost-answer', operation: 'UploadMultipartPart' })
    await store(at.vault, 'a.tar', bytes)
    expect(at.cloud.requests.count('UploadMultipartPart')).toBe(1)
    expect(at.cloud.requests.count('ListParts')).toBe(1)
  })

  test('whose end was taken and whose answer was lost is asked for its id again, and there is one', async () => {
    at.cloud.faults.add({ kind: 'lost-answer', operation: 'CompleteMultipartUpload', times: 2 })
    const id = await store(at.vault, 'a.tar', Buffer.from('hello'))
    expect(archives().map((archive) => archive.id)).toEqual([id])
  })

  test('whose end is in doubt for good says that the inventory will know', async () => {
    const upload = await at.vault.upload('a.tar')
    await upload.write(Buffer.from('hello'))
    await upload.seal()
    at.cloud.faults.add({ kind: 'internal-error', operation: 'CompleteMultipartUpload' })
    at.emulated.uploads.clear()
    await expect(upload.complete()).rejects.toMatchObject({ code: 'vault-failed', message: expect.stringMatching(/inventory/) })
  })

  test('that another one of the same key outran is not left behind, and was never anybody else', async () => {
    const [first, second] = [await at.vault.upload('a.tar'), await at.vault.upload('a.tar')]
    await first.write(Buffer.from('first'))
    await second.write(Buffer.from('second'))
    await second.complete()
    await expect(first.complete()).rejects.toMatchObject({ code: 'vault-exists' })
    expect(archives()).toHaveLength(1)
    await at.vault.verify('a.tar', { bytes: 6, sha256: sha256(Buffer.from('second')) })
  })

  test('keeps its pointer when the companion fails for a moment, also where only its answer was lost', async () => {
    for (const answerLost of [false, true]) {
      const down = new FirnError('vault-failed', 'the companion is down')
      const companion = faulty(openLocalVault({ directory: at.companionDirectory }), [
        { operation: 'put', at: 1, error: down, answerLost },
      ])
      const vault = at.open({ companion })
      await store(vault, `${answerLost}.tar`, Buffer.from('hello'))
      await at.vault.verify(`${answerLost}.tar`, { bytes: 5, sha256: sha256(Buffer.from('hello')) })
      await vault.close()
    }
    expect(archives()).toHaveLength(2)
  })

  test('is refused under the names of pointers', async () => {
    await expect(at.vault.upload('a.archive.json')).rejects.toMatchObject({ code: 'usage' })
    await expect(at.vault.put('a.archive.json', Buffer.from('x'))).rejects.toMatchObject({ code: 'usage' })
  })

  test('larger than its parts can be is refused where it is begun', async () => {
    await expect(at.vault.upload('a.tar', { expectedBytes: 2 ** 53 })).rejects.toMatchObject({ code: 'vault-refused' })
  })
})

describe('memory', () => {
  test('of all uploads together stays within the budget', async () => {
    let held = 0
    let most = 0
    const inner = uploadMemory(32 * MIB)
    const memory: UploadMemory = {
      bytes: inner.bytes,
      async take(bytes, signal) {
        const taken = await inner.take(bytes, signal)
        held += bytes
        most = Math.max(most, held)
        return {
          buffer: taken.buffer,
          give() {
            held -= bytes
            taken.give()
          },
        }
      },
    }
    const vault = at.open({ memory })
    const bytes = randomBytes(16 * MIB)
    const send = async (key: string) => {
      const upload = await vault.upload(key, { expectedBytes: 1 })
      for (let i = 0; i < 3; i++) await upload.write(bytes)
      await upload.complete()
    }
    await Promise.all(['a', 'b', 'c'].map(send))
    expect(most).toBeLessThanOrEqual(32 * MIB)
    expect(held).toBe(0)
    const stop = new AbortController()
    const dead = await vault.upload('d', { expectedBytes: 1, signal: stop.signal })
    await dead.write(bytes.subarray(0, 1000))
    stop.abort()
    await dead.abort()
    expect(held).toBe(0)
    await vault.close()
  })
})
