/** The audit: who retrieved, removed or took over what, when and from where. Rows are added, and no verb removes one. */
import type { AuditKind, AuditRow, AuditVerbs } from './catalog.js'
import { cleanJson, cleanText } from './clean-text.js'
import type { Database, Runs } from './database.js'

interface AuditRecord {
  number: bigint
  at: Date
  kind: AuditKind
  by: string
  subject: string
  detail: Record<string, unknown>
  files: bigint
  bytes: bigint
  usd: number
}

export function auditVerbs(database: Database): AuditVerbs {
  return {
    audit: (entry) => addAudit(database, entry),

    async countAudited(number, { files, bytes }) {
      await database.query('UPDATE audit SET files = $2, bytes = $3 WHERE number = $1', [number, files, bytes])
    },

    async audits({ limit }) {
      const { rows } = await database.query<AuditRecord>('SELECT * FROM audit ORDER BY number DESC LIMIT $1', [limit])
      return rows.map((record): AuditRow => ({ ...record, files: Number(record.files), bytes: Number(record.bytes) }))
    },
  }
}

export async function addAudit(
  database: Runs,
  { kind, by, subject, detail, files = 0, bytes = 0, usd = 0 }: Parameters<AuditVerbs['audit']>[0],
): Promise<bigint> {
  const { rows } = await database.query<{ number: bigint }>(
    `INSERT INTO audit (kind, by, subject, detail, files, bytes, usd) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING number`,
    [kind, cleanText(by), cleanText(subject), cleanJson(detail), files, bytes, usd],
  )
  return rows[0]?.number as bigint
}
