/** Owners of entries as numbers: (uid, gid, names) that occur again and again, in a table of their own. They never change. */
import { boundedMap, keptOrAsked } from './bounded-map.js'
import { cleanText } from './clean-text.js'
import type { Runs } from './database.js'

export interface Owner {
  readonly uid: number
  readonly gid: number
  readonly uname: string
  readonly gname: string
}

export interface Owners {
  /** Numbers of owners by `ownerKey`, made where there are none yet. */
  idsOf(owners: ReadonlyMap<string, Owner>): Promise<Map<string, number>>
  factsOf(ids: Iterable<number>): Promise<Map<number, Owner>>
}

export const ownerKey = ({ uid, gid, uname, gname }: Owner): string => `${uid}:${gid}:${uname}:${gname}`

const KEPT = 10_000

export function openOwners(database: Runs): Owners {
  const ids = boundedMap<string, number>(KEPT)
  const facts = boundedMap<number, Owner>(KEPT)

  return {
    async idsOf(owners) {
      const found = new Map<string, number>()
      for (const key of [...owners.keys()].sort()) {
        let id = ids.get(key)
        if (id === undefined) {
          id = await findOrMake(database, owners.get(key) as Owner)
          ids.set(key, id)
        }
        found.set(key, id)
      }
      return found
    },
    factsOf: (wanted) =>
      keptOrAsked(facts, wanted, async (unknown) => {
        const rows = await database.texts('SELECT id, uid, gid, uname, gname FROM owner WHERE id = ANY($1::int[])', [unknown])
        return (rows as [string, string, string, string, string][]).map(([id, uid, gid, uname, gname]) => [
          Number(id),
          { uid: Number(uid), gid: Number(gid), uname, gname },
        ])
      }),
  }
}

async function findOrMake(database: Runs, { uid, gid, uname, gname }: Owner): Promise<number> {
  const values = [uid, gid, cleanText(uname), cleanText(gname)]
  for (;;) {
    const found = await database.query<{ id: number }>(
      'SELECT id FROM owner WHERE uid = $1 AND gid = $2 AND uname = $3 AND gname = $4',
      values,
    )
    if (found.rows[0]) return found.rows[0].id
    const made = await database.query<{ id: number }>(
      'INSERT INTO owner (uid, gid, uname, gname) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING id',
      values,
    )
    if (made.rows[0]) return made.rows[0].id
  }
}
