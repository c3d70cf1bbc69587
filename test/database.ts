/** A database of its own for each suite, in the scratch cluster that the test run started. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'

export async function scratchDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
  const cluster = process.env['FIRN_TEST_POSTGRES_URL']
  if (!cluster) throw new Error('FIRN_TEST_POSTGRES_URL is not set: run the suite through `npm test`, which starts a database')
  const name = `test_${randomBytes(6).toString('hex')}`
  await run(cluster, `CREATE DATABASE ${name}`)
  const url = new URL(cluster)
  url.pathname = `/${name}`
  return { url: url.href, drop: () => run(cluster, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) }
}

async function run(url: string, sql: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}
