/** Whoever may write to the catalog commands neither where bytes go nor what is read nor where files are placed: the configuration does. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { scratchDatabase } from '../database.js'
import { type Home, openHome, says, until } from '../firn.js'
import { makeFiles } from '../tree.js'

describe('forged rows', () => {
  let at: Home
  let sql: pg.Client
  let database: Awaited<ReturnType<typeof scratchDatabase>>
  let round = 0
  let tree: string

  beforeAll(async () => {
    database = await scratchDatabase()
    at = openHome({ FIRN_DATABASE_URL: database.url, FIRN_CHECK_SECONDS: '1' })
    expect((await at.run('firn', ['migrate'])).code).toBe(0)
    sql = new pg.Client(database.url)
    await sql.connect()
  })
  afterAll(async () => {
    await sql.end()
    at.dispose()
    await database.drop()
  })
  beforeEach(() => {
    tree = at.path(`tree-${round++}`)
    mkdirSync(tree)
    makeFiles(tree, 10)
  })

  const planned = async () => {
    const ran = await at.run('archive-files', ['-r', '--json', '--detach', tree])
    expect(ran.code).toBe(0)
    return String(ran.summary['set_id'])
  }
  const states = async (set: string) =>
    (await sql.query<{ state: string }>('SELECT DISTINCT state FROM bundle WHERE set = $1', [set])).rows.map(({ state }) => state)
  /** A worker that has had the time to take what it takes. */
  const work = async (env: NodeJS.ProcessEnv, over: () => Promise<boolean>) => {
    const worker = at.start('firn', ['worker', '--grace', '1'], env)
    try {
      await until(over)
    } finally {
      worker.kill('SIGTERM')
    }
    return worker.ended
  }

  test('a worker opens no vault that is not configured, and goes on when it is', async () => {
    const set = await planned()
    const evil = at.path(`evil-${round}`)
    mkdirSync(evil)
    await sql.query('UPDATE "set" SET vault_url = $2 WHERE id = $1', [set, `local:${evil}`])
    await sql.query('UPDATE vault SET url = $1', [`local:${evil}`])
    const worker = at.start('firn', ['worker', '--grace', '1'])
    await says(worker, 'FIRN_VAULTS')
    await sleep(500)
    worker.kill('SIGTERM')
    await worker.ended
    expect(readdirSync(evil)).toEqual([])
    expect(await states(set)).toEqual(['planned'])
    // What the catalog knows and is configured must be a vault, too.
    copyFileSync(join(at.home, 'vault', 'firn-vault.json'), join(evil, 'firn-vault.json'))
    await work({ FIRN_VAULTS: `local:${at.path('unused')} local:${evil}` }, async () => (await states(set)).join() === 'stored')
    expect(readdirSync(evil)).toHaveLength(2)
  }, 120_000)

  test('a worker reads nothing outside FIRN_ROOTS, whatever a row says, and nor does a crawl', async () => {
    const set = await planned()
    const other = at.path('other')
    mkdirSync(other, { recursive: true })
    const blind = at.start('firn', ['worker', '--grace', '1'], { FIRN_ROOTS: other })
    await says(blind, 'outside FIRN_ROOTS')
    blind.kill('SIGTERM')
    await blind.ended
    expect(await states(set)).toEqual(['planned'])
    // Where a root really is, is what counts: neither the row's path nor the place that its mark names.
    await work({ FIRN_ROOTS: `${other}:${tree}` }, async () => (await states(set)).join() === 'stored')
    const refused = await at.run('archive-files', ['-r', tree], { FIRN_ROOTS: other })
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/outside FIRN_ROOTS/) })
    // Nor is a tree read that comes to be only after the look: of what is not there the path counts.
    mkdirSync(at.path('gone/tree'), { recursive: true })
    tree = at.path('gone/tree')
    makeFiles(tree, 1)
    const late = await planned()
    rmSync(at.path('gone'), { recursive: true })
    await sql.query('UPDATE "set" SET marks = NULL WHERE id = $1', [late])
    const wary = at.start('firn', ['worker', '--grace', '1'], { FIRN_ROOTS: other })
    await says(wary, 'outside FIRN_ROOTS')
    wary.kill('SIGTERM')
    await wary.ended
    expect(await states(late)).toEqual(['planned'])
  }, 120_000)

  test('a find opens no vault that is not configured: exit 2, with the line to add', async () => {
    const vault = `local:${at.path('other-vault')}`
    const archived = await at.run('archive-files', ['-r', '--json', '--workers', '1', '--vault', vault, tree])
    expect(archived.code).toBe(0)
    const args = ['--set', String(archived.summary['set_id']), '--to', at.path(`back-${round}`)]
    const refused = await at.run('find-and-retrieve', args)
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining(`FIRN_VAULTS='${vault}'`) })
    expect((await at.run('find-and-retrieve', args, { FIRN_VAULTS: vault })).code).toBe(0)
  }, 120_000)

  test('a retriever places nothing where a row says, only below its own directory', async () => {
    const archived = await at.run('archive-files', ['-r', '--json', '--workers', '1', tree])
    const evil = at.path(`evil-target-${round}`)
    for (const target of [evil, `${at.path('home/restore')}/../../evil-target-${round}`]) {
      const asked = await at.run('find-and-retrieve', ['--set', String(archived.summary['set_id']), '--detach', '--json'])
      expect(asked.code).toBe(0)
      const id = asked.summary['retrieval_id']
      await sql.query('UPDATE retrieval SET target = $2 WHERE id = $1', [id, Buffer.from(target)])
      const retriever = at.start('firn', ['retriever'])
      await says(retriever, 'FIRN_RESTORE_DIR')
      await sql.query("UPDATE retrieval SET target = '' WHERE id = $1", [id])
      await until(async () => (await sql.query('SELECT state FROM retrieval WHERE id = $1', [id])).rows[0].state === 'done')
      retriever.kill('SIGTERM')
      await retriever.ended
      expect(existsSync(evil)).toBe(false)
      expect(existsSync(at.path('home/restore', String(id)))).toBe(true)
    }
  }, 120_000)
})

