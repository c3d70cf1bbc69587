/** The index in Postgres: the suite, and what only this one can show. */
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { rawFromText } from '#libs/os/raw.js'
import { scratchDatabase } from '../../../test/database.js'
import { openSearchIndex } from '../open-index.js'
import { parseQuery } from '../query.js'
import type { Hit, SearchIndex } from '../search-index.js'
import { describeSearchIndex } from '../search-suite.js'
import { openPostgresIndex } from './postgres-index.js'

describeSearchIndex('in Postgres', async () => {
  const database = await scratchDatabase()
  return {
    open: () => openPostgresIndex({ url: database.url }),
    busy: async () => {
      const sql =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
      return (await ask(database.url, sql)).length
    },
    drop: database.drop,
  }
})

describe('an index in Postgres', () => {
  let database: Awaited<ReturnType<typeof scratchDatabase>>
  const opened: SearchIndex[] = []
  beforeEach(async () => {
    database = await scratchDatabase()
  })
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((index) => index.close()))
    await database.drop()
  })

  async function open(): Promise<SearchIndex> {
    const index = await openSearchIndex(database.url)
    opened.push(index)
    return index
  }
  const bundle = (number: bigint, ...paths: string[]) => ({
    number,
    setId: 's',
    files: paths.map((path, seq) => ({ seq, path: rawFromText(path) })),
  })
  const hits = async (index: SearchIndex, text: string) => {
    const found: Hit[] = []
    for await (const page of index.search(parseQuery(text))) found.push(...page)
    return found
  }

  test('is made by many at once in an empty database, in a schema of its own', async () => {
    const indexes = await Promise.all(Array.from({ length: 5 }, open))
    await Promise.all(indexes.map((index, i) => index.addBundle(bundle(BigInt(i), '/a/b.txt'))))
    expect(await hits(indexes[0] as SearchIndex, 'b')).toHaveLength(5)
    const schemas = await ask(database.url, "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname !~ '^(pg_|information)'")
    expect(schemas).toEqual([{ schemaname: 'firn_search' }])
  })

  test('of a newer Firn is refused, and left as it is', async () => {
    await open()
    await ask(database.url, 'UPDATE firn_search.version SET version = 1000')
    await expect(openSearchIndex(database.url)).rejects.toMatchObject({
      code: 'database-newer',
      message: expect.stringMatching(/version 1000/),
    })
    expect(await ask(database.url, 'SELECT version FROM firn_search.version')).toEqual([{ version: 1000 }])
  })

  test('is opened by a user who may not create anything', async () => {
    await open()
    const role = `reader_${randomBytes(6).toString('hex')}`
    await ask(
      database.url,
      `CREATE ROLE ${role} LOGIN; GRANT USAGE ON SCHEMA firn_search TO ${role}; GRANT SELECT ON ALL TABLES IN SCHEMA firn_search TO ${role}`,
    )
    try {
      const url = new URL(database.url)
      url.username = role
      const index = await openPostgresIndex({ url: url.href })
      expect(await hits(index, 'anything')).toEqual([])
      await index.close()
    } finally {
      await ask(database.url, `DROP OWNED BY ${role}; DROP ROLE ${role}`)
    }
  })

  test('sweeps away what an earlier rebuild left, whatever it is called', async () => {
    const index = await open()
    await index.addBundle(bundle(1n, '/x/kept'))
    const left = 'run_next_"; DROP TABLE firn_search.version; --'
    await ask(database.url, `CREATE TABLE firn_search."${left.replace('"', '""')}" (x int)`)
    await index.rebuild((next) => next.addBundle(bundle(1n, '/x/kept')))
    expect(await hits(index, 'kept')).toEqual([{ bundleNumber: 1n, seq: 0 }])
    const tables = await ask(database.url, "SELECT relname FROM pg_class WHERE relnamespace = 'firn_search'::regnamespace")
    expect(tables).toContainEqual({ relname: 'version' })
    expect(tables).not.toContainEqual({ relname: left })
  })

  test('compares texts, so that words of one hash stay two', async () => {
    // FNV-1a of 32 bits is the same for both: https://softwareengineering.stackexchange.com/questions/49550
    const index = await open()
    await index.addBundle(bundle(1n, '/x/costarring', '/x/liquid'))
    expect(await hits(index, 'liquid')).toEqual([{ bundleNumber: 1n, seq: 1 }])
    expect(await hits(index, 'x -costarring')).toEqual([{ bundleNumber: 1n, seq: 1 }])
  })

  test('searches by its words where the extension intarray has operators of the same name', async () => {
    const available = await ask(database.url, "SELECT 1 FROM pg_available_extensions WHERE name = 'intarray'")
    if (available.length > 0) await ask(database.url, 'CREATE EXTENSION intarray')
    const index = await open()
    for (let b = 0n; b < 20n; b++)
      await index.addBundle(bundle(b, ...Array.from({ length: 500 }, (_, i) => `/d/${b}/file${i}.dat`)))
    await index.addBundle(bundle(30n, '/rare/thing.dat'))
    expect(await hits(index, 'thing')).toEqual([{ bundleNumber: 30n, seq: 0 }])
    const plan = await ask(
      database.url,
      "SET enable_seqscan = off; EXPLAIN SELECT id FROM firn_search.run WHERE w OPERATOR(pg_catalog.@>) '{1,2}'::int4[]",
    )
    expect(JSON.stringify(plan)).toMatch(/run_w/)
  })

  test('gives the bundles whose numbers lie far apart', async () => {
    const index = await open()
    const numbers = [0n, 1n, 2n ** 31n, 2n ** 38n]
    for (const number of numbers) await index.addBundle(bundle(number, '/a/b'))
    expect((await hits(index, 'b')).map((hit) => hit.bundleNumber)).toEqual(numbers.toReversed())
  })

  test('survives that the server ends its connections', async () => {
    const index = await open()
    await index.addBundle(bundle(1n, '/a/b'))
    await ask(
      database.url,
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    )
    for (;;) {
      const found = await hits(index, 'b').catch((error: unknown) => error)
      if (Array.isArray(found)) break
      expect(found).toMatchObject({ code: 'database' })
    }
  })

  test('that cannot be reached says so, without the password', async () => {
    const opening = openSearchIndex('postgresql://firn:secret@127.0.0.1:1/firn')
    await expect(opening).rejects.toMatchObject({ code: 'database', message: expect.not.stringMatching(/secret/) })
  })
})

describe('the URL of a search index', () => {
  test('is refused with the choices, and without its password', async () => {
    for (const url of ['mongodb://firn:secret@host/', 'nothing', '', 'constructor://x']) {
      await expect(openSearchIndex(url)).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/^((?!secret).)*choose one of postgres:.*, postgresql:.*, http:.*, https:\/\/\.\.\.\.$/),
      })
    }
  })
})

async function ask(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    const answer = await client.query(sql)
    return (Array.isArray(answer) ? answer.at(-1) : answer).rows
  } finally {
    await client.end()
  }
}
