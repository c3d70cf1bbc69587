/**
 * `npm run torture -- [--profile ci|soak] [--seed N] [--only <case>]... [--minutes N] [--list]`: proof by crash, fault and hostile input
 * that no file is lost or misreported. Runs the cases, a few at a time, prints what was counted, and for each failure the command that
 * replays it. After so many minutes no further case is begun; those that were not are named.
 */
import { randomInt } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import setUp from '../global-setup.js'
import tearDown from '../global-teardown.js'
import type { Case, Profile } from './case.js'
import { CLOCK } from './clock.js'
import { DELETION } from './deletion.js'
import { FULL_DISKS } from './disks/full.js'
import { FULL_HOME } from './disks/home-full.js'
import { NTH_FILE } from './disks/nth-file.js'
import { READ_ONLY_DISKS } from './disks/read-only.js'
import { HOSTILE_TARS } from './hostile-tars.js'
import { KILL_POINTS } from './kill-points.js'
import { LOST_DATABASE } from './lost-database.js'
import { MISTAKES } from './mistakes.js'
import { NTH_OPERATION } from './nth-operation.js'
import { closePlaces } from './place.js'
import { PLANTED_OBJECTS } from './planted-objects.js'
import { PROCESSES } from './processes.js'
import { RACES } from './races.js'
import { RANDOM_WALK } from './random-walk.js'
import { SECRETS } from './secrets.js'
import { BYTES } from './servers/bytes.js'
import { POSTGRES } from './servers/postgres.js'
import { REDIS } from './servers/redis.js'
import { S3 } from './servers/s3.js'
import { servicesAreDemanded, startServices } from './services.js'
import { SHARED_TARGET } from './shared-target.js'
import { TAMPERED_ROWS } from './tampered-rows.js'
import { TREES } from './trees.js'

/** One for each processor: what a case waits for, others use. Each has its own directory, database and randomness. */
const AT_A_TIME = availableParallelism()

/** Of those that wait more than they work; each has a database and some processes in memory. */
const WAITING_AT_A_TIME = 3 * AT_A_TIME

/** In the order in which they begin. */
const CASES: readonly Case[] = [
  ...KILL_POINTS,
  ...NTH_OPERATION,
  ...PROCESSES,
  ...RANDOM_WALK,
  ...HOSTILE_TARS,
  ...TAMPERED_ROWS,
  ...RACES,
  ...PLANTED_OBJECTS,
  ...MISTAKES,
  ...SHARED_TARGET,
  ...LOST_DATABASE,
  ...DELETION,
  ...TREES,
  ...SECRETS,
  ...REDIS,
  ...POSTGRES,
  ...S3,
  ...BYTES,
  ...CLOCK,
  ...FULL_DISKS,
  ...FULL_HOME,
  ...READ_ONLY_DISKS,
  ...NTH_FILE,
]

const { values } = parseArgs({
  options: {
    profile: { type: 'string', default: 'ci' },
    seed: { type: 'string' },
    only: { type: 'string', multiple: true },
    list: { type: 'boolean', default: false },
    minutes: { type: 'string' },
  },
})
const profile = values.profile as Profile
if (profile !== 'ci' && profile !== 'soak') usage(`--profile takes ci or soak, not ${JSON.stringify(values.profile)}`)
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
if (!Number.isSafeInteger(seed) || seed < 0) usage(`--seed takes a whole number, not ${JSON.stringify(values.seed)}`)
const minutes = values.minutes === undefined ? Number.POSITIVE_INFINITY : Number(values.minutes)
if (Number.isNaN(minutes)) usage(`--minutes takes a number, not ${JSON.stringify(values.minutes)}`)
const wanted = values.only
const chosen = CASES.filter(({ name, soakOnly }) =>
  wanted ? wanted.some((start) => name.startsWith(start)) : profile === 'soak' || !soakOnly,
)
if (wanted && chosen.length === 0) usage(`no case begins with ${wanted.join(' or ')}; --list names them`)
if (values.list) {
  for (const { name, soakOnly } of CASES) console.log(soakOnly ? `${name} (soak only)` : name)
  process.exit(0)
}

const counted = new Map<string, number>()
const outcome = { passed: 0, failed: 0, skipped: 0 }
const late: string[] = []
const began = performance.now()
console.log(`torture: profile ${profile}, seed ${seed}, ${chosen.length} cases`)
const services = await startServices(new Set(chosen.flatMap(({ needs = [] }) => needs)))
await setUp()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  let over = false
  // More than once: whoever ends a group of processes may tell each twice.
  process.on(signal, async () => {
    if (over) return
    over = true
    await closePlaces()
    await tearDown()
    await services.stop()
    console.log(`seed ${seed}, cut off after ${seconds(began)}`)
    process.exit(1)
  })
}
try {
  const lanes = (cases: Case[], number: number) =>
    Array.from({ length: number }, async () => {
      for (let one = cases.shift(); one !== undefined; one = cases.shift()) await runCase(one)
    })
  const [waiting, working] = [chosen.filter(({ waits }) => waits), chosen.filter(({ waits }) => !waits)]
  await Promise.all([...lanes(waiting, WAITING_AT_A_TIME), ...lanes(working, AT_A_TIME)])
} finally {
  await tearDown()
  await services.stop()
}
for (const [what, n] of counted) console.log(`${what}: ${n}`)
console.log(`seed ${seed}, ${seconds(began)}`)
if (late.length > 0) console.log(`not run, for the ${minutes} minutes were over: ${late.join(', ')}`)
if (outcome.skipped > 0) console.log(`${outcome.skipped} skipped`)
console.log(`${outcome.passed} passed, ${outcome.failed} failed`)
process.exit(outcome.failed > 0 ? 1 : 0)

async function runCase({ name, run, needs }: Case): Promise<void> {
  if (performance.now() - began > minutes * 60_000) {
    late.push(name)
    return
  }
  const lacking = services.lacks(needs)
  if (lacking !== undefined) {
    if (servicesAreDemanded()) outcome.failed++
    else outcome.skipped++
    console.log(`${servicesAreDemanded() ? 'FAILED ' : 'skipped'} ${name}: ${lacking}`)
    return
  }
  const start = performance.now()
  // Not below TMPDIR, which may be closed to the user that Postgres runs as when all this runs as root; short, for its socket.
  const directory = mkdtempSync('/tmp/firn-t-')
  chmodSync(directory, 0o711)
  const stray: unknown[] = []
  const onStray = (error: unknown) => stray.push(error)
  process.on('unhandledRejection', onStray)
  try {
    const count = (what: string, n: number) => counted.set(what, (counted.get(what) ?? 0) + n)
    await run({ seed, profile, directory, count, note: (text) => console.log(`        ${name}: ${text}`) })
    if (stray.length > 0) throw stray[0]
    outcome.passed++
    console.log(`ok      ${name} (${seconds(start)})`)
    rmSync(directory, { recursive: true, force: true })
  } catch (error) {
    outcome.failed++
    console.log(`FAILED  ${name} (${seconds(start)})`)
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error))
    console.log(`        its directory is kept: ${directory}`)
    console.log(`        again: npm run torture -- --profile ${profile} --seed ${seed} --only ${name}`)
  } finally {
    process.off('unhandledRejection', onStray)
  }
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`
}

function usage(text: string): never {
  console.error(`torture: ${text}`)
  process.exit(2)
}
