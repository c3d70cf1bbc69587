/**
 * Runs into their table by COPY, in its binary format (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"): the
 * arrays of words would otherwise be printed and parsed again.
 */
import type pg from 'pg'
import { type CopyStreamQuery, from as copyFrom } from 'pg-copy-streams'
import type { Run } from './run.js'

export async function copyRuns(client: pg.PoolClient, table: string, runs: readonly Run[]): Promise<void> {
  const stream: CopyStreamQuery = client.query(copyFrom(`COPY ${table} (id, set_id, w, files) FROM STDIN (FORMAT binary)`))
  await new Promise<void>((resolve, reject) => {
    stream.once('error', reject).once('finish', resolve)
    // One message: a bundle's runs are some 100 kB, and messages cost more than copying does.
    stream.end(Buffer.concat([HEADER, ...runs.map(rowOf), TRAILER]))
  })
}

const HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const TRAILER = Buffer.from([0xff, 0xff])
const INT4_OID = 23
/** Fields of fixed size and lengths of a row, its array's head included. */
const FIXED_BYTES = 2 + 12 + 4 + 4 + 20 + 4

function rowOf(run: Run): Buffer {
  const setBytes = Buffer.byteLength(run.setId)
  const filesBytes = Buffer.byteLength(run.files)
  const row = Buffer.allocUnsafe(FIXED_BYTES + setBytes + run.keys.size * 8 + filesBytes)
  let at = row.writeInt16BE(4, 0)
  at = row.writeInt32BE(8, at)
  at = row.writeBigInt64BE(run.id, at)
  at = row.writeInt32BE(setBytes, at)
  at += row.write(run.setId, at)
  at = row.writeInt32BE(20 + run.keys.size * 8, at)
  // Of an array: dimensions, whether it has nulls, type, length, lower bound.
  for (const field of [1, 0, INT4_OID, run.keys.size, 1]) at = row.writeInt32BE(field, at)
  for (const key of run.keys) {
    at = row.writeInt32BE(4, at)
    at = row.writeInt32BE(key, at)
  }
  at = row.writeInt32BE(filesBytes, at)
  row.write(run.files, at)
  return row
}
