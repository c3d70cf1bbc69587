/** Archives and small objects in one listing: the order of the keys, though pointers have names that sort otherwise. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { openLocalVault } from '../local/local-vault.js'
import type { Vault } from '../vault.js'
import { listArchives } from './list-archives.js'
import { writePointer } from './pointer.js'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'firn-glacier-'))
})
afterAll(() => rm(directory, { recursive: true }))

let round = 0
async function companionOf(archives: readonly string[], small: readonly string[]): Promise<Vault> {
  const companion = openLocalVault({ directory: join(directory, String(round++)) })
  await companion.prepare()
  const facts = { archiveId: 'x', bytes: 7, treeHash: 'aa', vault: 'photos', createdAt: new Date(0) }
  for (const key of archives) await writePointer(companion, { key, ...facts })
  for (const key of small) await companion.put(key, Buffer.from('small'))
  return companion
}

async function listed(companion: Vault, prefix: string, mostHeld?: number): Promise<string[]> {
  const found: string[] = []
  for await (const { key, bytes } of listArchives(companion, prefix, {}, mostHeld)) found.push(`${key} ${bytes}`)
  return found
}

/** Names that are each other's beginnings, and go on with what sorts before and after a dot. */
const name = fc.stringMatching(/^[ab][-.ab]{0,4}$/).filter((one) => !one.includes('..'))
const key = fc.array(name, { minLength: 1, maxLength: 2 }).map((names) => names.join('/x-'))

test('comes in the order of the keys, whatever is held back', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.record({ key, archive: fc.boolean() }), { maxLength: 40, selector: (one) => one.key }),
      fc.stringMatching(/^([ab][-ab]{0,1})?$/),
      fc.constantFrom(0, 3, undefined),
      async (objects, prefix, mostHeld) => {
        const companion = await companionOf(
          objects.filter(({ archive }) => archive).map((one) => one.key),
          objects.filter(({ archive }) => !archive).map((one) => `${one.key}.s`),
        )
        const expected = objects
          .map(({ key, archive }) => (archive ? { key, bytes: 7 } : { key: `${key}.s`, bytes: 5 }))
          .filter((one) => one.key.startsWith(prefix))
          .sort((a, b) => (a.key < b.key ? -1 : 1))
        const unique = expected.filter((one, i) => one.key !== expected[i - 1]?.key)
        if (unique.length === expected.length) {
          expect(await listed(companion, prefix, mostHeld)).toEqual(expected.map((one) => `${one.key} ${one.bytes}`))
        }
        await companion.close()
      },
    ),
    { numRuns: 60 },
  )
})
