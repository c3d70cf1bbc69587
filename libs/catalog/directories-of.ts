/** Catalogued directories by path: for the modes of parents that a selection does not hold itself. */
import { ENTRY_TYPES } from '#libs/bundle/entry.js'
import { nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import type { FileRow } from './catalog.js'
import { cleanText } from './clean-text.js'
import { directoryByPath, toBytes } from './directories.js'
import { FILE_COLUMNS, type FileRows } from './file-row.js'
import { byPath, newestFirst } from './versions.js'

const AT_ONCE = 500

export async function directoriesOf(fileRows: FileRows, host: string, paths: readonly Raw[], asOf?: Date): Promise<FileRow[]> {
  const found: FileRow[] = []
  for (let at = 0; at < paths.length; at += AT_ONCE) {
    const asked = paths.slice(at, at + AT_ONCE)
    const versions = await fileRows.read(
      `SELECT ${FILE_COLUMNS} FROM unnest($2::text[], $3::text[]) AS r (parent, name)
       CROSS JOIN LATERAL ${directoryByPath('(SELECT number FROM host WHERE name = $1)', toBytes('r.parent'))}
       CROSS JOIN LATERAL (
         SELECT * FROM file WHERE directory = d.id AND name = ${toBytes('r.name')} AND type = ${ENTRY_TYPES.indexOf('directory')} OFFSET 0
       ) f`,
      [cleanText(host), asked.map(parentOf), asked.map(nameOf)],
    )
    const then = versions.filter((row) => asOf === undefined || row.archivedAt <= asOf)
    for (const rows of byPath(then)) found.push(rows.sort(newestFirst)[0] as FileRow)
  }
  return found
}
