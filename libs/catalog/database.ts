/** The catalog's one pool of connections: statements, transactions, connections of one's own, and Postgres' errors as FirnErrors. */

import { isNativeError } from 'node:util/types'
import pg from 'pg'
import { type CopyStreamQuery, from as copyFrom } from 'pg-copy-streams'
import { type ErrorCode, FirnError } from '#libs/errors/errors.js'

/** What one statement answers: rows as objects, with int8 as bigint. */
export interface Answer<R> {
  readonly rows: R[]
  readonly rowCount: number
}

/** Whoever can run statements: the pool, a transaction, or a connection of one's own. */
export interface Runs {
  /** `name`: of a statement that runs often; it is planned once per connection. */
  query<R = Record<string, unknown>>(sql: string, values?: readonly unknown[], options?: { name?: string }): Promise<Answer<R>>
  /** The same with rows as arrays of Postgres' own texts: for many rows. */
  texts(sql: string, values?: readonly unknown[], options?: { name?: string }): Promise<(string | null)[][]>
}

/** One connection. */
export interface Connection extends Runs {
  /** Sends rows in COPY's binary format. `table` with its columns: `file (bundle, seq)`. */
  copy(table: string, chunks: readonly Uint8Array[]): Promise<void>
}

export interface Database extends Runs {
  readonly pool: pg.Pool
  /**
   * All or nothing. Runs `work` again, twice at most, when Postgres ended it as the victim of a deadlock: it must bear that.
   */
  transaction<T>(work: (connection: Connection) => Promise<T>): Promise<T>
  /** A connection outside the pool, for temporary tables that live longer than a statement. `end` it. */
  connect(): Promise<Connection & { end(): Promise<void> }>
  close(): Promise<void>
}

export interface DatabaseOptions {
  /** `postgresql://...`; a socket directory as `?host=`, percent-encoded. */
  readonly url: string
  /** Connections at most. Default 10. */
  readonly poolSize?: number
  /** How `pg_stat_activity` names the connections. Default `firn`. */
  readonly applicationName?: string
  /** A transaction that says nothing for so long is ended by the server. Default 60 s, as long as a lease. */
  readonly idleMs?: number
}

const CONNECT_TIMEOUT_MS = 10_000
const DEADLOCK = '40P01'
const SERIALIZATION = '40001'
const RETRIES = 2

export function openDatabase({ url, poolSize = 10, applicationName = 'firn', idleMs = 60_000 }: DatabaseOptions): Database {
  const config = {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: applicationName,
    keepAlive: true,
    types: { getTypeParser: parserOf },
  }
  const pool = new pg.Pool({ ...config, max: poolSize })
  // An idle connection that breaks (a stopping server) is no news: the next statement opens a new one, or fails with the reason.
  pool.on('error', () => {})

  return {
    pool,
    ...runsAgain(runsOn(pool)),
    async transaction(work) {
      for (let attempt = 0; ; attempt++) {
        const client = await pool.connect().catch(rethrow)
        let broken = false
        // The pool listens to idle connections only; one in use that breaks between two statements would end the process.
        const breaks = () => {
          broken = true
        }
        client.on('error', breaks)
        try {
          // A process that is frozen in the middle of one (a laptop's lid, a paused machine) must not hold its rows for everybody.
          await client.query(`BEGIN; SET LOCAL idle_in_transaction_session_timeout = ${idleMs}`)
          const result = await work({ ...runsOn(client), copy: copyOn(client) })
          await client.query('COMMIT')
          return result
        } catch (error) {
          await client.query('ROLLBACK').catch(() => {
            broken = true
          })
          if (attempt < RETRIES && isVictim(error)) continue
          throw asFirnError(error)
        } finally {
          client.off('error', breaks)
          client.release(broken)
        }
      }
    },
    async connect() {
      const client = new pg.Client(config)
      client.on('error', () => {})
      await client.connect().catch(rethrow)
      return { ...runsOn(client), copy: copyOn(client), end: () => client.end().catch(() => {}) }
    },
    async close() {
      await pool.end()
    },
  }
}

