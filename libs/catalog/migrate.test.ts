import { readdirSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { scratchDatabase } from '../../test/database.js'
import { assertMigrated, migrate } from './migrate.js'
import { openCatalog } from './open-catalog.js'

let database: Awaited<ReturnType<typeof scratchDatabase>>
let folder: string

beforeEach(async () => {
  database = await scratchDatabase()
  folder = await mkdtemp(join(tmpdir(), 'migrations-'))
})
afterEach(async () => {
  await database.drop()
  await rm(folder, { recursive: true })
})

async function query<R extends pg.QueryResultRow>(sql: string): Promise<R[]> {
  const client = new pg.Client(database.url)
  await client.connect()
  try {
    return (await client.query<R>(sql)).rows
  } finally {
    await client.end()
  }
}

async function migrationOf(name: string, sql: string) {
  await mkdir(join(folder, name))
  await writeFile(join(folder, name, 'migration.sql'), sql)
}

/** Of this version. */
const NAMES = readdirSync(new URL('../../../prisma/migrations/', import.meta.url), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort()

describe('migrate', () => {
  test('makes a new database, and has nothing to do the second time', async () => {
    expect(await migrate(database.url)).toEqual(NAMES)
    expect(await migrate(database.url)).toEqual([])
    await assertMigrated(database.url)
  })

  test('two at once: one works, the other finds it done', async () => {
    const applied = await Promise.all([migrate(database.url), migrate(database.url), migrate(database.url)])
    expect(applied.flat()).toEqual(NAMES)
  })

  test("keeps Prisma's table as Prisma keeps it", async () => {
    await migrate(database.url)
    const rows = await query(
      'SELECT checksum, migration_name, applied_steps_count, rolled_back_at, finished_at IS NULL AS open FROM _prisma_migrations',
    )
    expect(rows).toEqual(
      NAMES.map((migration_name) => ({
        checksum: expect.stringMatching(/^[0-9a-f]{64}$/),
        migration_name,
        applied_steps_count: 1,
        rolled_back_at: null,
        open: false,
      })),
    )
  })

  test('a database with migrations that this version does not know is refused', async () => {
    await migrate(database.url)
    await query(
      `INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) VALUES ('x', '', '20991231_later', now())`,
    )
    await expect(migrate(database.url)).rejects.toMatchObject({
      code: 'database-newer',
      message: expect.stringContaining('20991231_later'),
    })
    await expect(assertMigrated(database.url)).rejects.toMatchObject({ code: 'database-newer' })
  })

  test('a migration that fails leaves nothing, and is tried again', async () => {
    await migrationOf('1_good', 'CREATE TABLE good (id int)')
    await migrationOf('2_bad', 'CREATE TABLE half (id int); SELECT 1 / 0')
    await expect(migrate(database.url, { migrations: folder })).rejects.toMatchObject({ code: 'database' })
    expect(await query(`SELECT to_regclass('good') IS NOT NULL AS good, to_regclass('half') AS half`)).toEqual([
      { good: true, half: null },
    ])
    await writeFile(join(folder, '2_bad', 'migration.sql'), 'CREATE TABLE half (id int)')
    expect(await migrate(database.url, { migrations: folder })).toEqual(['2_bad'])
  })

  test('a database of an older version is brought up, and until then is not opened', async () => {
    await cp(new URL('../../../prisma/migrations/', import.meta.url), folder, { recursive: true })
    await migrate(database.url, { migrations: folder })
    await migrationOf('30000101000000_more', 'CREATE TABLE more (id int)')
    await expect(assertMigrated(database.url, { migrations: folder })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('firn migrate'),
    })
    expect(await migrate(database.url, { migrations: folder })).toEqual(['30000101000000_more'])
  })

  test('a migration that Prisma began and did not finish is named', async () => {
    await migrate(database.url)
    await query(`UPDATE _prisma_migrations SET finished_at = NULL`)
    await expect(migrate(database.url)).rejects.toMatchObject({
      code: 'database',
      message: expect.stringContaining('did not finish'),
    })
  })

  test('an empty database is no catalog, and nobody listening is said so', async () => {
    await expect(openCatalog({ url: database.url })).rejects.toMatchObject({
      code: 'database',
      message: expect.stringContaining('firn migrate'),
    })
    await expect(openCatalog({ url: 'postgresql://nobody@localhost/x?host=%2Fnonexistent' })).rejects.toMatchObject({
      code: 'try-again',
    })
  })
})
