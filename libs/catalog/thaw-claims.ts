/** Who asks for which thaw, and who has which duty: one at a time, for 60 s by the database's clock. */
import type { RetrievalVerbs } from './catalog.js'
import type { Database } from './database.js'
import { goneOwners, LEASE_END } from './leases.js'

export function thawClaims(database: Database): Pick<RetrievalVerbs, 'claimThaws' | 'renewThaws' | 'releaseThaws'> {
  return {
    async claimThaws(bundles, owner, isGone) {
      if (bundles.length === 0) return new Set()
      const gone = await goneOwners(
        database,
        'SELECT DISTINCT lease_owner AS owner FROM thaw_claim WHERE bundle = ANY($1::bigint[]) AND lease_owner <> $2',
        [bundles, owner],
        isGone,
      )
      // In one order, so that two who claim the same bundles never wait for each other. Not even the owner gets it twice: one process
      // may look in two places at once.
      const { rows } = await database.query<{ bundle: bigint }>(
        `INSERT INTO thaw_claim AS c (bundle, lease_owner, lease_until)
         SELECT b, $2, ${LEASE_END} FROM (SELECT DISTINCT unnest($1::bigint[]) AS b) d ORDER BY b
         ON CONFLICT (bundle) DO UPDATE SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until
           WHERE c.lease_until < clock_timestamp() OR c.lease_owner = ANY($3::text[])
         RETURNING bundle`,
        [bundles, owner, gone],
      )
      return new Set(rows.map(({ bundle }) => bundle))
    },

    async renewThaws(bundles, owner) {
      await database.query(
        `UPDATE thaw_claim SET lease_until = ${LEASE_END} WHERE bundle = ANY($1::bigint[]) AND lease_owner = $2`,
        [bundles, owner],
      )
    },

    async releaseThaws(bundles, owner) {
      if (bundles.length === 0) return
      await database.query('DELETE FROM thaw_claim WHERE bundle = ANY($1::bigint[]) AND lease_owner = $2', [bundles, owner])
    },
  }
}

export function duties(database: Database): Pick<RetrievalVerbs, 'takeDuty' | 'leaveDuty' | 'isOnDuty'> {
  const holders = 'SELECT lease_owner AS owner FROM duty WHERE name = $1 AND lease_until > clock_timestamp()'
  return {
    async takeDuty(name, owner, isGone) {
      const gone = await goneOwners(database, `${holders} AND lease_owner <> $2`, [name, owner], isGone)
      const { rowCount } = await database.query(
        `INSERT INTO duty AS d (name, lease_owner, lease_until) VALUES ($1, $2, ${LEASE_END})
         ON CONFLICT (name) DO UPDATE SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until
           WHERE d.lease_owner = $2 OR d.lease_until < clock_timestamp() OR d.lease_owner = ANY($3::text[])`,
        [name, owner, gone],
      )
      return rowCount === 1
    },

    async leaveDuty(name, owner) {
      await database.query('DELETE FROM duty WHERE name = $1 AND lease_owner = $2', [name, owner])
    },

    async isOnDuty(name, isGone) {
      const { rows } = await database.query<{ owner: string }>(holders, [name])
      return rows.some(({ owner }) => !isGone(owner))
    },
  }
}
