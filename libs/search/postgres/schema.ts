/**
 * The tables of the Postgres index. They are not Prisma's, and no migration knows them: the index is a cache beside the catalog, in a
 * schema of its own, that may be dropped at any time and lie in another database than the catalog. So it makes its tables itself.
 */
import { randomBytes } from 'node:crypto'
import { FirnError } from '#libs/errors/errors.js'
import { escapeIdentifier, type Pool } from './pool.js'

/** Of tables, keys and words: an index of another version cannot be searched, only built again. */
const VERSION = 1

/** `id` orders the runs by bundle; see `run.ts`. */
const runTable = (name: string): string => `
  CREATE TABLE IF NOT EXISTS firn_search.${name} (
    id int8 CONSTRAINT ${name}_pkey PRIMARY KEY,
    set_id text NOT NULL,
    w int4[] NOT NULL,
    files text NOT NULL
  );
  -- Hashes do not compress. Nothing but the index reads them.
  ALTER TABLE firn_search.${name} ALTER w SET STORAGE EXTERNAL;
  -- The hundred most frequent words, from 3,000 runs, in a tenth of a second. Without them every word counts as rare, and of two frequent
  -- ones all runs are fetched that have both, for each window: of ten million files that takes a second. More of them would take longer.
  ALTER TABLE firn_search.${name} ALTER id SET STATISTICS 10, ALTER set_id SET STATISTICS 10, ALTER w SET STATISTICS 10;
  ALTER TABLE firn_search.${name} ALTER files SET STATISTICS 0;
  CREATE INDEX IF NOT EXISTS ${name}_w ON firn_search.${name} USING gin (w);
  CREATE INDEX IF NOT EXISTS ${name}_set ON firn_search.${name} (set_id);
`

const TABLES = `
  CREATE SCHEMA IF NOT EXISTS firn_search;

  CREATE TABLE IF NOT EXISTS firn_search.version (version int4 NOT NULL);

  -- Texts that all files of a set are found by. Apart from the runs, so that they may change without touching them.
  CREATE TABLE IF NOT EXISTS firn_search."set" (
    id text PRIMARY KEY,
    description text NOT NULL,
    tags text[] NOT NULL,
    w int4[] NOT NULL
  );
  CREATE INDEX IF NOT EXISTS set_w ON firn_search."set" USING gin (w);

  ${runTable('run')}
`

export async function makeTables(pool: Pool): Promise<void> {
  // Asked first, so that an ordinary start needs neither locks nor the right to create.
  if (await isMade(pool)) return
  await pool.transaction(async (client) => {
    await client.query("SELECT pg_advisory_xact_lock(hashtextextended('firn_search', 0))")
    await client.query(TABLES)
    await client.query('INSERT INTO firn_search.version SELECT $1 WHERE NOT EXISTS (SELECT FROM firn_search.version)', [VERSION])
  })
  if (!(await isMade(pool))) throw new FirnError('database', 'The search index could not be made in Postgres.')
}

const NEXT = 'run_next_'

/** A second table of runs, of this rebuild alone. What an earlier one left is swept away: if it lives, it finds that out at its next write. */
export async function makeNextRuns(pool: Pool): Promise<string> {
  const left = await pool.texts(`SELECT relname FROM pg_class WHERE relnamespace = 'firn_search'::regnamespace
    AND relkind = 'r' AND starts_with(relname, '${NEXT}')`)
  // Whoever may make tables there may name them as he likes.
  for (const [name] of left) await pool.texts(`DROP TABLE IF EXISTS firn_search.${escapeIdentifier(name as string)}`)
  const name = `${NEXT}${randomBytes(6).toString('hex')}`
  await pool.transaction((client) => client.query(runTable(name)))
  return `firn_search.${name}`
}

/** Waits for the writers that are under way, and those that come meanwhile find the new table. */
export async function replaceRuns(pool: Pool, table: string): Promise<void> {
  const name = table.slice('firn_search.'.length)
  await pool.transaction(async (client) => {
    await client.query('DROP TABLE firn_search.run')
    await client.query(`ALTER TABLE ${table} RENAME TO run`)
    for (const kind of ['pkey', 'w', 'set']) await client.query(`ALTER INDEX firn_search.${name}_${kind} RENAME TO run_${kind}`)
  })
}

async function isMade(pool: Pool): Promise<boolean> {
  const [there] = await pool.texts("SELECT to_regclass('firn_search.version') IS NOT NULL")
  if (there?.[0] !== 't') return false
  const [row] = await pool.texts('SELECT version FROM firn_search.version')
  const version = Number(row?.[0] ?? 0)
  if (version <= VERSION) return version === VERSION
  throw new FirnError(
    'database-newer',
    `The search index in Postgres was made by a newer Firn (version ${version}, this one knows ${VERSION}): use that one.`,
  )
}
