import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import type { KnownVault } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { openLocalVault } from '#libs/vault/local/local-vault.js'
import { claimVault, knownNote, noteOf } from './own-vault.js'

const directory = scratchDirectory()
const open = async (name: string) => {
  const vault = openLocalVault({ directory: join(directory, name) })
  await vault.prepare()
  return vault
}
const noteIn = (name: string) => JSON.parse(readFileSync(join(directory, name, 'firn-vault.json'), 'utf8'))
const writeNote = (name: string, note: object) => writeFileSync(join(directory, name, 'firn-vault.json'), JSON.stringify(note))

/** What a catalog keeps of vaults, and no more. */
function catalogOfVaults() {
  const known = new Map<string, KnownVault>()
  const catalog = {
    catalogId: randomUUID() as string,
    knownVault: async (id: string) => known.get(id),
    async recogniseVault(vault: { id: string; url: string }, uuid: string, { anew = false } = {}) {
      const counts = anew ? uuid : (known.get(vault.id)?.uuid ?? uuid)
      known.set(vault.id, { ...vault, uuid: counts })
      return counts
    },
  }
  return { catalog, known }
}

test('a vault is written by the catalog that claimed it, until another takes it over; it stays the same vault', async () => {
  const vault = await open('a')
  const [first, second] = [catalogOfVaults(), catalogOfVaults()]
  expect(await noteOf(vault)).toBeUndefined()
  await claimVault(vault, first)
  await claimVault(vault, first)
  const { vault: uuid } = noteIn('a')
  expect(first.known.get(vault.id)).toEqual({ id: vault.id, url: vault.id, uuid })
  await expect(claimVault(vault, second)).rejects.toMatchObject({
    code: 'vault-refused',
    message: expect.stringContaining(first.catalog.catalogId),
  })
  await claimVault(vault, second, { takeOver: true })
  expect(await noteOf(vault)).toEqual({ format: 'firn-vault/1', catalog: second.catalog.catalogId, vault: uuid })
  expect(second.known.get(vault.id)?.uuid).toBe(uuid)
  await expect(claimVault(vault, first)).rejects.toMatchObject({ code: 'vault-refused' })
  // Who reads need not own it.
  expect(await knownNote(first.catalog, vault)).toMatchObject({ vault: uuid })
  expect(readdirSync(join(directory, 'a'))).toEqual(['firn-vault.json'])
  await vault.close()
})

test('of many that claim a new vault at once, one has it', async () => {
  const vault = await open('b')
  const claims = await Promise.allSettled(Array.from({ length: 8 }, () => claimVault(vault, catalogOfVaults())))
  expect(claims.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  await vault.close()
})

test('commands of one catalog that claim a vault at once agree on its UUID, of a new one and of one of an older version', async () => {
  const mine = catalogOfVaults()
  for (const name of ['new', 'old']) {
    const vault = await open(name)
    if (name === 'old') writeNote(name, { format: 'firn-vault/1', catalog: mine.catalog.catalogId })
    await Promise.all(Array.from({ length: 8 }, () => claimVault(vault, mine)))
    expect(noteIn(name)).toEqual({
      format: 'firn-vault/1',
      catalog: mine.catalog.catalogId,
      vault: mine.known.get(vault.id)?.uuid,
    })
    await vault.close()
  }
})

test('a vault that the catalog knows must show its UUID', async () => {
  const vault = await open('known')
  const mine = catalogOfVaults()
  expect(await knownNote(mine.catalog, vault)).toBeUndefined() // not known yet
  await claimVault(vault, mine)
  const note = noteIn('known')
  expect(await knownNote(mine.catalog, vault)).toEqual(note)
  writeNote('known', { ...note, vault: randomUUID() })
  const away = { code: 'vault-away', message: expect.stringMatching(/is its disk mounted\?/) }
  await expect(knownNote(mine.catalog, vault)).rejects.toMatchObject(away)
  // Of an older version: it cannot show more than that it is written by this catalog.
  writeNote('known', { format: 'firn-vault/1', catalog: note.catalog })
  expect(await knownNote(mine.catalog, vault)).toMatchObject({ catalog: note.catalog })
  await claimVault(vault, mine)
  expect(noteIn('known')).toEqual(note)
  await vault.close()
})

test('who may add and not replace writes on in a vault of an older version', async () => {
  const vault = await open('add')
  const mine = catalogOfVaults()
  writeNote('add', { format: 'firn-vault/1', catalog: mine.catalog.catalogId })
  const put = async () => {
    throw new FirnError('vault-refused', 'may not be replaced')
  }
  await claimVault({ ...vault, put }, mine)
  expect(await knownNote(mine.catalog, vault)).toMatchObject({ catalog: mine.catalog.catalogId })
  await vault.close()
})

test('a note that cannot be read is no vault of ours to write', async () => {
  const vault = await open('c')
  const texts = ['{', '{"format":"other/1","catalog":"x"}', '{"format":"firn-vault/1","catalog":"x","vault":"../x"}', 'null', '']
  for (const text of texts) {
    writeFileSync(join(directory, 'c', 'firn-vault.json'), text)
    await expect(claimVault(vault, catalogOfVaults())).rejects.toMatchObject({ code: 'vault-refused' })
  }
  await vault.close()
})
