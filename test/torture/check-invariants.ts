/**
 * The invariants I1 to I7, checked from outside: the ledger of truth against the catalog (by SQL), the vault's bytes (by GNU tar and
 * sha256sum), and what the commands said. A fault is a sentence; all faults of one look are thrown together.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import type { Home, Ran } from '../firn.js'
import { counts, differences, type Ledger, type Truth, writeLedger } from './ledger.js'
import type { VaultSight } from './sight.js'

/** What can be looked at without running commands. */
export interface Sighted {
  readonly at: Pick<Home, 'path'>
  /** Of the catalog's database. */
  readonly sql: pg.Pool
  readonly sight: VaultSight
  /** As the catalog calls the vault. */
  readonly vaultId: string
  /** Keys of tars whose bytes were looked at already. */
  readonly seen: Set<string>
}

export interface Place extends Sighted {
  readonly at: Home
  /** Words that no output may hold (I8). */
  readonly secrets: readonly string[]
}

export function fail(about: string, faults: readonly string[]): void {
  if (faults.length === 0) return
  const more = faults.length > 20 ? [`... and ${faults.length - 20} more`] : []
  throw new Error([`${about}:`, ...faults.slice(0, 20), ...more].join('\n  '))
}

interface Row {
  path: string
  type: number
  size: string
  mtimeNs: string
  mode: number
  sha256: string | null
  link: Buffer | null
  bundle: string
  state: number
  /** The bytes lie in the tar of another bundle. */
  elsewhere: boolean
}

/** Whether all outcomes of a run say the same, and none says what nobody may know. */
export function checkRan(place: Pick<Place, 'secrets'>, ran: Ran, codes: readonly number[]): void {
  const faults: string[] = []
  if (!codes.includes(ran.code ?? -2))
    faults.push(`ended with ${ran.code} instead of ${codes.join(' or ')}: ${ran.stderr.slice(-1500)} ${ran.stdout.slice(-500)}`)
  const said = ran.summary['exit_code']
  if (said !== undefined && said !== ran.code) faults.push(`I7: its summary says exit code ${said}, it ended with ${ran.code}`)
  for (const secret of place.secrets) {
    if (ran.stdout.includes(secret) || ran.stderr.includes(secret)) faults.push('I8: a secret stands in the output')
  }
  fail('a command', faults)
}

/**
 * I1, I4: every bundle that the catalog calls stored is in the vault, byte for byte; and, unless work is still under way, nothing is left
 * to do, and nothing unfinished. Returns the objects that the catalog does not know.
 */
export async function checkVault(place: Sighted, options: { underway?: boolean } = {}): Promise<string[]> {
  const { sql, sight, vaultId, seen, at } = place
  const faults: string[] = []
  const { rows } = await sql.query<{ id: string; key: string; bytes: string; sha256: string }>(
    `SELECT b.id, b.key, b.tar_bytes AS bytes, encode(b.tar_sha256, 'hex') AS sha256 FROM bundle b JOIN vault v ON v.number = b.vault
     WHERE b.state = 'stored' AND v.id = $1 AND b.key IS NOT NULL`,
    [vaultId],
  )
  const objects = sight.objects()
  const unknown = new Map(objects)
  unknown.delete('firn-vault.json')
  for (const { id, key, bytes, sha256 } of rows) {
    unknown.delete(key)
    const manifest = key.replace(/\.tar$/, '.manifest.ndjson.gz')
    unknown.delete(manifest)
    if (!objects.has(manifest)) faults.push(`I1: bundle ${id} is stored and has no manifest beside it`)
    if (objects.get(key) !== Number(bytes)) {
      faults.push(
        `I1: bundle ${id} is stored with ${bytes} bytes, and the vault has ${objects.get(key) ?? 'nothing'} under ${key}`,
      )
      continue
    }
    if (seen.has(key)) continue
    const found = sha256sum(await sight.read(key), at)
    if (found !== sha256) faults.push(`I1: sha256sum of ${key} is ${found}, the catalog says ${sha256}`)
    else seen.add(key)
  }
  faults.push(...(await missingRecords(place, unknown)))
  if (!options.underway) faults.push(...(await leftToDo(place)))
  fail(`the vault ${vaultId}`, faults)
  return [...unknown.keys()]
}

