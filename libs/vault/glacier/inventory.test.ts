/** The inventory: what it mends, what it is not believed, and that it is read as it comes. */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { DAY_MS, HOUR_MS } from '../../../test/cloud/clock.js'
import { deleteArchive } from '../../../test/cloud/glacier/vaults.js'
import type { Vault } from '../vault.js'
import { parseInventory } from './inventory-json.js'
import { pointerKey, readPointer } from './pointer.js'
import { type ScratchGlacier, scratchGlacier } from './scratch-glacier.js'

let at: ScratchGlacier
beforeEach(async () => {
  at = await scratchGlacier()
  await at.vault.prepare()
})
afterEach(() => at.done())

async function store(key: string, bytes: Uint8Array): Promise<string> {
  const upload = await at.vault.upload(key)
  await upload.write(bytes)
  return (await upload.complete()).archiveId
}

async function keys(vault: Vault = at.vault): Promise<string[]> {
  const found: string[] = []
  for await (const { key } of vault.list('')) found.push(key)
  return found
}

/** As a crash between the end of an upload and its pointer leaves it. */
const losePointer = (key: string) => rm(join(at.companionDirectory, pointerKey(key)))

/** Asks for an inventory and lets it come. */
async function inventoryComes(): Promise<void> {
  await keys()
  at.cloud.clock.pass(4 * HOUR_MS)
}

describe('the inventory', () => {
  test('finds an archive whose pointer was never written', async () => {
    const bytes = randomBytes(100_000)
    const id = await store('set/a.1.tar', bytes)
    await store('set/b.1.tar', bytes)
    const before = await readPointer(at.companion, 'set/a.1.tar')
    await losePointer('set/a.1.tar')
    expect(await keys()).toEqual(['set/b.1.tar'])
    at.cloud.clock.pass(DAY_MS)
    await inventoryComes()
    const other = at.open()
    expect(await keys(other)).toEqual(['set/a.1.tar', 'set/b.1.tar'])
    expect(await other.stat('set/a.1.tar')).toMatchObject({ bytes: 100_000, archiveId: id })
    await other.close()
    expect(await readPointer(at.companion, 'set/a.1.tar')).toMatchObject({
      archiveId: id,
      treeHash: before?.treeHash,
      bytes: 100_000,
    })
    await at.vault.verify('set/a.1.tar', { bytes: 100_000, sha256: before?.sha256 as string })
  })

  test('is asked for once, however many look, and not where a part is listed', async () => {
    at.cloud.clock.pass(DAY_MS)
    const other = at.open()
    await keys()
    await keys(other)
    for await (const _ of at.vault.list('set/'));
    expect(at.cloud.requests.count('InitiateJob')).toBe(1)
    at.cloud.clock.pass(4 * HOUR_MS)
    await keys(other)
    expect(at.cloud.requests.count('InitiateJob')).toBe(1)
    await other.close()
  })

  test('of a vault that has none yet is no trouble', async () => {
    await store('a.tar', Buffer.from('x'))
    expect(await keys()).toEqual(['a.tar'])
  })

  test('is not believed of an archive younger than two days, and is of one that is older', async () => {
    await store('old.tar', Buffer.from('old'))
    await store('kept.tar', Buffer.from('kept'))
    at.cloud.clock.pass(2 * DAY_MS + 12 * HOUR_MS)
    await store('young.tar', Buffer.from('young')) // after the last inventory: not in it
    await inventoryComes()
    expect(await keys()).toEqual(['kept.tar', 'old.tar', 'young.tar'])

    const [old] = [...at.emulated.archives.values()].filter(({ description }) => description.includes('"old.tar"'))
    await deleteArchive(old!, at.cloud.clock)
    at.cloud.clock.pass(3 * DAY_MS)
    await inventoryComes()
    expect(await keys()).toEqual(['kept.tar', 'young.tar'])
    expect(await at.vault.stat('old.tar')).toBeUndefined()
    expect(await at.vault.stat('young.tar')).toBeDefined()
  })

  test('keeps out of the way of archives that others put there', async () => {
    const stranger = {
      id: 'x',
      description: 'my holiday',
      createdAt: new Date(0),
      bytes: 5,
      blobs: [],
      leaves: [],
      treeHash: '00',
    }
    at.emulated.archives.set('x', stranger)
    at.emulated.archives.set('y', { ...stranger, id: 'y', description: '{"firn":1,"key":"../../etc/passwd"}' })
    at.cloud.clock.pass(DAY_MS)
    await inventoryComes()
    expect(await keys()).toEqual([])
  })
})

describe('an inventory as it comes', () => {
  const archive = fc.record({
    ArchiveId: fc.string({ minLength: 1 }),
    ArchiveDescription: fc.oneof(fc.string(), fc.constant('{"firn":1,"key":"a\\\\b}{"}')),
    CreationDate: fc.constant('2026-11-01T00:00:00Z'),
    Size: fc.nat(),
    SHA256TreeHash: fc.constant('aa'),
  })

  test('is cut into its archives wherever the chunks end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(archive, { maxLength: 8 }),
        fc.integer({ min: 1, max: 200 }),
        fc.boolean(),
        async (list, size, first) => {
          const about = { VaultARN: 'arn:{"x', InventoryDate: '2026-11-02T00:00:00Z' }
          const bytes = Buffer.from(JSON.stringify(first ? { ...about, ArchiveList: list } : { ArchiveList: list, ...about }))
          async function* chunks() {
            for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size)
          }
          const found: string[][] = []
          const madeAt = await parseInventory(chunks(), async (one) => {
            found.push([one.archiveId, one.description])
          })
          expect(madeAt.toISOString()).toBe('2026-11-02T00:00:00.000Z')
          expect(found).toEqual(list.map(({ ArchiveId, ArchiveDescription }) => [ArchiveId, ArchiveDescription]))
        },
      ),
    )
  })

  test('that ends in its middle is no inventory', async () => {
    async function* cut() {
      yield Buffer.from('{"InventoryDate":"2026-11-02T00:00:00Z","ArchiveList":[{"ArchiveId":"a"')
    }
    await expect(parseInventory(cut(), async () => {})).rejects.toMatchObject({ code: 'vault-failed' })
  })
})
