/** An embedded database of one's own for measuring, gone afterwards. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openEmbeddedPostgres } from '#libs/runtime/postgres/embedded-postgres.js'

/** `durable`: with fsync, as users have it. */
export async function withEmbedded<T>({ durable }: { durable: boolean }, run: (url: string) => Promise<T>): Promise<T> {
  const home = mkdtempSync(join(tmpdir(), 'firn-'))
  chmodSync(home, 0o711) // as root the database has a user of its own, who must get to it
  const postgres = await openEmbeddedPostgres({ home: join(home, 'firn'), log: () => {}, durable })
  try {
    return await run(postgres.url)
  } finally {
    await postgres.close()
    rmSync(home, { recursive: true, force: true })
  }
}
