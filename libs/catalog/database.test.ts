import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import pg from 'pg'
import type { Raw } from '#libs/os/raw.js'
import { binaryRows } from './binary-rows.js'
import { boundedMap } from './bounded-map.js'
import { cleanJson, cleanText } from './clean-text.js'
import { type Database, openDatabase } from './database.js'
import { queryPacked } from './packed-rows.js'
import { entry, newSet, planned, type ScratchCatalog, scratchCatalog } from './scratch-catalog.js'

let scratch: ScratchCatalog
let database: Database
beforeAll(async () => {
  scratch = await scratchCatalog()
  database = openDatabase({ url: scratch.url, poolSize: 2 })
})
afterAll(async () => {
  await database.close()
  await scratch.drop()
})

async function killConnections(): Promise<void> {
  const client = new pg.Client(scratch.url)
  await client.connect()
  await client.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
  )
  await client.end()
}

describe('a server that goes away', () => {
  test('fails what is under way, and the next statement finds it again', async () => {
    const store = await scratch.catalog.openLinkStore()
    const cut = database.transaction(async (connection) => {
      await connection.query('SELECT 1')
      await killConnections()
      await new Promise((resolve) => setTimeout(resolve, 50))
      await connection.query('SELECT 2')
    })
    await expect(cut).rejects.toMatchObject({ code: 'try-again' })
    await expect(store.add([planned(entry('/x'))])).rejects.toMatchObject({ code: 'try-again' })
    await store[Symbol.asyncDispose]()
    expect(await newSet(scratch.catalog)).toMatchObject({ state: 'crawling' })
    expect((await database.query('SELECT 1')).rowCount).toBe(1)
  })
})

describe('transactions', () => {
  test('of a process that is frozen in the middle end, and let the others go on', async () => {
    await using impatient = Object.assign(openDatabase({ url: scratch.url, poolSize: 1, idleMs: 100 }), {
      [Symbol.asyncDispose]: () => impatient.close(),
    })
    const { id } = await newSet(scratch.catalog)
    const touch = `UPDATE "set" SET description = 'touched' WHERE id = $1`
    let touched: Promise<unknown> | undefined
    const frozen = impatient.transaction(async (connection) => {
      await connection.query(touch, [id])
      touched = database.query(touch, [id])
      await touched // only when this one is over
      await connection.query('SELECT 1')
    })
    await expect(frozen).rejects.toMatchObject({ code: 'try-again' })
    await touched
  })

  test('the victim of a deadlock is run again, and both come through', async () => {
    await database.query('CREATE TABLE tug (id int PRIMARY KEY, n int); INSERT INTO tug VALUES (1, 0), (2, 0)')
    let runs = 0
    let holding = 0
    let both = () => {}
    const bothHaveOne = new Promise<void>((resolve) => {
      both = resolve
    })
    const pull = (first: number, second: number) =>
      database.transaction(async (connection) => {
        runs++
        await connection.query('UPDATE tug SET n = n + 1 WHERE id = $1', [first])
        if (++holding === 2) both()
        await bothHaveOne
        await connection.query('UPDATE tug SET n = n + 1 WHERE id = $1', [second])
      })
    await Promise.all([pull(1, 2), pull(2, 1)])
    expect((await database.query('SELECT n FROM tug')).rows).toEqual([{ n: 2 }, { n: 2 }])
    // The one that is run again may take its row back before the other has woken: then they meet once more.
    expect([3, 4]).toContain(runs)
  })

  test('a single statement that is the victim of another is run again, three times at most', async () => {
    await database.query(`CREATE SEQUENCE tries; CREATE TABLE unlucky (until int);
      CREATE FUNCTION be_unlucky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('tries') < NEW.until THEN RAISE EXCEPTION 'unlucky' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$;
      CREATE TRIGGER unlucky BEFORE INSERT ON unlucky FOR EACH ROW EXECUTE FUNCTION be_unlucky()`)
    await database.query('INSERT INTO unlucky VALUES ($1)', [3])
    expect((await database.query('SELECT until FROM unlucky')).rows).toEqual([{ until: 3 }])
    await expect(database.query('INSERT INTO unlucky VALUES ($1)', [100])).rejects.toMatchObject({ code: 'try-again' })
    expect((await database.query('SELECT last_value AS n FROM tries')).rows).toEqual([{ n: 6n }])
  })

  test("an error that is no database's passes as it is, and nothing stays", async () => {
    await expect(
      database.transaction(async (connection) => {
        await connection.query('CREATE TABLE half (id int)')
        throw new RangeError('a bug')
      }),
    ).rejects.toThrow(RangeError)
    expect((await database.query(`SELECT to_regclass('half') AS half`)).rows).toEqual([{ half: null }])
  })
})