describe('an embedded home', () => {
  test('remembers vaults that it was given, and targets of detached retrievals, in a file of its owner alone', async () => {
    const at = openHome({ FIRN_CHECK_SECONDS: '1' })
    try {
      makeFiles(at.path('tree'), 5)
      const vault = `local:${at.path('vault')}`
      expect((await at.run('archive-files', ['-r', '--quiet', '--vault', `${vault}?thaw=0`, 'tree'])).code).toBe(0)
      const file = at.path('home', 'remembered.json')
      expect(statSync(file).mode & 0o777).toBe(0o600)
      expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ vaults: [`${vault}?thaw=0`], targets: [] })
      expect((await at.run('find-and-retrieve', ['--all', '--to', at.path('back')])).code).toBe(0)

      const target = at.path('detached')
      mkdirSync(`${target}${at.path('tree')}/dir-0`, { recursive: true, mode: 0o700 })
      writeFileSync(`${target}${at.path('tree')}/dir-0/file-0.txt`, 'older')
      expect((await at.run('find-and-retrieve', ['--all', '--detach', '--overwrite', '--to', target])).code).toBe(0)
      const retriever = at.start('firn', ['retriever'])
      await until(() => {
        const path = `${target}${at.path('tree')}/dir-0/file-0.txt`
        return existsSync(path) && readFileSync(path, 'utf8') !== 'older'
      })
      retriever.kill('SIGTERM')
      await retriever.ended
      // The file may be written by nobody else, or it says nothing.
      writeFileSync(file, '{}')
      const broken = await at.run('find-and-retrieve', ['--all', '--to', at.path('again')])
      expect(broken).toMatchObject({ code: 2, stderr: expect.stringMatching(/remembered.json cannot be read/) })
    } finally {
      at.dispose()
    }
  }, 120_000)
})
