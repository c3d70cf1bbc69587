/**
 * "Is it unchanged?" for a crawl: what stored bundles and live plans hold of each name, page by page. Whole ranges that did not change are
 * told by `held-ranges.ts`; the statement here decides how long a run takes in which something changed in every directory.
 */

import { ENTRY_TYPES, type EntryState, type EntryType } from '#libs/bundle/entry.js'
import { decodePlan } from '#libs/bundle/plan.js'
import { bitsOf, keepOf } from '#libs/bundle/xattrs.js'
import { nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { binaryRows } from './binary-rows.js'
import type { CrawlVerbs, HeldFile, HeldLookup } from './catalog.js'
import { cleanText } from './clean-text.js'
import { hasGone, openCovers } from './covers.js'
import type { Connection, Database } from './database.js'
import { directoryByPath, toBytes } from './directories.js'
import { FRESH, STATES, timesOf } from './file-row.js'
import { type HeldPlace, matchStored } from './held-ranges.js'
import { isKept, lookedAt, withStored } from './held-stored.js'
import { type PackedRows, queryPacked } from './packed-rows.js'
import { plannedFromJson, plannedToJson } from './planned-json.js'
import type { Writable } from './row-reader.js'

/** The newest version of a name that is stored, or in a live plan; of two with the greater number. */
interface Version {
  readonly file: HeldFile
  /** Of the bundle. */
  readonly number: bigint
}
type Versions = (Version | undefined)[]

export async function openHeld(database: Database, where: Parameters<CrawlVerbs['openHeld']>[0]): Promise<HeldLookup> {
  const { rows } = await database.query<{ host: number; vault: number }>(
    'SELECT h.number AS host, v.number AS vault FROM host h, vault v WHERE h.name = $1 AND v.id = $2',
    [cleanText(where.host), cleanText(where.vaultId)],
  )
  const numbers = rows[0]
  if (numbers === undefined) {
    return {
      lookup: async (paths) => paths.map(() => undefined),
      match: async (ranges) => ranges.map(() => 'none'),
      [Symbol.asyncDispose]: async () => {},
    }
  }
  const live = await openLive(database, numbers.host, numbers.vault, where.without ?? [])
  const covers = (await hasGone(database, numbers.host)) ? openCovers(database) : undefined
  const place: HeldPlace = { ...numbers, ...(covers && { covers }), asked: where.keep ? bitsOf(where.keep) : 0 }

  return {
    async lookup(paths) {
      if (paths.length === 0) return []
      const [stored, planned] = await Promise.all([storedVersions(database, place, paths), live && liveVersions(live, paths)])
      // A live plan is newer than what was stored when it was made; once stored itself, its rows say more than the plan.
      return paths.map((_, index) => newer(stored[index], planned?.[index])?.file)
    },
    // What live plans hold is newer than any row, and compared name by name.
    match: async (ranges, options) => (live ? ranges.map(() => 'look') : matchStored(database, place, ranges, options)),
    [Symbol.asyncDispose]: async () => live?.end(),
  }
}

const newer = (stored: Version | undefined, planned: Version | undefined): Version | undefined =>
  stored === undefined || (planned !== undefined && planned.number > stored.number) ? planned : stored

/** Paths as Postgres is asked about them: each directory once, and of each path which one it is in. */
function named(paths: readonly Raw[]): [directories: Raw[], indices: number[], names: Raw[]] {
  const indices = new Map<Raw, number>()
  const indexOf = (directory: Raw): number => {
    const known = indices.get(directory) ?? indices.size + 1
    indices.set(directory, known)
    return known
  }
  const each = paths.map((path) => indexOf(parentOf(path)))
  return [[...indices.keys()], each, paths.map(nameOf)]
}

// ------------------------------------------------------------------------------------------------ stored

/** In place of the bits of what was kept: it is all that was asked for. */
const ENOUGH = 8

/**
 * However many versions a name has, one row comes back. OFFSET keeps the inner statement a look-up by index. A name that a crawl did not find
 * since then says so.
 */
const STORED_ROWS = `
  WITH ${withStored(`
    SELECT r.ord, d.id AS directory, f.*
    FROM unnest($3::int[], $4::text[]) WITH ORDINALITY AS r (directory, name, ord)
    JOIN (
      SELECT a.ord, d.id FROM unnest($2::text[]) WITH ORDINALITY AS a (path, ord)
      CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('a.path'))}
    ) d ON d.ord = r.directory
    CROSS JOIN LATERAL (
      SELECT bundle, name, type, size, mtime_ns, ctime_ns, ino, state, sha256, data_offset, data_bundle, extra
      FROM file WHERE directory = d.id AND name = ${toBytes('r.name')} OFFSET 0
    ) f`)}
  SELECT ord, number, id, set, type, size, mtime_ns, ctime_ns, ino, state, sha256, data_offset, data_bundle, extra,
    (extract(epoch FROM archived_at) * 1000)::int8,
    CASE WHEN ${isKept('v', '$6::int', lookedAt('v.directory', '$6::int'))} THEN ${ENOUGH} ELSE kept END::int2,
    coalesce((SELECT max(at) FROM gone g WHERE g.directory = v.directory AND g.name = v.name AND NOT g.removed) >= archived_at, FALSE)::int::int2
  FROM (SELECT DISTINCT ON (ord) * FROM stored ORDER BY ord, archived_at DESC, number DESC) v`