const RECORD = /^\d{4}\/\d{2}\/([0-9a-f-]{36})\/set\.(\d+)\.ndjson\.gz$/

/** The records that the catalog counts. One more may be there, of which it was not told any more. Takes them from those that are unknown. */
async function missingRecords({ sql, vaultId }: Sighted, unknown: Map<string, number>): Promise<string[]> {
  const { rows } = await sql.query<{ id: string; records: number }>(
    'SELECT s.id, s.records FROM "set" s JOIN vault v ON v.number = s.vault WHERE v.id = $1',
    [vaultId],
  )
  const there = new Map<string, Set<number>>()
  for (const key of [...unknown.keys()]) {
    const [, set, n] = RECORD.exec(key) ?? []
    if (set === undefined || !rows.some(({ id }) => id === set)) continue
    there.set(set, (there.get(set) ?? new Set()).add(Number(n)))
    unknown.delete(key)
  }
  return rows.flatMap(({ id, records }) =>
    Array.from({ length: records }, (_, i) => i + 1).flatMap((n) =>
      there.get(id)?.has(n) ? [] : [`I4: record ${n} of set ${id} is not in the vault`],
    ),
  )
}

async function leftToDo({ sql, sight }: Sighted): Promise<string[]> {
  const faults: string[] = []
  const live = await sql.query<{ id: string }>(`SELECT id FROM bundle WHERE state NOT IN ('stored', 'failed', 'cancelled')`)
  for (const { id } of live.rows)
    faults.push(`I2: bundle ${id} is neither stored nor failed nor cancelled, and nobody works any more`)
  for (const key of sight.unfinished()) faults.push(`I4: an upload of ${key} was left behind`)
  return faults
}

function sha256sum(bytes: Buffer, at: Sighted['at']): string {
  const file = at.path('sum')
  writeFileSync(file, bytes)
  return execFileSync('sha256sum', [file], { encoding: 'utf8' }).slice(0, 64)
}

/**
 * I1, I2: each entry of the tree has a row, and only one, that says what it was; and bytes in the vault, by GNU tar, that are it. `more`: the
 * tree changed since, so that there are older versions too, and files that were removed. `unread`: some name could not be read at first, and
 * the links of an inode travel together: what has several names may have travelled before, without that one, and travels again.
 */