test('what goes in as binary rows comes out as packed rows (property)', async () => {
  await database.query(
    'CREATE TABLE mixed (n int8, big int8, small int2, middle int4, name bytea, hash bytea, id uuid, j jsonb, size int8)',
  )
  const bytes = fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b).toString('latin1') as Raw)
  const hex = (length: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((b) => Buffer.from(b).toString('hex'))
  const row = fc.record({
    big: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    small: fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 }),
    middle: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    name: fc.option(bytes, { nil: undefined }),
    hash: fc.option(hex(32), { nil: undefined }),
    id: fc.option(hex(16), { nil: undefined }),
    json: fc.option(fc.string({ unit: 'grapheme' }), { nil: undefined }),
    size: fc.option(fc.nat({ max: Number.MAX_SAFE_INTEGER }), { nil: undefined }),
  })
  const property = fc.asyncProperty(fc.array(row, { maxLength: 40 }), async (rows) => {
    const out = binaryRows()
    rows.forEach(({ big, small, middle, name, hash, id, json, size }, n) => {
      out.row(9)
      out.count(n)
      out.int8(big)
      out.int2(small)
      out.int4(middle)
      if (name === undefined) out.none()
      else out.raw(name)
      if (hash === undefined) out.none()
      else out.hex(hash)
      if (id === undefined) out.none()
      else out.hex(id)
      if (json === undefined) out.none()
      else out.jsonb(cleanJson(json))
      if (size === undefined) out.none()
      else out.count(size)
    })
    await database.transaction(async (connection) => {
      await connection.query('TRUNCATE mixed')
      await connection.copy('mixed (n, big, small, middle, name, hash, id, j, size)', out.finish())
    })
    const packed = await queryPacked(database, 'SELECT big, small, middle, name, hash, id, j, size FROM mixed ORDER BY n', [])
    const found = []
    while (packed.next()) {
      const plain = { big: packed.unsigned(), small: packed.int2(), middle: packed.int4(), name: packed.optionalRaw() }
      const [hash, id] = [packed.optionalHex(), packed.optionalUuid()?.replaceAll('-', '')]
      const json = packed.optionalJsonb()
      found.push({ ...plain, hash, id, json: json === undefined ? undefined : JSON.parse(json), size: packed.optionalCount() })
    }
    expect(found).toEqual(rows.map((r) => ({ ...r, json: r.json === undefined ? undefined : cleanText(r.json) })))
  })
  await fc.assert(property, { numRuns: 60 })
})

describe('small things', () => {
  test('text is made such as Postgres takes it', () => {
    expect(cleanText('a\0b\ud800c\udc00d😀')).toBe('ab\ufffdc\ufffdd😀')
    expect(cleanJson({ a: ['\0', '\udfff'], b: 1 })).toBe('{"a":["","\ufffd"],"b":1}')
  })

  test('a bounded map keeps what is used and forgets the rest', () => {
    const map = boundedMap<number, string>(10)
    for (let i = 0; i < 1000; i++) {
      map.set(i, `v${i}`)
      expect(map.get(0)).toBe('v0')
    }
    expect(map.get(999)).toBe('v999')
    expect(Array.from({ length: 1000 }, (_, i) => map.get(i)).filter(Boolean).length).toBeLessThanOrEqual(20)
  })
})
