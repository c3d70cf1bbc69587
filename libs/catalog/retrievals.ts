/** Retrievals and their items: what a person asked for, and how far it is. */
import { randomUUID } from 'node:crypto'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromBytes, rawToBytes } from '#libs/os/raw.js'
import { type BundleRecord, bundleRowOf } from './bundle-row.js'
import type { FileRow, ItemRow, Layout, RetrievalRequest, RetrievalRow, RetrievalState, RetrievalVerbs } from './catalog.js'
import { cleanJson, cleanText } from './clean-text.js'
import type { Prisma, PrismaClient } from './client/client.js'
import type { Database } from './database.js'
import { FILE_COLUMNS, type FileRows } from './file-row.js'
import { changeItems } from './item-changes.js'
import { goneOwners, LEASE_END, leaseIsFree } from './leases.js'
import { gatherNeeded, NEEDED_TOTALS, neededBundles } from './needed.js'
import type { PrismaDoor } from './prisma-door.js'
import { duties, thawClaims } from './thaw-claims.js'
import { isUuid } from './uuid.js'

const OPEN: RetrievalState[] = ['requested', 'thawing', 'ready', 'fetching']
const OVER: RetrievalState[] = ['done', 'failed', 'expired']
/** As many as a vault is asked about at once. */
const ITEMS_A_PAGE = 1_000

/** What a retrieval holds of an item at a time. */
const FILES_A_PAGE = 8_192

/** An item with its bundle, but without the keys of its rows and the plan: those may be large. */
const ITEM = {
  omit: { bundles: true, seqs: true },
  include: { bundle: { omit: { plan: true }, include: { vault: true } } },
} satisfies Prisma.ItemDefaultArgs
type ItemRecord = Prisma.ItemGetPayload<typeof ITEM>