export async function checkTree(
  place: Sighted,
  root: string,
  ledger: Ledger,
  { more = false, unread = false }: { more?: boolean; unread?: boolean } = {},
): Promise<void> {
  const { sql, sight, at } = place
  const faults: string[] = []
  const linked = new Set([...ledger].flatMap(([path, { sameAs }]) => (sameAs === undefined ? [] : [path, sameAs])))
  const prefix = Buffer.from(root)
  const { rows } = await sql.query<Omit<Row, 'path'> & { directory: Buffer; name: Buffer; key: string }>(
    `SELECT d.path AS directory, f.name, f.type, f.size, f.mtime_ns AS "mtimeNs", f.mode, encode(f.sha256, 'hex') AS sha256, f.link,
       f.bundle, f.state, f.data_bundle IS NOT NULL AS elsewhere, b.key
     FROM file f JOIN directory d ON d.id = f.directory JOIN bundle b ON b.number = f.bundle
     WHERE b.state = 'stored' AND (d.path = $1 OR substring(d.path FROM 1 FOR $2) = $3) ORDER BY f.bundle`,
    [prefix, prefix.length + 1, Buffer.concat([prefix, Buffer.from('/')])],
  )
  const byPath = new Map<string, Row>()
  const keys = new Set<string>()
  for (const { directory, name, key, ...row } of rows) {
    keys.add(key)
    const path = Buffer.concat([directory, Buffer.from('/'), name])
      .toString('latin1')
      .slice(root.length + 1)
    const mayRepeat = more || row.type === 3 || (unread && linked.has(path))
    if (!mayRepeat && byPath.has(path)) faults.push(`I2: ${JSON.stringify(path)} is archived twice`)
    byPath.set(path, { ...row, path })
  }
  for (const [path, truth] of ledger) {
    if (truth.type === 'other') continue
    const row = byPath.get(path)
    if (row === undefined) faults.push(`I2: ${JSON.stringify(path)} has no row`)
    else faults.push(...rowFaults(path, truth, row))
  }
  for (const [path] of byPath)
    if (!more && !ledger.has(path)) faults.push(`I1: a row names ${JSON.stringify(path)}, which was never there`)
  const problems = await sql.query<{ path: Buffer; reason: string }>('SELECT path, reason FROM problem')
  for (const [path, { type }] of ledger) {
    if (type !== 'other') continue
    const whole = Buffer.from(`${root}/`).toString('latin1') + path
    const named = problems.rows.filter((problem) => problem.path.toString('latin1') === whole)
    if (named.length === 0) faults.push(`I2: the special file ${JSON.stringify(path)} is not named as a problem`)
  }
  fail(`the catalog, of ${root}`, faults)

  // A name that came later is in no tar: its row says in which bundle the bytes of its inode lie.
  const inTars = new Map([...ledger].filter(([path]) => byPath.get(path)?.elsewhere !== true))
  const out = at.path('untarred')
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out)
  try {
    for (const key of keys) {
      const tar = at.path('one.tar')
      writeFileSync(tar, await sight.read(key))
      // Sets of other trees may share no tar with this one: everything in it is of this tree, or above it.
      execFileSync('tar', ['-xf', tar, '-C', out, '--delay-directory-restore', '--no-same-owner', '-p'], {
        stdio: ['ignore', 'ignore', 'pipe'],
      })
    }
    const untarred = writeLedger(join(out, root))
    fail(
      `what GNU tar reads of ${root}`,
      differences(inTars, untarred, { mode: more, times: true, directories: true, hardlinks: more, more: more || unread }),
    )
  } finally {
    removeTree(out)
  }
}

function rowFaults(path: string, truth: Truth, row: Row): string[] {
  const type = truth.type === 'directory' ? [3] : truth.type === 'symlink' ? [2] : [0, 1]
  const facts: [string, unknown, unknown][] = [['state', 0, row.state === 2 ? 0 : row.state]]
  if (truth.mtimeNs !== undefined) facts.push(['mtime', String(truth.mtimeNs), row.mtimeNs])
  if (truth.type !== 'symlink') facts.push(['mode', truth.mode, row.mode & 0o7777])
  if (truth.type === 'file') facts.push(['size', String(truth.size), row.size])
  if (row.type === 0) facts.push(['sha256', truth.sha256, row.sha256])
  if (truth.type === 'symlink') facts.push(['link', truth.link, row.link?.toString('latin1')])
  const faults = facts
    .filter(([, is, says]) => is !== says)
    .map(([what, is, says]) => `I1: ${JSON.stringify(path)}: ${what} is ${is}, its row says ${says}`)
  if (!type.includes(row.type)) faults.push(`I1: ${JSON.stringify(path)} is a ${truth.type}, its row says type ${row.type}`)
  return faults
}

/** I3, I6: what came back is what was there, and nothing else was written. */
export function checkRestored(
  root: string,
  ledger: Ledger,
  target: string,
  options: { xattrs?: boolean; others?: readonly string[]; more?: boolean } = {},
): void {
  const found = writeLedger(join(target, root), options)
  fail(
    `I3: what was restored of ${root}`,
    differences(ledger, found, { setuid: true, ...(options.more && { hardlinks: true, more: true }) }),
  )
  // Nothing but the trees and the directories above them.
  const roots = (options.others ?? [root]).map((one) => one.slice(1))
  const isExpected = (path: string) => roots.some((one) => `${path}/`.startsWith(`${one}/`) || one.startsWith(`${path}/`))
  const staged = [...writeLedger(target).keys()].filter((path) => !isExpected(path))
  fail(`I6: what was left in ${target}`, staged)
}

