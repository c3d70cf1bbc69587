/** The items of retrievals: what is needed of each bundle, who is at it, and how far it is. */
import { FirnError } from '#libs/errors/errors.js'
import type { FileRow, ItemRow, RetrievalVerbs } from './catalog.js'
import { cleanText } from './clean-text.js'
import type { Database } from './database.js'
import { FILE_COLUMNS, type FileRows } from './file-row.js'
import { changeItems } from './item-changes.js'
import { ITEMS, type ItemRecord, itemRowOf } from './item-row.js'
import { goneOwners, LEASE_END, leaseIsFree } from './leases.js'
import { isUuid } from './uuid.js'

/** SQL, in the words of the partial index. */
const OPEN = `state IN ('requested', 'thawing', 'ready', 'fetching')`
/** As many as a vault is asked about at once. */
const ITEMS_A_PAGE = 1_000
/** What a retrieval holds of an item at a time. */
const FILES_A_PAGE = 8_192

type ItemVerbs = Pick<RetrievalVerbs, 'items' | 'openItems' | 'item' | 'itemRows' | 'leaseItem' | 'markItem' | 'changeItems'>

export function itemVerbs(database: Database, fileRows: FileRows): ItemVerbs {
  return {
    async *items(retrievalId) {
      if (isUuid(retrievalId)) yield* itemPages(database, 'items', `${ITEMS} WHERE i.retrieval = $2`, retrievalId)
    },

    openItems: ({ detached }) =>
      itemPages(
        database,
        'open-items',
        `${ITEMS} JOIN retrieval r ON r.id = i.retrieval
         WHERE i.${OPEN} AND r.finished_at IS NULL AND r.agreed_at IS NOT NULL AND (r.detached OR NOT $2::boolean)`,
        detached,
      ),

    async item(id) {
      if (!isUuid(id)) return undefined
      const { rows } = await database.query<ItemRecord>(`${ITEMS} WHERE i.id = $1`, [id])
      return rows[0] && itemRowOf(rows[0])
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
         WHERE id = $1 AND ${OPEN} AND (lease_owner = $2 OR ${leaseIsFree('$3')})`,
        [id, owner, gone],
      )
      return rowCount === 1
    },

    async markItem(id, state, { readyAt, expiresAt, reason, filesRestored, filesFailed } = {}) {
      const { rowCount } = await database.query(
        `UPDATE item SET state = $2, ready_at = coalesce($3, ready_at), expires_at = coalesce($4, expires_at), reason = coalesce($5, reason),
           files_restored = coalesce($6, files_restored), files_failed = coalesce($7, files_failed),
           lease_owner = CASE WHEN $2 = 'fetching' THEN lease_owner END, lease_until = CASE WHEN $2 = 'fetching' THEN lease_until END
         WHERE id = $1`,
        [id, state, readyAt, expiresAt, reason === undefined ? undefined : cleanText(reason), filesRestored, filesFailed],
        { name: 'mark-item' },
      )
      if (rowCount === 0) throw new FirnError('failed', `The catalog knows no item ${id} of a retrieval.`)
    },

    changeItems: (changes) => changeItems(database, changes),
  }
}

/** By number, which was given by vault and key: what a page of them asks of a vault lies together in its listings. */
async function* itemPages(database: Database, name: string, items: string, value: unknown): AsyncGenerator<readonly ItemRow[]> {
  const page = `${items} AND i.number > $1 ORDER BY i.number LIMIT ${ITEMS_A_PAGE}`
  for (let after = -1n; ; ) {
    const { rows } = await database.query<ItemRecord>(page, [after, value], { name })
    const last = rows.at(-1)
    if (last === undefined) return
    after = last.itemNumber
    yield rows.map(itemRowOf)
    if (rows.length < ITEMS_A_PAGE) return
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
