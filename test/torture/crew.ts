/** Workers on one catalog that they share, on a local vault, as many installations run them; and what must hold of their sets. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Running } from '../firn.js'
import type { CaseContext } from './case.js'
import { checkNames, checkRan, checkTree, checkVault, fail } from './check-invariants.js'
import { writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import type { Planted } from './planted.js'

export interface Crew {
  readonly place: OpenPlace
  readonly context: CaseContext
  readonly running: Set<Running>
}

/** A catalog that workers share, on a local vault. Whatever still runs at the end is killed. */
export async function withCrew(
  context: CaseContext,
  work: (crew: Crew) => Promise<void>,
  options: { queueUrl?: string } = {},
): Promise<void> {
  const place = await openPlace('local', options)
  place.at.env['FIRN_DATABASE_URL'] = place.databaseUrl
  const crew: Crew = { place, context, running: new Set() }
  try {
    checkRan(place, await place.at.run('firn', ['migrate']), [0])
    await work(crew)
  } finally {
    for (const one of crew.running) one.kill('SIGKILL')
    await Promise.all([...crew.running].map(({ ended }) => ended))
    await place.close()
  }
}

export function startWorker({ place, running }: Crew, env: NodeJS.ProcessEnv = {}, workers = 1): Running {
  const worker = place.at.start('firn', ['worker', '--grace', '3', '--workers', String(workers)], env)
  running.add(worker)
  void worker.ended.then(() => running.delete(worker))
  return worker
}

export interface Planned extends Planted {
  readonly setId: string
}

export async function plan({ place }: Crew, root: string, more: readonly string[] = []): Promise<Planned> {
  const ledger = writeLedger(root)
  const ran = await place.at.run('archive-files', ['-r', '--json', '--detach', ...more, root])
  checkRan(place, ran, [0, 3])
  return { root, ledger, setId: String(ran.summary['set_id']) }
}

export async function until(what: string, seconds: number, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await holds()); await sleep(100)) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain for ${what}`)
  }
}

export const isOver = async ({ place }: Crew, sets: readonly Planned[]): Promise<boolean> => {
  const { rows } = await place.sql.query<{ left: string }>(
    `SELECT count(*) AS left FROM bundle WHERE "set" = ANY($1::uuid[]) AND (state IN ('planned', 'packing') OR state = 'stored' AND NOT indexed)`,
    [sets.map(({ setId }) => setId)],
  )
  return rows[0]?.left === '0'
}

/** No bundle failed, each file has its row and its bytes, and the set's counters are those of its rows. */
export async function checkSets({ place }: Crew, sets: readonly Planned[]): Promise<void> {
  const { rows } = await place.sql.query<{ id: string; archived: string; rows: string; failed: number }>(
    `SELECT s.id, s.files_archived AS archived, s.bundles_failed AS failed,
       (SELECT count(*) FROM file f JOIN bundle b ON b.number = f.bundle WHERE b.set = s.id AND b.state = 'stored' AND f.type <> 3) AS rows
     FROM "set" s`,
  )
  fail(
    'the sets',
    rows.flatMap(({ id, archived, rows, failed }) => [
      ...(archived === rows ? [] : [`I7: set ${id} counts ${archived} files, and has ${rows} rows`]),
      ...(failed === 0 ? [] : [`set ${id} has ${failed} failed bundles`]),
    ]),
  )
  const unknown = await checkVault(place)
  for (const { root, ledger } of sets) await checkTree(place, root, ledger)
  await checkNames(place, unknown)
}