/** I6: the tree is as it was. */
export function checkUntouched(root: string, ledger: Ledger): void {
  fail(`I6: the tree ${root}`, differences(ledger, writeLedger(root)))
}

/** I5: search finds every file of the tree by its word, and by its path, and nothing else. */
export async function checkSearch(place: Place, root: string, ledger: Ledger, word: string): Promise<void> {
  const expected = [...ledger].filter(([, { type }]) => type === 'file' || type === 'symlink').map(([path]) => path)
  const ran = await place.at.run('find-and-retrieve', ['-s', word, '-l', '--json'])
  checkRan(place, ran, [0])
  const found = ran.messages.flatMap((message) => {
    if (message['message_type'] !== 'file') return []
    const { path, path_b64 } = message as { path?: string; path_b64?: string }
    const bytes = path_b64 !== undefined ? Buffer.from(path_b64, 'base64') : Buffer.from(path ?? '')
    return [bytes.toString('latin1').slice(root.length + 1)]
  })
  const missing = expected.filter((path) => !found.includes(path))
  const strange = found.filter((path) => !expected.includes(path))
  fail(`I5: the search for ${word}`, [
    ...missing.map((path) => `does not find ${JSON.stringify(path)}`),
    ...strange.map((path) => `finds ${JSON.stringify(path)}`),
    ...(found.length === expected.length || missing.length + strange.length > 0 ? [] : ['finds a file twice']),
  ])
}

/** I7: what the summary says of a run is what the catalog says of its set, and what the tree had. */
export async function checkSummary(place: Place, ran: Ran, ledger: Ledger): Promise<void> {
  const { files, specials } = counts(ledger)
  const { summary } = ran
  const faults: string[] = []
  const equal = (what: string, is: unknown, expected: unknown) => {
    if (is !== expected) faults.push(`I7: ${what} is ${is} instead of ${expected}`)
  }
  equal('files_found', summary['files_found'], files + specials)
  equal('archived + unchanged', Number(summary['files_archived']) + Number(summary['files_unchanged']), files)
  equal('files_skipped', summary['files_skipped'], specials)
  equal('files_failed', summary['files_failed'], 0)
  const { rows } = await place.sql.query<{ state: string; archived: string; rows: string }>(
    `SELECT s.state, s.files_archived AS archived,
       (SELECT count(*) FROM file f JOIN bundle b ON b.number = f.bundle WHERE b.set = s.id AND b.state = 'stored' AND f.type <> 3) AS rows
     FROM "set" s WHERE s.id = $1`,
    [summary['set_id']],
  )
  equal('files archived by the catalog', Number(rows[0]?.archived), summary['files_archived'])
  equal('file rows', Number(rows[0]?.rows), summary['files_archived'])
  fail('the summary', faults)
}

/** I4: what the catalog does not know, check names; and it finds nothing missing or damaged. */
export async function checkNames(place: Place, unknown: readonly string[], flags: readonly string[] = []): Promise<void> {
  const ran = await place.at.run('firn', ['check', '--json', ...flags])
  checkRan(place, ran, [0, 1])
  const named = ran.messages.filter((message) => message['message_type'] === 'problem')
  const faults = named
    .filter(({ kind, vault }) => kind !== 'unknown' && vault === place.vaultId)
    .map(({ kind, key, reason }) => `firn check finds ${kind}: ${key}: ${reason}`)
  const names = new Set(named.map(({ key }) => key))
  for (const key of unknown) if (!names.has(key)) faults.push(`I4: nobody knows ${key}, and firn check does not name it`)
  fail('firn check', faults)
}

/** Also where modes are in the way of an ordinary user. */
export function removeTree(directory: string): void {
  if (process.getuid?.() !== 0) {
    try {
      execFileSync('chmod', ['-R', 'u+rwX', directory], { stdio: 'ignore' })
    } catch {
      chmodSync(directory, 0o700)
    }
  }
  rmSync(directory, { recursive: true, force: true })
}