export function retrievalVerbs(database: Database, fileRows: FileRows, prisma: PrismaDoor): RetrievalVerbs {
  const read = (id: string) => prisma((client) => readRetrieval(client, id))
  const mustRead = async (id: string): Promise<RetrievalRow> => {
    const row = await read(id)
    if (row === undefined) throw new FirnError('failed', `The catalog knows no retrieval ${id}.`)
    return row
  }

  return {
    neededBundles: (rows) => neededBundles(database, rows),

    async setLayout(retrievalId, layout, host) {
      const data = { layout, host: host === undefined ? null : cleanText(host) }
      await prisma((client) => client.retrieval.update({ where: { id: retrievalId }, data }))
    },

    async openRetrieval({ request, target, detached }) {
      const same = {
        finishedAt: null,
        agreedAt: { not: null },
        request: { equals: JSON.parse(cleanJson(request)) },
        target: new Uint8Array(rawToBytes(target)),
        detached,
      }
      const found = await prisma((client) =>
        client.retrieval.findFirst({ where: same, orderBy: { createdAt: 'desc' }, select: { id: true } }),
      )
      return found === null ? undefined : read(found.id)
    },

    async createRetrieval(request, rows) {
      const id = randomUUID()
      await createRetrieval(database, id, request, rows)
      return mustRead(id)
    },

    async agreeTo(id, { thawLimitUsd, offer }) {
      const { rowCount } = await database.query(
        `UPDATE retrieval SET agreed_at = coalesce(agreed_at, now()), consent = $2, thaw_limit_usd = $3 WHERE id = $1`,
        [id, cleanJson(offer), thawLimitUsd],
      )
      if (rowCount === 0) throw new FirnError('try-again', 'The offer is too old: ask for the files again.')
      return mustRead(id)
    },

    async dropRetrieval(id) {
      await database.query('DELETE FROM retrieval WHERE id = $1 AND agreed_at IS NULL', [id])
    },

    async charge(itemId, usd) {
      // Sums of prices do not meet to the last bit.
      const { rows } = await database.query<{ charged: boolean }>(
        `WITH paid AS (
           UPDATE retrieval r SET thaw_spent_usd = thaw_spent_usd + $2 FROM item i
           WHERE i.id = $1 AND i.charge_usd IS NULL AND r.id = i.retrieval AND thaw_spent_usd + $2 <= thaw_limit_usd * (1 + 1e-9) + 1e-9
           RETURNING i.id
         ), noted AS (UPDATE item SET charge_usd = $2 FROM paid WHERE item.id = paid.id)
         SELECT EXISTS (SELECT FROM paid) OR EXISTS (SELECT FROM item WHERE id = $1 AND charge_usd IS NOT NULL) AS charged`,
        [itemId, usd],
      )
      return rows[0]?.charged ?? false
    },

    async uncharge(itemId) {
      await database.query(
        `WITH was AS (SELECT id, retrieval, charge_usd FROM item WHERE id = $1 AND charge_usd IS NOT NULL FOR UPDATE),
           noted AS (UPDATE item SET charge_usd = NULL FROM was WHERE item.id = was.id)
         UPDATE retrieval r SET thaw_spent_usd = greatest(0, thaw_spent_usd - was.charge_usd) FROM was WHERE r.id = was.retrieval`,
        [itemId],
      )
    },

    retrieval: async (id) => (isUuid(id) ? read(id) : undefined),

    async retrievals({ limit, open } = {}) {
      const rows = await prisma((client) =>
        client.retrieval.findMany({
          select: { id: true },
          orderBy: { createdAt: 'desc' },
          ...(limit !== undefined && { take: limit }),
          ...(open !== undefined && { where: { finishedAt: open ? null : { not: null } } }),
        }),
      )
      return Promise.all(rows.map(({ id }) => mustRead(id)))
    },

    items: (retrievalId) => itemPages(prisma, isUuid(retrievalId) ? { retrievalId } : { number: -1n }),

    async item(id) {
      if (!isUuid(id)) return undefined
      const record = await prisma((client) => client.item.findUnique({ where: { id }, ...ITEM }))
      return record === null ? undefined : itemRowOf(record)
    },

    itemRows: (itemId) => itemRows(fileRows, itemId),

    async leaseItem(id, owner, isGone) {
      const gone = await goneOwners(
        database,
        'SELECT lease_owner AS owner FROM item WHERE id = $1 AND lease_owner <> $2',
        [id, owner],
        isGone,
      )
      const { rowCount } = await database.query(
        `UPDATE item SET state = 'fetching', lease_owner = $2, lease_until = ${LEASE_END}
         WHERE id = $1 AND state = ANY($4::text[]) AND (lease_owner = $2 OR ${leaseIsFree('$3')})`,
        [id, owner, gone, OPEN],
      )
      return rowCount === 1
    },

    async markItem(id, state, { reason, ...detail } = {}) {
      const data = {
        state,
        ...detail,
        ...(reason !== undefined && { reason: cleanText(reason) }),
        ...(state !== 'fetching' && { leaseOwner: null, leaseUntil: null }),
      }
      await prisma((client) => client.item.update({ where: { id }, data, select: { id: true } }))
    },

    changeItems: (changes) => changeItems(database, changes),
    ...thawClaims(database),
    ...duties(database),

    async finishRetrieval(id) {
      await database.query(
        `UPDATE retrieval SET state = f.state, finished_at = CASE WHEN f.state = ANY($2::text[]) THEN coalesce(finished_at, now()) END
         FROM (
           SELECT CASE
             WHEN bool_or(state = 'fetching') THEN 'fetching'
             WHEN bool_or(state = 'ready') THEN 'ready'
             WHEN bool_or(state = 'thawing') THEN 'thawing'
             WHEN bool_or(state = 'requested') THEN 'requested'
             WHEN bool_or(state = 'failed') THEN 'failed'
             WHEN bool_or(state = 'expired') THEN 'expired'
             ELSE 'done' END AS state
           FROM item WHERE retrieval = $1
         ) f
         WHERE id = $1`,
        [id, OVER],
      )
      return mustRead(id)
    },

    openItems: ({ detached }) =>
      itemPages(prisma, {
        state: { in: OPEN },
        retrieval: { finishedAt: null, agreedAt: { not: null }, ...(detached && { detached: true }) },
      }),
  }
}

async function createRetrieval(
  database: Database,
  id: string,
  { request, target, detached }: RetrievalRequest,
  rows: AsyncIterable<readonly FileRow[]>,
): Promise<void> {
  const connection = await database.connect()
  try {
    await gatherNeeded(connection, rows)
    await connection.query('BEGIN')
    await connection.query(`DELETE FROM retrieval WHERE agreed_at IS NULL AND created_at < now() - interval '1 day'`)
    await connection.query(`INSERT INTO retrieval (id, request, target, detached, state) VALUES ($1, $2, $3, $4, 'requested')`, [
      id,
      cleanJson(request),
      rawToBytes(target),
      detached,
    ])
    await connection.query(
      `INSERT INTO item (retrieval, bundle, state, files, bytes, bundles, seqs, span_offset, span_length)
       SELECT $1, t.holder, 'requested', t.files, t.bytes, k.bundles, k.seqs, t.span_offset, t.span_length
       FROM (${NEEDED_TOTALS}) t
       JOIN (
         SELECT holder, array_agg(bundle ORDER BY data_offset, bundle, seq) AS bundles, array_agg(seq ORDER BY data_offset, bundle, seq) AS seqs
         FROM needed GROUP BY holder
       ) k ON k.holder = t.holder
       JOIN bundle b ON b.number = t.holder
       ORDER BY b.vault, b.key COLLATE "C", b.number`,
      [id],
    )
    // A retrieval of nothing is over at once.
    await connection.query(
      `UPDATE retrieval SET files = i.files, bytes = i.bytes, state = CASE WHEN i.items = 0 THEN 'done' ELSE state END,
         finished_at = CASE WHEN i.items = 0 THEN now() END
       FROM (
         SELECT count(*) AS items, coalesce(sum(files), 0) AS files, coalesce(sum(bytes), 0) AS bytes FROM item WHERE retrieval = $1
       ) i
       WHERE id = $1`,
      [id],
    )
    await connection.query('COMMIT')
  } finally {
    await connection.end() // whatever was not committed goes with the connection
  }
}

