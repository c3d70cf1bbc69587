/**
 * "Is it unchanged?" for a crawl: what stored bundles and live plans hold of ranges of names, page by page. 100,000 files that did
 * not change are 50 look-ups, so this statement decides how long a second run takes.
 */

import type { EntryState, EntryType } from '#libs/bundle/entry.js'
import { decodePlan } from '#libs/bundle/plan.js'
import { nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { binaryRows } from './binary-rows.js'
import type { HeldFile, HeldLookup } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Connection, Database } from './database.js'
import { directoryByPath, toBytes, toRaw } from './directories.js'
import { STATES, TYPES, timesOf, unsigned, type Writable } from './file-row.js'
import { openOwners } from './owners.js'
import { plannedFromJson, plannedToJson } from './planned-json.js'

type Range = { readonly directory: Raw; readonly first: Raw; readonly last: Raw }

/** A version of a name; the one with the greatest `order`, then `number`, is the newest. */
interface Version {
  readonly file: HeldFile
  readonly order: number
  readonly number: bigint
}

export async function openHeld(database: Database, where: { host: string; vaultId: string }): Promise<HeldLookup> {
  const { rows } = await database.query<{ host: number; vault: number }>(
    'SELECT h.number AS host, v.number AS vault FROM host h, vault v WHERE h.name = $1 AND v.id = $2',
    [cleanText(where.host), cleanText(where.vaultId)],
  )
  const place = rows[0]
  if (place === undefined) return { lookup: async (ranges) => ranges.map(() => []), [Symbol.asyncDispose]: async () => {} }
  const live = await openLive(database, place.host, place.vault)
  const owners = openOwners(database)

  return {
    async lookup(ranges) {
      if (ranges.length === 0) return []
      const [stored, planned] = await Promise.all([
        storedVersions(database, owners, place, ranges),
        live ? liveVersions(live, ranges) : undefined,
      ])
      return ranges.map((_, index) => newest(stored[index] ?? [], planned?.[index] ?? []))
    },
    [Symbol.asyncDispose]: async () => live?.end(),
  }
}

/** The newest version of each name, names ascending. */
function newest(stored: readonly Version[], planned: readonly Version[]): HeldFile[] {
  if (planned.length === 0 && stored.every((version, i) => i === 0 || version.file.name > (stored[i - 1] as Version).file.name)) {
    return stored.map(({ file }) => file) // the usual case: one version of each name, in order already
  }
  const best = new Map<Raw, Version>()
  for (const version of stored) {
    const known = best.get(version.file.name)
    if (!known || version.order > known.order || (version.order === known.order && version.number > known.number)) {
      best.set(version.file.name, version)
    }
  }
  // A live plan is newer than what was stored when it was made; once stored itself, its rows say more than the plan.
  for (const version of planned) {
    const known = best.get(version.file.name)
    if (!known || version.number > known.number) best.set(version.file.name, version)
  }
  return [...best.values()].map(({ file }) => file).sort((a, b) => (a.name < b.name ? -1 : 1))
}

// ------------------------------------------------------------------------------------------------ stored

/** The inner statements keep their order, so that Postgres walks the index of names once for each range. */
const STORED_ROWS = `
  SELECT r.ord, ${toRaw('f.name')}, f.bundle, f.type, f.state, f.size, f.mtime_ns, f.ctime_ns, f.ino, f.mode, f.owner,
    encode(f.sha256, 'hex'), f.data_offset, f.data_bundle, ${toRaw('f.link')}, f.extra
  FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS r (directory, first, last, ord)
  CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('r.directory'))}
  CROSS JOIN LATERAL (
    SELECT * FROM file f WHERE f.directory = d.id AND f.name >= ${toBytes('r.first')} AND f.name <= ${toBytes('r.last')} ORDER BY f.name
  ) f`

type HeldTexts = readonly [
  ord: string,
  name: Raw,
  bundle: string,
  type: string,
  state: string,
  size: string,
  mtime: string,
  ctime: string,
  ino: string,
  mode: string,
  owner: string,
  sha256: string | null,
  offset: string | null,
  dataBundle: string | null,
  link: Raw | null,
  extra: string | null,
]

