/** Entries with several names, set aside in a temporary table until the walk is over: then each inode's names come together. */

import { binaryRows } from './binary-rows.js'
import type { LinkStore } from './catalog.js'
import type { Database } from './database.js'
import { plannedFromJson, plannedToJson } from './planned-json.js'

const PAGE = 1000

export async function openLinkStore(database: Database): Promise<LinkStore> {
  const connection = await database.connect()
  let empty = true
  return {
    async add(entries) {
      if (entries.length === 0) return
      if (empty) await connection.query('CREATE TEMPORARY TABLE linked (dev bigint, ino bigint, path bytea, entry text)')
      empty = false
      const rows = binaryRows()
      for (const entry of entries) {
        rows.row(4)
        rows.int8(entry.dev)
        rows.int8(entry.ino)
        rows.raw(entry.path)
        rows.text(plannedToJson(entry))
      }
      await connection.copy('linked (dev, ino, path, entry)', rows.finish())
    },
    async *groups() {
      if (empty) return
      await connection.query('BEGIN')
      try {
        await connection.query('DECLARE groups NO SCROLL CURSOR FOR SELECT entry FROM linked ORDER BY dev, ino, path')
        for (;;) {
          const rows = (await connection.texts(`FETCH ${PAGE} FROM groups`)) as [string][]
          if (rows.length === 0) return
          yield rows.map(([entry]) => plannedFromJson(entry))
        }
      } finally {
        await connection.query('ROLLBACK').catch(() => {})
      }
    },
    [Symbol.asyncDispose]: () => connection.end(),
  }
}
