/** The connections of the Postgres index: how they are set, transactions on them, and Postgres' errors as FirnErrors. */
import pg from 'pg'
import { errnoOf, FirnError } from '#libs/errors/errors.js'

export interface Pool {
  /** One statement; rows as arrays of Postgres' own texts. */
  texts(sql: string, values?: readonly unknown[]): Promise<string[][]>
  /** All or nothing. Runs `work` again where two of a kind met: it must bear that. */
  transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export const { escapeIdentifier } = pg

const CONNECT_TIMEOUT_MS = 10_000
const RETRIES = 3
/** A process that is frozen in the middle of a transaction must not keep everybody else out. */
const IDLE_MS = 60_000
/** Deadlock, serialization failure, and the same bundle added by two at once. */
const MET = ['40P01', '40001', '23505']

export function openPool(url: string, poolSize: number): Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'firn search',
    // Compiling a search takes longer than running it. And while the index has a long list of pending entries, the planner thinks
    // reading the whole table cheaper, which it is not.
    onConnect: (client) => client.query('SET jit = off; SET enable_seqscan = off'),
  } satisfies pg.PoolConfig)
  // An idle connection that breaks (a stopping server) is no news: the next statement opens a new one, or fails with the reason.
  pool.on('error', () => {})

  return {
    async texts(sql, values = []) {
      const query: pg.QueryArrayConfig = { text: sql, values: [...values], rowMode: 'array', types: AS_TEXT }
      return (await pool.query(query).catch(rethrow)).rows as string[][]
    },
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
          await client.query(`BEGIN; SET LOCAL idle_in_transaction_session_timeout = ${IDLE_MS}`)
          const result = await work(client)
          await client.query('COMMIT')
          return result
        } catch (error) {
          await client.query('ROLLBACK').catch(() => {
            broken = true
          })
          if (attempt < RETRIES && error instanceof pg.DatabaseError && MET.includes(error.code ?? '')) continue
          throw asFirnError(error)
        } finally {
          client.off('error', breaks)
          client.release(broken)
        }
      }
    },
    close: () => pool.end(),
  }
}

const AS_TEXT = { getTypeParser: () => (text: string) => text } as unknown as pg.CustomTypesConfig

/** Errors that are no database's (a consumer's, an abort's, a bug's) pass as they are. */
function asFirnError(error: unknown): unknown {
  if (error instanceof FirnError) return error
  if (error instanceof pg.DatabaseError) {
    return new FirnError('database', `The search index in Postgres refused: ${error.message}.`, { cause: error })
  }
  const errno = errnoOf(error)
  const message = error instanceof Error ? error.message : ''
  if (errno === undefined && !/connection|timeout|Client was closed|pool/i.test(message)) return error
  return new FirnError('database', `The search index in Postgres cannot be reached: ${message || errno}.`, { cause: error })
}

function rethrow(error: unknown): never {
  throw asFirnError(error)
}
