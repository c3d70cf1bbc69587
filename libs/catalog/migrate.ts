/**
 * Brings a database to this version: runs the migrations of `prisma/migrations` that it lacks. A runner of our own, because Prisma's
 * fetches an engine from its vendor's site, which closed networks do not reach. It keeps Prisma's table of migrations and takes
 * Prisma's lock, so `prisma migrate` may be used on the same database before and afterwards.
 */
import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { FirnError } from '#libs/errors/errors.js'
import { type Connection, type Database, openDatabase } from './database.js'

/** Beside `dist/`, in which this file runs. */
const MIGRATIONS = fileURLToPath(new URL('../../../prisma/migrations/', import.meta.url))

/** The key of the advisory lock that Prisma's own engine takes. */
const PRISMA_LOCK = 72707369

const PRISMA_TABLE = `
  CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    finished_at TIMESTAMPTZ,
    migration_name VARCHAR(255) NOT NULL,
    logs TEXT,
    rolled_back_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
  )`

/** Applies what is missing, each migration in a transaction; returns the names of those it applied. */
export async function migrate(url: string, options: { migrations?: string } = {}): Promise<string[]> {
  const folder = options.migrations ?? MIGRATIONS
  const known = await migrationsIn(folder)
  const database = openDatabase({ url, poolSize: 1, applicationName: 'firn migrate' })
  try {
    // The common case costs one statement; only who has something to do takes the lock and looks again.
    if ((await missing(database, known)).length === 0) return []
    const connection = await database.connect()
    try {
      await connection.query('SELECT pg_advisory_lock($1)', [PRISMA_LOCK])
      await refuseOtherEncodings(connection)
      await connection.query(PRISMA_TABLE)
      const names = await missing(connection, known)
      for (const name of names) await apply(connection, name, await readFile(`${folder}/${name}/migration.sql`))
      return names
    } finally {
      await connection.end() // and the lock with it
    }
  } finally {
    await database.close()
  }
}

/** For a database that others look after: throws unless it is of this very version. One statement. */
export async function assertMigrated(url: string, options: { migrations?: string } = {}): Promise<void> {
  const database = openDatabase({ url, poolSize: 1, applicationName: 'firn migrate' })
  try {
    const names = await missing(database, await migrationsIn(options.migrations ?? MIGRATIONS))
    if (names.length > 0)
      throw new FirnError('usage', `The database lacks the migration ${names.join(', ')}: run \`firn migrate\`.`)
  } finally {
    await database.close()
  }
}

/** The migrations of this version that the database lacks. Throws `database-newer` for a database that has others. */
async function missing(database: Pick<Database, 'query'>, known: readonly string[]): Promise<string[]> {
  const applied = await appliedIn(database)
  for (const { name, finished } of applied) {
    if (!known.includes(name)) {
      throw new FirnError(
        'database-newer',
        `The database was made by a newer Firn (it has the migration ${name}, which this version does not know): use that version.`,
      )
    }
    if (!finished) {
      throw new FirnError(
        'database',
        `The migration ${name} of the database was begun and did not finish: repair it with \`prisma migrate resolve\`, then try again.`,
      )
    }
  }
  return known.filter((name) => !applied.some((migration) => migration.name === name))
}

async function appliedIn(database: Pick<Database, 'query'>): Promise<{ name: string; finished: boolean }[]> {
  try {
    const { rows } = await database.query<{ name: string; finished: boolean }>(
      `SELECT migration_name AS name, bool_or(finished_at IS NOT NULL) AS finished
       FROM _prisma_migrations WHERE rolled_back_at IS NULL GROUP BY migration_name ORDER BY migration_name`,
    )
    return rows
  } catch (error) {
    const state = ((error as Error).cause as { code?: string } | undefined)?.code
    if (state === '42P01') return [] // no such table: a new database
    throw error
  }
}

async function apply(connection: Connection, name: string, sql: Buffer): Promise<void> {
  const checksum = createHash('sha256').update(sql).digest('hex')
  await connection.query('BEGIN')
  try {
    await connection.query(sql.toString())
    await connection.query(
      `INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at, applied_steps_count)
       VALUES ($1, $2, $3, now(), clock_timestamp(), 1)`,
      [randomUUID(), checksum, name],
    )
    await connection.query('COMMIT')
  } catch (error) {
    await connection.query('ROLLBACK').catch(() => {})
    throw error
  }
}

/** Names go to and fro as latin1 text that Postgres turns into bytes: that needs a database that knows its encoding. */
async function refuseOtherEncodings(connection: Connection): Promise<void> {
  const { rows } = await connection.query<{ encoding: string }>(`SELECT current_setting('server_encoding') AS encoding`)
  const encoding = rows[0]?.encoding
  if (encoding !== 'UTF8') {
    throw new FirnError('database', `The database has the encoding ${encoding}; Firn needs one made with ENCODING 'UTF8'.`)
  }
}

async function migrationsIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
}
