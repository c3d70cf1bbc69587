/** Starts one scratch Postgres for the whole test run, through the same door that users go through; the suites make databases in it. */
import { chmod, mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { openEmbeddedPostgres } from '#libs/runtime/postgres/embedded-postgres.js'
import { handOver } from './scratch-cluster.js'

// biome-ignore lint/style/noDefaultExport: Jest calls the default export
export default async function setUp(): Promise<void> {
  if (process.env['FIRN_TEST_POSTGRES_URL']) return
  // Not below TMPDIR, which may be closed to the user that Postgres runs as when the tests run as root.
  const home = await mkdtemp('/tmp/firn-test-')
  if (process.getuid?.() === 0) await chmod(home, 0o711)
  const postgres = await openEmbeddedPostgres({ home: join(home, 'firn'), log: () => {}, durable: false })
  process.env['FIRN_TEST_POSTGRES_URL'] = postgres.url
  handOver({ home, postgres })
}
