/** Who is at work: daemons show themselves, and whoever wants to know looks. By the database's clock. */
import type { WorkerRole, WorkerVerbs } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Database } from './database.js'

interface WorkerRecord {
  owner: string
  host: string
  roles: WorkerRole[]
  startedAt: Date
  seenAt: Date
}

export function workerVerbs(database: Database): WorkerVerbs {
  return {
    async showWorker({ owner, host, roles }) {
      await database.query(
        `WITH old AS (DELETE FROM worker WHERE seen_at < now() - interval '1 day' AND owner <> $1)
         INSERT INTO worker (owner, host, roles) VALUES ($1, $2, $3)
         ON CONFLICT (owner) DO UPDATE SET host = excluded.host, roles = excluded.roles, seen_at = now()`,
        [owner, cleanText(host), roles],
      )
    },

    async forgetWorker(owner) {
      await database.query('DELETE FROM worker WHERE owner = $1', [owner])
    },

    async workers(isGone) {
      const { rows } = await database.query<WorkerRecord>(
        `SELECT owner, host, roles, started_at AS "startedAt", seen_at AS "seenAt" FROM worker
         WHERE seen_at > now() - interval '1 minute' ORDER BY started_at, owner`,
      )
      return rows.filter(({ owner }) => !isGone(owner))
    },
  }
}
