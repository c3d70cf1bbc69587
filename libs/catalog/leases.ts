/** Who may work at what: leases of 60 s by the database's clock, free at once when their owner is known to be gone. */
import type { Runs } from './database.js'

/** SQL: when a lease that is taken now ends. Its owner renews it every 15 s. */
export const LEASE_END = `clock_timestamp() + interval '60 seconds'`

/** SQL: nobody holds the lease of the row. `goneOwners` is a placeholder for the owners that are known to be gone. */
export const leaseIsFree = (goneOwners: string) =>
  `(lease_owner IS NULL OR lease_until < clock_timestamp() OR lease_owner = ANY(${goneOwners}::text[]))`

/** Of the owners that a query names, those that are gone. */
export async function goneOwners(
  database: Runs,
  sql: string,
  values: readonly unknown[],
  isGone: (owner: string) => boolean,
): Promise<string[]> {
  const { rows } = await database.query<{ owner: string }>(sql, values)
  return rows.map(({ owner }) => owner).filter(isGone)
}
