/** Opens the catalog: one pool, and the verbs upon it. */
import { FirnError } from '#libs/errors/errors.js'
import { auditVerbs } from './audit.js'
import { bundleVerbs } from './bundles.js'
import type { Catalog } from './catalog.js'
import { type DatabaseOptions, openDatabase } from './database.js'
import { directoriesOf } from './directories-of.js'
import { openFileRows } from './file-row.js'
import { openHeld } from './held.js'
import { openLinkStore } from './link-store.js'
import { openPrisma } from './prisma-door.js'
import { retrievalVerbs } from './retrievals.js'
import { select } from './select.js'
import { selectHits } from './select-hits.js'
import { setVerbs } from './sets.js'
import { upkeepVerbs } from './upkeep.js'
import { workerVerbs } from './workers.js'

/** The database must be of this version: see `migrate`. Whoever opens it closes it. */
export async function openCatalog(options: DatabaseOptions): Promise<Catalog> {
  const database = openDatabase(options)
  try {
    const { rows } = await database.query<{ id: string }>('SELECT id FROM catalog')
    if (rows[0] === undefined)
      throw new FirnError('database', 'The table "catalog" of the database is empty: it was tampered with.')
    const prisma = openPrisma(database)
    const fileRows = openFileRows(database)
    return {
      catalogId: rows[0].id,
      ...setVerbs(database),
      openHeld: (where) => openHeld(database, where),
      openLinkStore: () => openLinkStore(database),
      ...bundleVerbs(database, fileRows),
      select: (selection) => select(database, fileRows, selection),
      selectHits: (...call) => selectHits(database, fileRows, ...call),
      locate: (selection) => select(database, fileRows.located, selection),
      locateHits: (...call) => selectHits(database, fileRows.located, ...call),
      directories: (host, paths, asOf) => directoriesOf(fileRows, host, paths, asOf),
      ...retrievalVerbs(database, fileRows, prisma),
      ...upkeepVerbs(database, fileRows, prisma),
      ...workerVerbs(database),
      ...auditVerbs(database),
      async close() {
        await prisma.close()
        await database.close()
      },
    }
  } catch (error) {
    await database.close()
    throw error
  }
}