async function readRetrieval(prisma: PrismaClient, id: string): Promise<RetrievalRow | undefined> {
  const record = await prisma.retrieval.findUnique({ where: { id } })
  if (record === null) return undefined
  const sums = await prisma.item.groupBy({
    by: ['state'],
    where: { retrievalId: id },
    _count: true,
    _sum: { filesRestored: true, filesFailed: true },
    _max: { readyAt: true },
  })
  const items: Record<RetrievalState, number> = {
    requested: 0,
    thawing: 0,
    ready: 0,
    fetching: 0,
    done: 0,
    failed: 0,
    expired: 0,
  }
  for (const sum of sums) items[sum.state as RetrievalState] = sum._count
  const expectedAt = sums.find(({ state }) => state === 'thawing')?._max.readyAt
  return {
    id,
    request: record.request as Record<string, unknown>,
    target: rawFromBytes(record.target),
    detached: record.detached,
    layout: record.layout as Layout,
    ...(record.host !== null && { host: record.host }),
    state: record.state as RetrievalState,
    ...(record.agreedAt !== null && { agreedAt: record.agreedAt }),
    ...(record.consent !== null && { consent: record.consent as Record<string, unknown> }),
    thawLimitUsd: record.thawLimitUsd,
    thawSpentUsd: record.thawSpentUsd,
    createdAt: record.createdAt,
    ...(record.finishedAt !== null && { finishedAt: record.finishedAt }),
    items,
    files: Number(record.files),
    bytes: Number(record.bytes),
    filesRestored: sums.reduce((sum, { _sum }) => sum + (_sum.filesRestored ?? 0), 0),
    filesFailed: sums.reduce((sum, { _sum }) => sum + (_sum.filesFailed ?? 0), 0),
    ...(expectedAt && { expectedAt }),
  }
}

/** Its keys lie in the item in the order of the offsets. */
async function* itemRows(fileRows: FileRows, itemId: string): AsyncGenerator<readonly FileRow[]> {
  const ask = (from: number) => {
    const page = fileRows.read(
      `SELECT ${FILE_COLUMNS}
       FROM item i, unnest(i.bundles[$2:$3], i.seqs[$2:$3]) WITH ORDINALITY AS k (bundle, seq, n)
       CROSS JOIN LATERAL (SELECT * FROM file WHERE bundle = k.bundle::int AND seq = k.seq LIMIT 1) f
       WHERE i.id = $1 ORDER BY k.n`,
      [itemId, from, from + FILES_A_PAGE - 1],
    )
    page.catch(() => {}) // awaited below, or nobody wants it any more
    return page
  }
  let kept: readonly FileRow[] = []
  let asked = ask(1)
  for (let from = 1; ; from += FILES_A_PAGE) {
    const read = await asked
    const page = [...kept, ...read]
    if (read.length < FILES_A_PAGE) {
      if (page.length > 0) yield page
      return
    }
    // The next page is read while this one is placed.
    asked = ask(from + FILES_A_PAGE)
    const { offset } = page.at(-1) as FileRow
    const cut = offset === undefined ? page.length : page.findIndex((row) => row.offset === offset)
    kept = page.slice(cut)
    if (cut > 0) yield page.slice(0, cut)
  }
}

/** By number, which was given by vault and key: what a page of them asks of a vault lies together in its listings. */
async function* itemPages(prisma: PrismaDoor, where: Prisma.ItemWhereInput): AsyncGenerator<readonly ItemRow[]> {
  for (let after = -1n; ; ) {
    const records = await prisma((client) =>
      client.item.findMany({
        where: { AND: [where, { number: { gt: after } }] },
        orderBy: { number: 'asc' },
        take: ITEMS_A_PAGE,
        ...ITEM,
      }),
    )
    const last = records.at(-1)
    if (last === undefined) return
    after = last.number
    yield records.map(itemRowOf)
  }
}

const itemRowOf = (record: ItemRecord): ItemRow => ({
  id: record.id,
  retrievalId: record.retrievalId,
  bundle: bundleRowOf({ ...record.bundle, vaultId: record.bundle.vault.id } satisfies BundleRecord),
  state: record.state as RetrievalState,
  files: record.files,
  bytes: Number(record.bytes),
  filesRestored: record.filesRestored,
  filesFailed: record.filesFailed,
  ...(record.readyAt && { readyAt: record.readyAt }),
  ...(record.expiresAt && { expiresAt: record.expiresAt }),
  ...(record.reason !== null && { reason: record.reason }),
  ...(record.spanOffset !== null &&
    record.spanLength !== null && { span: { offset: Number(record.spanOffset), length: Number(record.spanLength) } }),
})
