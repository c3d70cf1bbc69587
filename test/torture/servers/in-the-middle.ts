/**
 * Something happens to a server while workers and a command archive a tree. What the command does about it is its own matter, but it may
 * not say that all is done when it is not, and the same command again must finish. The workers come back by themselves: nobody starts
 * them again. Afterwards all that was there is archived once, and nothing false is recorded.
 */
import { mkdirSync } from 'node:fs'
import type { Ran } from '../../firn.js'
import { makeFiles } from '../../tree.js'
import { checkRan, checkSummary, checkUntouched, fail } from '../check-invariants.js'
import { type Crew, checkSets, isOver, startWorker, until } from '../crew.js'
import { writeLedger } from '../ledger.js'
import { randomFrom } from '../random.js'

/** Done, or to be tried again. */
const CODES = [0, 75]

/** Starts of a command that may be needed when a server is back. */
const STARTS = 4

export interface Middle {
  /** Called when some bundles are stored and most are not; returns when the trouble is over. */
  readonly strike: (crew: Crew) => Promise<void>
  /** Of two files each. */
  readonly bundles?: number
}

export async function inTheMiddle(crew: Crew, name: string, { strike, bundles = 100 }: Middle): Promise<void> {
  const { place, context } = crew
  const random = randomFrom(context.seed, name)
  const root = place.at.path('grove')
  mkdirSync(root)
  makeFiles(root, 2 * bundles, { bytes: 20_000 })
  const ledger = writeLedger(root)
  const args = ['-r', '--json', '--files-per-bundle', '2', root]
  const workers = [startWorker(crew), startWorker(crew)]
  await until('the workers to show themselves', 60, async () => (await numberOf(crew, 'SELECT count(*) AS n FROM worker')) === 2)

  const first = place.at.start('archive-files', args)
  const some = 3 + random.below(bundles / 4)
  const stored = () => numberOf(crew, `SELECT count(*) AS n FROM bundle WHERE state = 'stored'`)
  await until(`${some} bundles to be stored`, 60, async () => (await stored()) >= some)
  const before = await stored()
  if (before === bundles) throw new Error('all was stored before anything happened: the tree is too small')
  await strike(crew)
  context.count('times that a server failed in the middle', 1)

  let ran: Ran = await first.ended
  for (let starts = 1; ran.code === 75; starts++) {
    if (starts === STARTS) throw new Error(`the ${starts}th start of the command still ends with 75: ${ran.stderr.slice(-1_500)}`)
    context.count('commands that had to be started again', 1)
    ran = await place.at.run('archive-files', args)
  }
  checkRan(place, ran, CODES)
  checkUntouched(root, ledger)
  const { rows } = await place.sql.query<{ id: string }>('SELECT id FROM "set"')
  const sets = rows.map(({ id }) => ({ root, ledger, setId: id }))
  await until('all to be stored and indexed', 120, () => isOver(crew, sets))
  fail(
    'the workers',
    workers
      .filter((worker) => worker.exitCode !== null || worker.signalCode !== null)
      .map((worker) => `one ended: ${worker.said().slice(-1_500)}`),
  )
  for (const worker of workers) worker.kill('SIGTERM')
  await until('the workers to end', 60, () => crew.running.size === 0)

  const last = await place.at.run('archive-files', ['--workers', '1', ...args])
  checkRan(place, last, [0])
  await checkSummary(place, last, ledger)
  fail(
    'the last run',
    last.summary['files_archived'] === 0 ? [] : [`I2: it archived ${last.summary['files_archived']} files again`],
  )
  await checkSets(crew, sets.slice(0, 1))
}

export async function numberOf({ place }: Crew, sql: string): Promise<number> {
  const { rows } = await place.sql.query<{ n: string }>(sql)
  return Number(rows[0]?.n)
}
