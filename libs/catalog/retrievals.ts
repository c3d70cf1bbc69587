/** Retrievals: what a person asked for, what it may cost, and how far it is. */
import { randomUUID } from 'node:crypto'
import { FirnError } from '#libs/errors/errors.js'
import { jsonName, rawFromBytes, rawToBytes } from '#libs/os/raw.js'
import { addAudit } from './audit.js'
import type { LocatedRow, RetrievalRequest, RetrievalRow, RetrievalState, RetrievalVerbs } from './catalog.js'
import { cleanJson, cleanText } from './clean-text.js'
import type { Database } from './database.js'
import type { FileRows } from './file-row.js'
import { itemVerbs } from './items.js'
import { gatherNeeded, NEEDED_TOTALS, neededBundles, takeFromOthers, vaultsNeeded } from './needed.js'
import type { PrismaDoor } from './prisma-door.js'
import { RETRIEVALS, type RetrievalRecord, retrievalRowOf } from './retrieval-row.js'
import { duties, thawClaims } from './thaw-claims.js'
import { isUuid } from './uuid.js'

const OVER: RetrievalState[] = ['done', 'failed', 'expired']

export function retrievalVerbs(database: Database, fileRows: FileRows, prisma: PrismaDoor): RetrievalVerbs {
  const readOne = async (
    where: string,
    values: readonly unknown[],
    options?: { name: string },
  ): Promise<RetrievalRow | undefined> => {
    const { rows } = await database.query<RetrievalRecord>(`${RETRIEVALS} ${where}`, values, options)
    return rows[0] && retrievalRowOf(rows[0])
  }
  // Who waits for a thaw asks every second.
  const read = (id: string) => readOne('WHERE r.id = $1', [id], { name: 'retrieval' })
  const mustRead = async (id: string): Promise<RetrievalRow> => {
    const row = await read(id)
    if (row === undefined) throw unknown(id)
    return row
  }

  return {
    neededBundles: (rows) => neededBundles(database, rows),

    async setLayout(retrievalId, layout, host) {
      const { rowCount } = await database.query('UPDATE retrieval SET layout = $2, host = $3 WHERE id = $1', [
        retrievalId,
        layout,
        host === undefined ? null : cleanText(host),
      ])
      if (rowCount === 0) throw unknown(retrievalId)
    },

    openRetrieval: ({ request, target, detached }) =>
      readOne(
        `WHERE r.finished_at IS NULL AND r.agreed_at IS NOT NULL AND r.request = $1::jsonb AND r.target = $2 AND r.detached = $3
         ORDER BY r.created_at DESC LIMIT 1`,
        [cleanJson(request), rawToBytes(target), detached],
      ),

    async createRetrieval(request, rows, { awayOf } = {}) {
      const id = randomUUID()
      await createRetrieval(database, id, request, rows, awayOf)
      return mustRead(id)
    },

    async agreeTo(id, { thawLimitUsd, usd, offer }, by) {
      await database.transaction(async (connection) => {
        const { rows } = await connection.query<{
          agreed: boolean
          request: Record<string, unknown>
          target: Buffer
          files: bigint
          bytes: bigint
        }>('SELECT agreed_at IS NOT NULL AS agreed, request, target, files, bytes FROM retrieval WHERE id = $1 FOR UPDATE', [id])
        const [asked] = rows
        if (asked === undefined) throw new FirnError('try-again', 'The offer is too old: ask for the files again.')
        await connection.query(
          `UPDATE retrieval SET agreed_at = coalesce(agreed_at, now()), consent = $2, thaw_limit_usd = $3 WHERE id = $1`,
          [id, cleanJson(offer), thawLimitUsd],
        )
        if (asked.agreed) return
        const detail = { request: asked.request, ...jsonName('target', rawFromBytes(asked.target)) }
        const counts = { files: Number(asked.files), bytes: Number(asked.bytes), usd }
        await addAudit(connection, { kind: 'retrieval', by, subject: id, detail, ...counts })
      })
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

    ...itemVerbs(database, fileRows),
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
  }
}

const unknown = (id: string) => new FirnError('failed', `The catalog knows no retrieval ${id}.`)

async function createRetrieval(
  database: Database,
  id: string,
  { request, target, detached }: RetrievalRequest,
  rows: AsyncIterable<readonly LocatedRow[]>,
  awayOf: ((vaultIds: readonly string[]) => Promise<readonly string[]>) | undefined,
): Promise<void> {
  const connection = await database.connect()
  try {
    await gatherNeeded(connection, rows)
    const away = (await awayOf?.(await vaultsNeeded(connection))) ?? []
    if (away.length > 0) await takeFromOthers(connection, away)
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
