/**
 * A catalog that somebody has written into: names that lead upwards, keys of another set, wrong sums, sizes and offsets. A restore
 * refuses what does not fit, says so in its exit code, and changes nothing outside its target.
 */
import { mkdirSync, symlinkSync } from 'node:fs'
import type { Case, CaseContext } from './case.js'
import { fail } from './check-invariants.js'
import { plantSurroundings } from './hostile-tars/surroundings.js'
import { differences, withoutDirectoryTimes, writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import { archive, plant } from './planted.js'
import { randomFrom } from './random.js'

export const TAMPERED_ROWS: readonly Case[] = [{ name: 'hostile/rows', run: tamperedRows }]

const ONE_FILE = `(bundle, seq) = (SELECT bundle, seq FROM file WHERE type = 0 AND size > 100 ORDER BY bundle, seq LIMIT 1)`
const ALL_FILES = `type = 0 AND size > 100`

/** What is written, and whether every file that is touched must be refused. */
const TAMPERINGS: readonly (readonly [name: string, sql: string, refused: boolean])[] = [
  ['a name that leads upwards', `UPDATE file SET name = '../../../../out/f' WHERE ${ONE_FILE}`, true],
  ['a name of dots', `UPDATE file SET name = '..' WHERE ${ONE_FILE}`, true],
  ['a name with NUL', `UPDATE file SET name = '\\x610062'::bytea WHERE ${ONE_FILE}`, true],
  ['a name for a terminal', `UPDATE file SET name = '\\x1b5b324a0d9b33316d'::bytea WHERE ${ONE_FILE}`, false],
  ['an empty name', `UPDATE file SET name = '' WHERE ${ONE_FILE}`, true],
  ['a directory that leads upwards', `UPDATE directory SET path = path || '/../../../../../out'::bytea`, true],
  ['another sum', `UPDATE file SET sha256 = decode(repeat('ab', 32), 'hex') WHERE ${ALL_FILES}`, true],
  ['no sum', `UPDATE file SET sha256 = NULL WHERE ${ONE_FILE}`, true],
  ['a size beyond the tar', `UPDATE file SET size = 9007199254740991 WHERE ${ALL_FILES}`, true],
  ['a negative size', `UPDATE file SET size = -1 WHERE ${ALL_FILES}`, true],
  ['an offset beyond the tar', `UPDATE file SET data_offset = 9000000000000000 WHERE ${ALL_FILES}`, true],
  ['a negative offset', `UPDATE file SET data_offset = -512 WHERE ${ALL_FILES}`, true],
  ['an offset in a header', `UPDATE file SET data_offset = data_offset - 512 WHERE ${ALL_FILES}`, true],
  ['a symlink out, and a file through it', `UPDATE file SET type = 2, link = '../out', sha256 = NULL WHERE ${ONE_FILE}`, false],
  ['a device', `UPDATE file SET type = 9 WHERE ${ONE_FILE}`, true],
  ['setuid', `UPDATE file SET mode = 2541 WHERE ${ALL_FILES}`, false],
  [
    'the tar of another bundle',
    `UPDATE bundle b SET key = o.key FROM bundle o WHERE o.number = (SELECT max(number) FROM bundle)`,
    true,
  ],
  ['a key that leads upwards', `UPDATE bundle SET key = '../../../../etc/passwd'`, true],
  ['an absolute key', `UPDATE bundle SET key = '/etc/passwd'`, true],
  ['a key that nothing has', `UPDATE bundle SET key = '2026/01/nothing.tar'`, true],
  ['a tar that is longer', `UPDATE bundle SET tar_bytes = tar_bytes * 1000`, false],
  ['another vault', `UPDATE vault SET id = 'local:/', url = 'local:/'`, true],
  // They are looked for in the row's own bundle, found there, and verified.
  ['data in a bundle that is none', `UPDATE file SET data_bundle = gen_random_uuid() WHERE ${ALL_FILES}`, false],
]

const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\u001b(?!\[\d*[A-Zmn])/

async function tamperedRows(context: CaseContext): Promise<void> {
  const place = await openPlace('local')
  try {
    const tree = plant(place, context, 'planted', { random: randomFrom(context.seed, 'tampered') })
    const { root, ledger } = tree
    await archive(place, tree, '-f')
    const vaultBefore = writeLedger(place.at.path('home/vault'))
    await keepTables(place)
    const faults: string[] = []
    for (const [index, [name, sql, refused]] of TAMPERINGS.entries()) {
      // Each in the one way or the other; the soak in both.
      const ways = context.profile === 'soak' ? [false, true] : [(index + context.seed) % 2 === 1]
      for (const overwrite of ways) {
        await resetTables(place)
        const found = await tamper(place, sql)
        if (found === 'refused by the database') {
          context.count('tampered rows that the database refuses', 1)
          continue
        }
        const base = place.at.path('around')
        const surroundings = plantSurroundings(base)
        mkdirSync(`${surroundings.target}/to`)
        symlinkSync('../../out', `${surroundings.target}/to/gate`)
        const to = `${surroundings.target}/to`
        const args = ['--path', root.slice(0, 5), '--all-versions', '--to', to, '--yes', ...(overwrite ? ['--overwrite'] : [])]
        const ran = await place.at.run('find-and-retrieve', args)
        context.count('tampered catalogs restored from', 1)
        for (const text of [ran.stdout, ran.stderr])
          if (CONTROL.test(text)) faults.push(`${name}: control characters in ${JSON.stringify(text.slice(0, 2_000))}`)
        if (ran.code === -1 || ran.code === null) faults.push(`${name}: the command died: ${ran.stderr.slice(-500)}`)
        if (refused && ran.code === 0) faults.push(`${name}: ended with 0: ${ran.stdout.slice(-300)}`)
        if (/\bat .*\.js:\d+/.test(ran.stderr)) faults.push(`${name}: a stack trace: ${ran.stderr.slice(0, 600)}`)
        faults.push(...surroundings.faults().map((fault) => `${name}: ${fault}`))
      }
    }
    faults.push(...differences(withoutDirectoryTimes(vaultBefore), writeLedger(place.at.path('home/vault'))))
    faults.push(...differences(ledger, writeLedger(root)))
    fail('tampered rows', faults)
  } finally {
    await place.close()
  }
}

const TABLES = ['vault', 'set', 'bundle', 'directory', 'file']

async function keepTables({ sql }: OpenPlace): Promise<void> {
  await sql.query(`CREATE SCHEMA kept; ${TABLES.map((table) => `CREATE TABLE kept."${table}" AS TABLE "${table}"`).join('; ')}`)
}

async function resetTables({ sql }: OpenPlace): Promise<void> {
  const emptied = [...TABLES, 'item', 'retrieval', 'problem', 'thaw_claim'].map((table) => `"${table}"`).join(', ')
  // What is generated cannot be put back, and need not.
  const { rows } = await sql.query<{ table: string; columns: string }>(
    `SELECT table_name AS "table", string_agg(format('%I', column_name), ', ') AS columns FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name = ANY($1) AND is_generated = 'NEVER' GROUP BY table_name`,
    [TABLES],
  )
  const columnsOf = new Map(rows.map(({ table, columns }) => [table, columns]))
  const filled = TABLES.map((table) => {
    const columns = columnsOf.get(table)
    return `INSERT INTO "${table}" (${columns}) SELECT ${columns} FROM kept."${table}"`
  })
  await sql.query(`TRUNCATE ${emptied} CASCADE; ${filled.join('; ')}`)
}

/** The database's own checks refuse some of it: then nobody can have written it. */
async function tamper({ sql }: OpenPlace, statement: string): Promise<'written' | 'refused by the database'> {
  try {
    const { rowCount } = await sql.query(statement)
    if (!rowCount) throw new Error(`nothing was tampered with: ${statement}`)
    return 'written'
  } catch (error) {
    if (/^(23|22)/.test(String((error as { code?: unknown }).code))) return 'refused by the database'
    throw error
  }
}
