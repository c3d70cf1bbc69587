import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { type ScratchCatalog, scratchCatalog } from './scratch-catalog.js'

let scratch: ScratchCatalog
beforeAll(async () => {
  scratch = await scratchCatalog()
})
afterAll(() => scratch.drop())

const SQL_TYPES: Record<string, string> = {
  BigInt: 'bigint',
  Int: 'integer',
  String: 'text',
  Boolean: 'boolean',
  Float: 'double precision',
  Bytes: 'bytea',
  Json: 'jsonb',
  DateTime: 'timestamp with time zone',
  'String @db.Uuid': 'uuid',
  'Int @db.SmallInt': 'smallint',
}

/** `table.column type null|not null` for every scalar field of schema.prisma. */
async function columnsOfSchema(): Promise<string[]> {
  const text = await readFile(new URL('../../../prisma/schema.prisma', import.meta.url), 'utf8')
  const columns: string[] = []
  for (const [, , body] of text.matchAll(/^model (\w+) \{\n([\s\S]*?)^\}/gm)) {
    const table = /@@map\("(\w+)"\)/.exec(body as string)?.[1]
    for (const [, name, type, array, optional, rest] of (body as string).matchAll(/^ {2}(\w+) +(\w+)(\[\])?(\?)?(.*)$/gm)) {
      const db = /@db\.(Uuid|SmallInt)/.exec(rest as string)?.[0]
      const sqlType = SQL_TYPES[db ? `${type} ${db}` : (type as string)]
      if (sqlType === undefined) continue // a relation
      const column = /@map\("(\w+)"\)/.exec(rest as string)?.[1] ?? name
      columns.push(`${table}.${column} ${sqlType}${array ?? ''} ${optional ? 'null' : 'not null'}`)
    }
  }
  return columns.sort()
}

async function columnsOfDatabase(): Promise<string[]> {
  const client = new pg.Client(scratch.url)
  await client.connect()
  try {
    const { rows } = await client.query<{ line: string }>(
      `SELECT c.relname || '.' || a.attname || ' ' || regexp_replace(format_type(a.atttypid, NULL), '\\(\\d\\)', '')
         || CASE WHEN a.attnotnull THEN ' not null' ELSE ' null' END AS line
       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
       WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
         AND c.relname <> '_prisma_migrations'`,
    )
    return rows.map(({ line }) => line).sort()
  } finally {
    await client.end()
  }
}

test('schema.prisma and the migrations say the same of every column', async () => {
  const columns = await columnsOfSchema()
  expect(columns.length).toBeGreaterThan(80)
  expect(columns).toEqual(await columnsOfDatabase())
})
