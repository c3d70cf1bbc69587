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
import { STATES, TYPES, timesOf } from './file-row.js'
import { type PackedRows, queryPacked } from './packed-rows.js'
import { plannedFromJson, plannedToJson } from './planned-json.js'
import type { Writable } from './row-reader.js'

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

  return {
    async lookup(ranges) {
      if (ranges.length === 0) return []
      const [stored, planned] = await Promise.all([
        storedVersions(database, place, ranges),
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
  SELECT r.ord, f.bundle, f.name, f.type, f.size, f.mtime_ns, f.ctime_ns, f.ino, f.state, f.sha256, f.data_offset,
    f.data_bundle, f.extra
  FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS r (directory, first, last, ord)
  CROSS JOIN LATERAL ${directoryByPath('$1', toBytes('r.directory'))}
  CROSS JOIN LATERAL (
    SELECT * FROM file f WHERE f.directory = d.id AND f.name >= ${toBytes('r.first')} AND f.name <= ${toBytes('r.last')} ORDER BY f.name
  ) f`

async function storedVersions(
  database: Database,
  place: { host: number; vault: number },
  ranges: readonly Range[],
): Promise<Version[][]> {
  const packed = await queryPacked(
    database,
    STORED_ROWS,
    [place.host, ranges.map((range) => range.directory), ranges.map((range) => range.first), ranges.map((range) => range.last)],
    { name: 'held' },
  )
  const { files, ords, numbers } = readColumns(packed)
  const versions: Version[][] = ranges.map(() => [])
  if (files.length === 0) return versions

  const dataBundles = new Set(files.flatMap(({ dataBundle }) => dataBundle || []))
  const bundleOf = await storedBundles(database, place.vault, new Set(numbers), dataBundles)
  files.forEach((file, index) => {
    const bundle = bundleOf.numbers.get(numbers[index] as number)
    if (bundle === undefined) return
    if (file.dataBundle !== '' && !bundleOf.ids.has(file.dataBundle)) return
    file.bundle = bundle.id
    if (file.dataBundle === '') file.dataBundle = bundle.id
    file.setId = bundle.setId
    versions[(ords[index] as number) - 1]?.push({ file, order: bundle.archivedAt, number: bundle.number })
  })
  return versions
}

/** What the columns hold; what they only name (the bundle) is filled in afterwards. */
function readColumns(packed: PackedRows) {
  const files: Writable<HeldFile>[] = []
  const ords: number[] = []
  const numbers: number[] = []
  while (packed.next()) {
    ords.push(packed.count())
    numbers.push(packed.int4())
    const file: Writable<HeldFile> = {
      bundle: '',
      dataBundle: '',
      setId: '',
      live: false,
      // In the order of the columns: each call reads the next.
      name: packed.raw(),
      type: TYPES[packed.int2()] as EntryType,
      size: packed.count(),
      mtimeNs: packed.int8(),
      ctimeNs: packed.int8(),
      ino: packed.unsigned(),
      state: STATES[packed.int2()] as EntryState,
    }
    const sha256 = packed.optionalHex()
    const offset = packed.optionalCount()
    file.dataBundle = packed.optionalUuid() ?? ''
    const extra = packed.optionalJsonb()
    if (sha256 !== undefined) file.sha256 = sha256
    if (offset !== undefined) file.offset = offset
    const times = extra === undefined ? undefined : timesOf(extra)
    if (times) {
      file.mtimeNs = times.mtimeNs
      file.ctimeNs = times.ctimeNs
    }
    files.push(file)
  }
  return { files, ords, numbers }
}

/** Those of the named bundles that are `stored`, in that vault, at this moment: check may find one missing during a crawl. */
async function storedBundles(database: Database, vault: number, numbers: ReadonlySet<number>, ids: ReadonlySet<string>) {
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
    numbers: new Map(own.map((bundle) => [Number(bundle.number), bundle])),
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
      state: 'ok',
      bundle,
      dataBundle: bundle,
      setId,
      live: true,
    }
    versions[Number(ord) - 1]?.push({ file, order: 0, number: BigInt(number) })
  }
  return versions
}
