/** How a command ends that a disk stopped: with one sentence that says why, and the exit code that belongs to it. */
import type { Ran, Running } from '../../firn.js'
import { checkRan, fail, type Place } from '../check-invariants.js'
import type { Ledger } from '../ledger.js'

export interface Expected {
  readonly codes: readonly number[]
  readonly reason: RegExp
}

export function checkStopped(place: Pick<Place, 'secrets'>, ran: Ran, { codes, reason }: Expected): void {
  checkRan(place, ran, codes)
  const errors = errorsOf(ran)
  fail('a command that a disk stopped', [
    ...(errors.length === 1
      ? []
      : [`ends with ${errors.length} errors instead of one: ${ran.stdout.slice(-500)} ${ran.stderr.slice(-500)}`]),
    ...errors.filter((text) => !reason.test(text)).map((text) => `gives another reason: ${JSON.stringify(text)}`),
  ])
  checkSentence(ran)
}

const PATIENCE_MS = 120_000

/** A command that does not end has not stopped. */
export async function endsInTime(running: Running): Promise<Ran> {
  let late = false
  const limit = setTimeout(() => {
    late = true
    running.kill('SIGKILL')
  }, PATIENCE_MS)
  const ran = await running.ended
  clearTimeout(limit)
  if (late) throw new Error(`a command did not end: ${ran.stderr.slice(-1500)} ${ran.stdout.slice(-500)}`)
  return ran
}

const errorsOf = ({ messages }: Ran): string[] =>
  messages.filter((message) => message['message_type'] === 'error').map(({ message }) => String(message))

/** What ends a command is said in words for people. */
export function checkSentence(ran: Ran): void {
  const strange = [...errorsOf(ran), ran.stderr].filter((text) => /\(unexpected|^\s+at .*:\d+:\d+\)?$/m.test(text))
  fail(
    'what a command says',
    strange.map((text) => `is no sentence for people: ${JSON.stringify(text.slice(-600))}`),
  )
  const errors = errorsOf(ran)
  if (errors.length > 1) fail('what a command says', [`are ${errors.length} errors: ${errors.join(' ')}`])
}

/** I2: of a set that came to its end, each file is in the catalog with its own bytes, or was named with the reason why not; never both. */
export async function checkAccounted(place: Place, root: string, ledger: Ledger, ran: Ran): Promise<void> {
  const { rows } = await place.sql.query<{ path: Buffer; sha256: string | null; type: number }>(
    `SELECT d.path || '/'::bytea || f.name AS path, encode(f.sha256, 'hex') AS sha256, f.type
     FROM file f JOIN directory d ON d.id = f.directory JOIN bundle b ON b.number = f.bundle
     WHERE b.set = $1 AND b.state = 'stored' AND f.type <> 3`,
    [ran.summary['set_id']],
  )
  const problems = await place.sql.query<{ path: Buffer; reason: string }>('SELECT path, reason FROM problem WHERE set = $1', [
    ran.summary['set_id'],
  ])
  const below = (path: Buffer) => path.toString('latin1').slice(root.length + 1)
  const byPath = new Map(rows.map((row) => [below(row.path), row]))
  const named = new Set(problems.rows.map(({ path }) => below(path)))
  // A directory that could not be read answers for what is in it.
  const isNamed = (path: string) =>
    named.has('') || path.split('/').some((_, i, names) => named.has(names.slice(0, i + 1).join('/')))
  const faults: string[] = []
  for (const [path, truth] of ledger) {
    if (truth.type === 'directory') continue
    const row = byPath.get(path)
    if (row === undefined && !isNamed(path)) faults.push(`I2: ${JSON.stringify(path)} is neither archived nor named`)
    if (row?.type === 0 && row.sha256 !== truth.sha256)
      faults.push(`I1: ${JSON.stringify(path)} has a row with the SHA-256 of something else`)
    if (row !== undefined && truth.type === 'other') faults.push(`I1: ${JSON.stringify(path)} has a row and is a special file`)
  }
  fail('a set that came to its end', faults)
}
