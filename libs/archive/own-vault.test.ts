import { randomUUID } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { openLocalVault } from '#libs/vault/local/local-vault.js'
import { claimVault, ownerOf } from './own-vault.js'

const directory = scratchDirectory()
const open = async (name: string) => {
  const vault = openLocalVault({ directory: join(directory, name) })
  await vault.prepare()
  return vault
}

test('a vault is written by the catalog that claimed it, until another takes it over', async () => {
  const vault = await open('a')
  const [first, second] = [randomUUID(), randomUUID()]
  expect(await ownerOf(vault)).toBeUndefined()
  await claimVault(vault, first)
  await claimVault(vault, first)
  await expect(claimVault(vault, second)).rejects.toMatchObject({
    code: 'vault-refused',
    message: expect.stringContaining(first),
  })
  await claimVault(vault, second, { takeOver: true })
  expect(await ownerOf(vault)).toBe(second)
  await expect(claimVault(vault, first)).rejects.toMatchObject({ code: 'vault-refused' })
  expect(readdirSync(join(directory, 'a'))).toEqual(['firn-vault.json'])
  await vault.close()
})

test('of two that claim a new vault at once, one has it', async () => {
  const vault = await open('b')
  const claims = await Promise.allSettled(Array.from({ length: 8 }, () => claimVault(vault, randomUUID())))
  expect(claims.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  await vault.close()
})

test('a note that cannot be read is no vault of ours to write', async () => {
  const vault = await open('c')
  for (const text of ['{', '{"format":"other/1","catalog":"x"}', 'null', '']) {
    writeFileSync(join(directory, 'c', 'firn-vault.json'), text)
    await expect(claimVault(vault, randomUUID())).rejects.toMatchObject({ code: 'vault-refused' })
  }
  await vault.close()
})