function runsOn(client: pg.Pool | pg.PoolClient | pg.Client): Runs {
  const run = async (query: pg.QueryConfig | pg.QueryArrayConfig) => client.query(query as pg.QueryConfig).catch(rethrow)
  return {
    async query(sql, values = [], options = {}) {
      const { rows, rowCount } = await run({ text: sql, values: [...values], ...options })
      return { rows, rowCount: rowCount ?? 0 }
    },
    async texts(sql, values = [], options = {}) {
      const query: pg.QueryArrayConfig = { text: sql, values: [...values], rowMode: 'array', types: AS_TEXT, ...options }
      return (await run(query)).rows as unknown as (string | null)[][]
    },
  }
}

/** A statement outside of a transaction is one: as the victim of another it had no effect, and is run again. */
function runsAgain({ query, texts }: Runs): Runs {
  const again = async <T>(run: () => Promise<T>): Promise<T> => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await run()
      } catch (error) {
        if (attempt >= RETRIES || !isVictim(error)) throw error
      }
    }
  }
  return {
    query: <R>(...call: Parameters<Runs['query']>) => again(() => query<R>(...call)),
    texts: (...call) => again(() => texts(...call)),
  }
}

function copyOn(client: pg.PoolClient | pg.Client) {
  return async (table: string, chunks: readonly Uint8Array[]): Promise<void> => {
    const stream: CopyStreamQuery = client.query(copyFrom(`COPY ${table} FROM STDIN (FORMAT binary)`))
    await new Promise<void>((resolve, reject) => {
      let refused = false
      stream.once('finish', resolve).once('error', (error) => {
        refused = true
        reject(error)
      })
      // One chunk at a time, and none after an error: the stream would throw out of its own events, with nobody to catch it.
      const send = (at: number) => {
        if (refused) return
        const chunk = chunks[at]
        if (chunk === undefined) stream.end()
        else stream.write(chunk, () => send(at + 1))
      }
      send(0)
    }).catch(rethrow)
  }
}

const INT8 = 20
const AS_TEXT = { getTypeParser: () => (text: string) => text } as unknown as pg.CustomTypesConfig

function parserOf(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  return oid === INT8 ? BigInt : pg.types.getTypeParser(oid, format as 'text')
}

const sqlStateOf = (error: unknown): string | undefined => {
  const cause = error instanceof FirnError ? error.cause : error
  return cause instanceof pg.DatabaseError ? cause.code : undefined
}

const isVictim = (error: unknown) => [DEADLOCK, SERIALIZATION].includes(sqlStateOf(error) ?? '')

/**
 * A database that starts, stops, or has no connection left for the moment (too_many_connections, cannot_connect_now), that ended the
 * session (admin_shutdown, crash_shutdown), or had to let another go first: all of it passes.
 */
const PASSING = new Set(['53300', '57P03', '57P01', '57P02', DEADLOCK, SERIALIZATION])
/** disk_full */
const FULL = '53100'

/** Foreign errors are translated here, once. Errors that are no database's (a consumer's, a bug's) pass as they are. */
export function asFirnError(error: unknown): unknown {
  if (error instanceof FirnError || !isNativeError(error)) return error
  const code: ErrorCode = 'database'
  if (error instanceof pg.DatabaseError) {
    if (error.code === '42P01') {
      return new FirnError(code, `The database holds no catalog of this version (${error.message}): run \`firn migrate\`.`, {
        cause: error,
      })
    }
    if (error.code === FULL) {
      const sentence = `The database has no room left (${error.message}): make room on its disk, and the same command goes on.`
      return new FirnError('database-full', sentence, { cause: error })
    }
    return new FirnError(PASSING.has(error.code ?? '') ? 'try-again' : code, `The database refused: ${error.message}.`, {
      cause: error,
    })
  }
  const { code: errno } = error as NodeJS.ErrnoException
  if (errno !== undefined) {
    const sentence = `The database cannot be reached: ${error.message || errno}. Try again later.`
    return new FirnError('try-again', sentence, { cause: error })
  }
  if (/connection|timeout|Client was closed|pool/i.test(error.message)) {
    return new FirnError('try-again', `The database cannot be reached: ${error.message}. Try again later.`, { cause: error })
  }
  return error
}

function rethrow(error: unknown): never {
  throw asFirnError(error)
}
