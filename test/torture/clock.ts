/**
 * Steps of a clock: one worker's, or a command's, by five minutes and by an hour, forwards and back, while it archives and restores. The
 * database's clock stays: leases and versions go by it. Nothing is archived twice, no lease is taken from a worker that holds it, and no
 * time is recorded that never was.
 */
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../cloud/clock.js'
import { makeFiles } from '../tree.js'
import type { Case, CaseContext } from './case.js'
import { checkNames, checkRan, checkRestored, checkSummary, checkTree, checkVault, fail } from './check-invariants.js'
import { type Crew, checkSets, isOver, plan, startWorker, until, withCrew } from './crew.js'
import { writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import { archive, archiveArgs, plant, restoreArgs, WITH_FIFO } from './planted.js'
import { randomFrom } from './random.js'

const PRELOAD = new URL('./clock-preload.js', import.meta.url).href
const STEPS_MS = [5 * MINUTE_MS, HOUR_MS, -5 * MINUTE_MS, -HOUR_MS]

const clocked = (file: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  NODE_OPTIONS: `--import=${PRELOAD}`,
  TORTURE_CLOCK: file,
  ...more,
})

/** A minute for clocks of the tests' own machine and of the database, which are one. */
async function checkTimes({ sql }: OpenPlace, since: Date): Promise<void> {
  const { rows } = await sql.query<{ id: string; at: Date }>(
    `SELECT id, archived_at AS at FROM bundle WHERE state = 'stored' AND NOT archived_at BETWEEN $1 AND clock_timestamp()`,
    [since],
  )
  fail(
    'times in the catalog',
    rows.map(({ id, at }) => `bundle ${id} was archived at ${at.toISOString()}, which never was`),
  )
}

/** Two workers, one of them with a clock that makes steps while they work. */
async function stepWhileWorking(crew: Crew): Promise<void> {
  const { place, context } = crew
  const random = randomFrom(context.seed, 'clock')
  const since = new Date()
  const file = place.at.path('clock')
  writeFileSync(file, '0')
  startWorker(crew, clocked(file))
  startWorker(crew)
  const root = place.at.path('grove')
  mkdirSync(root)
  const bundles = 120
  makeFiles(root, 2 * bundles, { bytes: 20_000 })
  const set = await plan(crew, root, ['--files-per-bundle', '2'])
  const stored = async () =>
    Number((await place.sql.query<{ n: string }>(`SELECT count(*) AS n FROM bundle WHERE state = 'stored'`)).rows[0]?.n)
  for (const [i, ms] of random.shuffle(STEPS_MS).entries()) {
    const enough = ((i + 1) * bundles) / 6
    await until(`${enough} bundles to be stored`, 120, async () => (await stored()) >= enough)
    writeFileSync(file, String(ms))
    context.count('steps of a clock', 1)
  }
  await until('all to be stored', 240, () => isOver(crew, [set]))
  for (const one of crew.running) one.kill('SIGTERM')
  await until('the workers to end', 60, () => crew.running.size === 0)
  const { rows } = await place.sql.query<{ id: string; attempt: number }>('SELECT id, attempt FROM bundle WHERE attempt > 1')
  fail(
    'leases',
    rows.map(({ id, attempt }) => `bundle ${id} was leased ${attempt} times, and no worker ever lost it`),
  )
  await checkTimes(place, since)
  await checkSets(crew, [set])
}

const workers: readonly Case[] = [
  { name: 'clock/workers-postgres', waits: true, run: (context) => withCrew(context, stepWhileWorking) },
  {
    name: 'clock/workers-redis',
    waits: true,
    needs: ['redis'],
    async run(context) {
      const redis = await scratchRedis()
      try {
        await withCrew(context, stepWhileWorking, { queueUrl: redis.url })
      } finally {
        await redis.stop()
      }
    },
  },
]

/** Where a command's clock steps: before and after what it signs, leases, waits for and records. */
const WHILE_ARCHIVING = ['catalog.createSet:after', 'catalog.leaseBundle:after', 'vault.put:after', 'catalog.markStored:before']
const WHILE_RESTORING = ['catalog.createRetrieval:after', 'vault.thaw:after', 'catalog.leaseItem:after', 'place.staged']

async function stepInCommands(context: CaseContext): Promise<void> {
  const place = await openPlace('s3')
  try {
    const { at } = place
    const random = randomFrom(context.seed, 'commands')
    const since = new Date()
    const file = at.path('clock')
    const clock = (step: string, ms: number) => {
      writeFileSync(file, '0')
      return clocked(file, { TORTURE_CLOCK_AT: step, TORTURE_CLOCK_MS: String(ms) })
    }
    const mustHaveStepped = (step: string, ms: number) => {
      if (readFileSync(file, 'utf8') !== String(ms)) throw new Error(`the step ${step} was not reached: was it renamed?`)
      context.count('steps of a clock', 1)
    }
    const [archiving, restoring] = [random.shuffle(WHILE_ARCHIVING), random.shuffle(WHILE_RESTORING)]
    for (const [i, ms] of STEPS_MS.entries()) {
      const tree = plant(place, context, `tree-${i}`, { random })
      const { root, ledger } = tree
      const step = archiving[i] as string
      const ran = await at.run('archive-files', archiveArgs(tree), clock(step, ms))
      checkRan(place, ran, [WITH_FIFO])
      mustHaveStepped(step, ms)
      await checkSummary(place, ran, ledger)
      await checkTree(place, root, ledger)

      // With the right clock again: what is unchanged is known, what changed is the newest.
      appendFileSync(`${root}/z/nothing`, 'something')
      const changed = writeLedger(root)
      const again = await archive(place, tree)
      if (again.summary['files_archived'] !== 1)
        throw new Error(`I2: ${again.summary['files_archived']} files were archived again instead of 1`)

      const to = at.path(`back-${i}`)
      mkdirSync(to)
      place.cloud?.clock.pass(9 * DAY_MS) // what was thawed is cold again
      const back = restoring[i] as string
      checkRan(place, await at.run('find-and-retrieve', restoreArgs(tree, to), clock(back, ms)), [0])
      mustHaveStepped(back, ms)
      checkRestored(root, changed, to)
    }
    await checkTimes(place, since)
    await checkNames(place, await checkVault(place))

    // One that is wrong from the start is refused where times of the queue would go by it.
    writeFileSync(file, String(HOUR_MS))
    const refused = await at.run('archive-files', ['-r', '--json', at.path('tree-0')], clocked(file))
    checkRan(place, refused, [2])
    if (!/clock of this machine is 3600\.\d s ahead/.test(refused.stdout))
      throw new Error(`it does not say why: ${refused.stdout}`)
  } finally {
    await place.close()
  }
}

export const CLOCK: readonly Case[] = [...workers, { name: 'clock/commands', run: stepInCommands }]
