/** A PostgreSQL of one's own: its tables are made by `firn migrate` alone, and one that will not do is said in a sentence. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { scratchDatabase } from '../database.js'
import { type Home, openHome } from '../firn.js'
import { makeFiles } from '../tree.js'

describe('a database of one’s own', () => {
  let at: Home
  let database: Awaited<ReturnType<typeof scratchDatabase>>
  beforeAll(async () => {
    database = await scratchDatabase()
    at = openHome({ FIRN_DATABASE_URL: database.url })
  })
  afterAll(async () => {
    at.dispose()
    await database.drop()
  })

  test('wants its tables first, says so, and then workers elsewhere do the work', async () => {
    makeFiles(at.path('tree'), 120)
    const early = await at.run('archive-files', ['-r', 'tree'])
    expect(early.code).toBe(2)
    expect(early.stderr).toContain('firn migrate')
    expect((await at.run('firn', ['migrate'])).code).toBe(0)
    const worker = at.start('firn', ['worker', '--grace', '5'])
    const ran = await at.run('archive-files', ['-r', '--json', 'tree'])
    expect(ran.summary).toMatchObject({ files_archived: 120, exit_code: 0 })
    worker.kill('SIGTERM')
    expect((await worker.ended).code).toBe(143)
    const back = await at.run('find-and-retrieve', ['-s', 'file', '--to', at.path('back')])
    expect(back.code).toBe(0)
  }, 120_000)

  test('of a newer Firn is refused', async () => {
    const client = new pg.Client(database.url)
    await client.connect()
    await client.query(
      "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count) VALUES ('newer', 'x', '29990101000000_newer', now(), 1)",
    )
    await client.end()
    const ran = await at.run('firn', ['status'])
    expect(ran.code).toBe(2)
    expect(ran.stderr).toMatch(/newer/)
  })

  test('that is not there is one sentence', async () => {
    const ran = await at.run('firn', ['status'], { FIRN_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' })
    expect(ran.code).toBe(75)
    expect(ran.stderr.trimEnd().split('\n')).toHaveLength(1)
  })
})