async function storedVersions(
  database: Database,
  owners: ReturnType<typeof openOwners>,
  place: { host: number; vault: number },
  ranges: readonly Range[],
): Promise<Version[][]> {
  const rows = (await database.texts(
    STORED_ROWS,
    [place.host, ranges.map((range) => range.directory), ranges.map((range) => range.first), ranges.map((range) => range.last)],
    { name: 'held' },
  )) as unknown as HeldTexts[]
  const versions: Version[][] = ranges.map(() => [])
  if (rows.length === 0) return versions

  const [bundleOf, ownerOf] = await Promise.all([
    storedBundles(database, place.vault, new Set(rows.map((row) => row[2])), new Set(rows.flatMap((row) => row[13] ?? []))),
    owners.factsOf(new Set(rows.map((row) => row[10]))),
  ])
  for (const row of rows) {
    const [ord, name, number, type, state, size, mtime, ctime, ino, mode, owner, sha256, offset, dataBundle, link, extra] = row
    const bundle = bundleOf.numbers.get(number)
    if (bundle === undefined) continue
    if (dataBundle !== null && !bundleOf.ids.has(dataBundle)) continue
    const times = extra === null ? undefined : timesOf(mtime, ctime, extra)
    const file: Writable<HeldFile> = {
      name,
      type: TYPES[Number(type)] as EntryType,
      size: Number(size),
      mtimeNs: times?.mtimeNs ?? BigInt(mtime),
      ctimeNs: times?.ctimeNs ?? BigInt(ctime),
      ino: unsigned(ino),
      mode: Number(mode),
      uid: ownerOf.get(owner)?.uid ?? 0,
      gid: ownerOf.get(owner)?.gid ?? 0,
      state: STATES[Number(state)] as EntryState,
      bundle: bundle.id,
      dataBundle: dataBundle ?? bundle.id,
      setId: bundle.setId,
      live: false,
    }
    if (sha256 !== null) file.sha256 = sha256
    if (offset !== null) file.offset = Number(offset)
    if (link !== null) file.link = link
    versions[Number(ord) - 1]?.push({ file, order: bundle.archivedAt, number: bundle.number })
  }
  return versions
}

/** Those of the named bundles that are `stored`, in that vault, at this moment: check may find one missing during a crawl. */
async function storedBundles(database: Database, vault: number, numbers: ReadonlySet<string>, ids: ReadonlySet<string>) {
  const { rows } = await database.query<{ number: bigint; id: string; setId: string; archivedAt: Date; own: boolean }>(
    `SELECT number, id, "set" AS "setId", archived_at AS "archivedAt", TRUE AS own
     FROM bundle WHERE number = ANY($1::bigint[]) AND state = 'stored' AND vault = $3
     UNION ALL SELECT number, id, "set", archived_at, FALSE FROM bundle WHERE id = ANY($2::uuid[]) AND state = 'stored' AND vault = $3`,
    [[...numbers], [...ids], vault],
    { name: 'held-bundles' },
  )
  const own = rows
    .filter((row) => row.own)
    .map(({ number, id, setId, archivedAt }) => ({ number, id, setId, archivedAt: archivedAt.getTime() }))
  return {
    numbers: new Map(own.map((bundle) => [String(bundle.number), bundle])),
    ids: new Set(rows.map(({ id }) => id)),
  }
}

// ------------------------------------------------------------------------------------------------ live plans

type LiveConnection = Awaited<ReturnType<Database['connect']>>

/** The entries of live plans in a temporary table of a connection of their own; undefined where no bundle is live. */
async function openLive(database: Database, host: number, vault: number): Promise<LiveConnection | undefined> {
  const { rows: bundles } = await database.query<{ number: bigint; id: string; setId: string }>(
    `SELECT b.number, b.id, b.set AS "setId" FROM bundle b JOIN "set" s ON s.id = b.set
     WHERE b.state IN ('planned', 'packing') AND s.host = $1 AND b.vault = $2 ORDER BY b.number`,
    [host, vault],
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

async function liveVersions(live: LiveConnection, ranges: readonly Range[]): Promise<Version[][]> {
  const rows = (await live.texts(
    `SELECT r.ord, ${toRaw('l.name')}, l.number, l.bundle, l.set_id, l.entry
     FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS r (directory, first, last, ord)
     JOIN live l ON sha256(l.directory) = sha256(${toBytes('r.directory')})
       AND l.name >= ${toBytes('r.first')} AND l.name <= ${toBytes('r.last')}`,
    [ranges.map((range) => range.directory), ranges.map((range) => range.first), ranges.map((range) => range.last)],
    { name: 'live' },
  )) as [string, Raw, string, string, string, string][]
  const versions: Version[][] = ranges.map(() => [])
  for (const [ord, name, number, bundle, setId, json] of rows) {
    const entry = plannedFromJson(json)
    const file: HeldFile = {
      name,
      type: entry.type,
      size: entry.size,
      mtimeNs: entry.mtimeNs,
      ctimeNs: entry.ctimeNs,
      ino: entry.ino,
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      state: 'ok',
      bundle,
      dataBundle: bundle,
      setId,
      live: true,
      ...(entry.link !== undefined && { link: entry.link }),
    }
    versions[Number(ord) - 1]?.push({ file, order: 0, number: BigInt(number) })
  }
  return versions
}
