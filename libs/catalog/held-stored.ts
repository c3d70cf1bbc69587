/** SQL that the questions about what is held have in common: which of the rows that a name has count. */

/** Bundle `b`, in the vault $5, at this moment: check may find one missing during a crawl. */
const STORED = `b.state = 'stored' AND b.vault = $5`

/**
 * SQL: whether a row of `stored` lacks nothing of what the bits `asked` say: its set kept it, or somebody looked since then and there is none.
 * `looked` is the time of that.
 */
export const isKept = (row: string, asked: string, looked: string): string =>
  `(${asked} & ~${row}.kept = 0 OR coalesce(${row}.archived_at <= ${looked}, FALSE))`

/** SQL: when the directory was last looked at for all of it, for the vault $5. */
export const lookedAt = (directory: string, asked: string): string =>
  `(SELECT max(at) FROM looked k WHERE k.directory = ${directory} AND k.vault = $5 AND ${asked} & ~k.kept = 0)`

/**
 * What follows WITH: `rows` with their bundles, as `stored`, where those are stored, and where those are that hold the bytes. `rows` is a
 * SELECT that has the columns `bundle` and `data_bundle` of `file`. Many rows have few bundles, so each of those is looked at once; LIMIT
 * keeps that a look-up by index, for a planner without statistics would read all bundles there are.
 */
export const withStored = (rows: string): string => `
  rows AS MATERIALIZED (${rows}),
  bundles AS MATERIALIZED (
    SELECT b.*, (SELECT kept FROM "set" s WHERE s.id = b.set) AS kept FROM (SELECT DISTINCT bundle FROM rows) AS n
    CROSS JOIN LATERAL (SELECT number, id, set, archived_at FROM bundle b WHERE b.number = n.bundle AND ${STORED} LIMIT 1) b
  ),
  holders AS MATERIALIZED (
    SELECT n.data_bundle FROM (SELECT DISTINCT data_bundle FROM rows WHERE data_bundle IS NOT NULL) AS n
    CROSS JOIN LATERAL (SELECT FROM bundle b WHERE b.id = n.data_bundle AND ${STORED} LIMIT 1) b
  ),
  stored AS (
    SELECT * FROM rows JOIN bundles ON bundles.number = rows.bundle
    WHERE rows.data_bundle IS NULL OR rows.data_bundle IN (SELECT data_bundle FROM holders)
  )`
