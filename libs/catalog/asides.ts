/** Files that have another name while they are removed. */
import type { Raw } from '#libs/os/raw.js'
import type { CrawlVerbs } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Database } from './database.js'
import { toBytes, toRaw } from './directories.js'
import { hostNumber } from './places.js'

export function asideVerbs(database: Database): Pick<CrawlVerbs, 'noteAside' | 'forgetAside' | 'asides'> {
  return {
    async noteAside(host, owner, { path, aside }) {
      await database.query(
        `INSERT INTO aside (host, path, aside, owner) VALUES ($1, ${toBytes('$2::text')}, ${toBytes('$3::text')}, $4) ON CONFLICT DO NOTHING`,
        [await hostNumber(database, host), path, aside, owner],
      )
    },

    async forgetAside(host, aside) {
      await database.query(
        `DELETE FROM aside a USING host h WHERE h.number = a.host AND h.name = $1 AND sha256(a.aside) = sha256(${toBytes('$2::text')})`,
        [cleanText(host), aside],
      )
    },

    async asides(host, isGone = () => true) {
      const rows = (await database.texts(
        `SELECT ${toRaw('a.path')}, ${toRaw('a.aside')}, a.owner FROM aside a JOIN host h ON h.number = a.host WHERE h.name = $1 ORDER BY a.path`,
        [cleanText(host)],
      )) as [Raw, Raw, string][]
      return rows.filter(([, , owner]) => isGone(owner)).map(([path, aside]) => ({ path, aside }))
    },
  }
}