async function storedVersions(
  database: Database,
  { host, vault, asked, covers }: HeldPlace,
  paths: readonly Raw[],
): Promise<Versions> {
  const packed = await queryPacked(database, STORED_ROWS, [host, ...named(paths), vault, asked], {
    name: 'held',
  })
  const versions: Versions = paths.map(() => undefined)
  const cover = await covers?.of(host, new Set(paths.map(parentOf)))
  while (packed.next()) {
    const index = packed.count() - 1
    const version = readVersion(packed)
    const archivedAt = packed.count()
    const kept = packed.int2()
    const isGone = packed.int2() !== 0 || archivedAt <= (cover?.get(parentOf(paths[index] as Raw)) ?? 0)
    const more = { ...(isGone && { gone: true }), ...(kept !== ENOUGH && { keptLess: keepOf(kept) }) }
    versions[index] = isGone || kept !== ENOUGH ? { ...version, file: { ...version.file, ...more } } : version
  }
  return versions
}

/** In the order of the columns: each call reads the next. */
function readVersion(packed: PackedRows): Version {
  const number = packed.int8()
  const bundle = packed.uuid()
  const file: Writable<HeldFile> = {
    bundle,
    dataBundle: bundle,
    setId: packed.uuid(),
    live: false,
    type: ENTRY_TYPES[packed.int2()] as EntryType,
    size: packed.count(),
    mtimeNs: packed.int8(),
    ctimeNs: packed.int8(),
    ino: packed.unsigned(),
    state: 'ok',
  }
  const state = packed.int2()
  file.state = STATES[state] as EntryState
  if (state === FRESH) file.fresh = true
  const sha256 = packed.optionalHex()
  const offset = packed.optionalCount()
  file.dataBundle = packed.optionalUuid() ?? bundle
  const extra = packed.optionalJsonb()
  if (sha256 !== undefined) file.sha256 = sha256
  if (offset !== undefined) file.offset = offset
  const times = extra === undefined ? undefined : timesOf(extra)
  if (times) {
    file.mtimeNs = times.mtimeNs
    file.ctimeNs = times.ctimeNs
  }
  return { file, number }
}

// ------------------------------------------------------------------------------------------------ live plans

type LiveConnection = Awaited<ReturnType<Database['connect']>>

/** The entries of live plans in a temporary table of a connection of their own; undefined where no bundle is live. */
async function openLive(
  database: Database,
  host: number,
  vault: number,
  without: readonly string[],
): Promise<LiveConnection | undefined> {
  const { rows: bundles } = await database.query<{ number: bigint; id: string; setId: string }>(
    `SELECT b.number, b.id, b.set AS "setId" FROM bundle b JOIN "set" s ON s.id = b.set
     WHERE b.state IN ('planned', 'packing') AND s.host = $1 AND b.vault = $2 AND NOT b.set = ANY($3::uuid[]) ORDER BY b.number`,
    [host, vault, without],
  )
  if (bundles.length === 0) return undefined
  const connection = await database.connect()
  try {
    await connection.query(
      'CREATE TEMPORARY TABLE live (directory bytea, name bytea, number bigint, bundle text, set_id text, entry text)',
    )
    for (const bundle of bundles) await loadPlan(database, connection, bundle)
    await connection.query('CREATE INDEX ON live (sha256(directory), name)')
    await connection.query('ANALYZE live')
    return connection
  } catch (error) {
    await connection.end()
    throw error
  }
}

async function loadPlan(database: Database, connection: Connection, bundle: { number: bigint; id: string; setId: string }) {
  const { rows } = await database.query<{ plan: Buffer | null }>('SELECT plan FROM bundle WHERE number = $1', [bundle.number])
  const plan = rows[0]?.plan
  if (!plan) return // stored meanwhile
  const out = binaryRows()
  for (const entry of decodePlan(plan)) {
    out.row(6)
    out.raw(parentOf(entry.path))
    out.raw(nameOf(entry.path))
    out.int8(bundle.number)
    out.text(bundle.id)
    out.text(bundle.setId)
    out.text(plannedToJson(entry))
  }
  await connection.copy('live (directory, name, number, bundle, set_id, entry)', out.finish())
}

async function liveVersions(live: LiveConnection, paths: readonly Raw[]): Promise<Versions> {
  const rows = (await live.texts(
    `SELECT DISTINCT ON (r.ord) r.ord, l.number, l.bundle, l.set_id, l.entry
     FROM unnest($2::int[], $3::text[]) WITH ORDINALITY AS r (directory, name, ord)
     JOIN unnest($1::text[]) WITH ORDINALITY AS d (path, ord) ON d.ord = r.directory
     JOIN live l ON sha256(l.directory) = sha256(${toBytes('d.path')}) AND l.name = ${toBytes('r.name')}
     ORDER BY r.ord, l.number DESC`,
    named(paths),
    { name: 'live' },
  )) as [string, string, string, string, string][]
  const versions: Versions = paths.map(() => undefined)
  for (const [ord, number, bundle, setId, json] of rows) {
    const { type, size, mtimeNs, ctimeNs, ino } = plannedFromJson(json)
    const file: HeldFile = { type, size, mtimeNs, ctimeNs, ino, state: 'ok', bundle, dataBundle: bundle, setId, live: true }
    versions[Number(ord) - 1] = { file, number: BigInt(number) }
  }
  return versions
}
