/** What a look at the vaults says of many items, written in one statement. */
import type { ItemChange } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Database } from './database.js'

/** An item that another process took up since it was seen is left to it. */
export async function changeItems(database: Database, changes: readonly ItemChange[]): Promise<void> {
  if (changes.length === 0) return
  await database.query(
    `UPDATE item i SET state = c.state, ready_at = coalesce(c.ready_at, i.ready_at), expires_at = coalesce(c.expires_at, i.expires_at),
       charge_usd = CASE WHEN c.state IN ('thawing', 'ready') THEN NULL ELSE i.charge_usd END, reason = coalesce(c.reason, i.reason), files_failed = coalesce(c.files_failed, i.files_failed)
     FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::int[])
       AS c (id, seen, state, ready_at, expires_at, reason, files_failed)
     WHERE i.id = c.id AND i.state = c.seen`,
    [
      changes.map(({ id }) => id),
      changes.map(({ seen }) => seen),
      changes.map(({ state }) => state),
      changes.map(({ readyAt }) => readyAt?.toISOString() ?? null),
      changes.map(({ expiresAt }) => expiresAt?.toISOString() ?? null),
      changes.map(({ reason }) => (reason === undefined ? null : cleanText(reason))),
      changes.map(({ filesFailed }) => filesFailed ?? null),
    ],
  )
}
