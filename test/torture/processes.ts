/**
 * Processes that stop, die, are replaced, and are given little: workers on one catalog, as many installations run them. A worker that was
 * stopped beyond its lease wakes up as a zombie in a step of its upload: it overwrites nothing and records nothing.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Running } from '../firn.js'
import { makeFiles } from '../tree.js'
import type { Case } from './case.js'
import { checkRan, checkRestored, checkTree, checkVault, fail } from './check-invariants.js'
import { type Crew, checkSets, isOver, type Planned, plan, startWorker, until, withCrew } from './crew.js'
import { writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import { plantTree } from './plant.js'
import { randomFrom } from './random.js'
import { preloaded } from './steps.js'

/** Where a zombie wakes up: every step of its upload, and the transaction that records it. */
const ZOMBIE_STEPS = [
  'catalog.leaseBundle:after',
  'local-vault.begun',
  'upload.write:after',
  'local-vault.synced',
  'upload.seal:after',
  'vault.put:after',
  'upload.complete:before',
  'local-vault.linked',
  'upload.complete:after',
  'catalog.markStored:before',
  'catalog.bundle-marked',
  'catalog.not-committed-yet',
]

const isStopped = ({ pid }: Running): boolean => / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/\(.*\)/s, ''))

const zombies: Case = {
  name: 'process/zombies',
  waits: true,
  run: (context) =>
    withCrew(context, async (crew) => {
      const { place } = crew
      const sets: Planned[] = []
      const sleepers: Running[] = []
      for (const [i, step] of ZOMBIE_STEPS.entries()) {
        const sleeper = startWorker(crew, preloaded({ TORTURE_STOP: step }))
        sleepers.push(sleeper)
        const root = place.at.path(`tree-${i}`)
        plantTree(root, randomFrom(context.seed, step))
        sets.push(await plan(crew, root))
        await until(`a worker to stop in ${step}`, 60, () => isStopped(sleeper))
        context.count('processes stopped beyond their lease', 1)
      }
      startWorker(crew, {}, 2)
      await until('everything to be stored while the first ones sleep', 240, () => isOver(crew, sets))
      const before = await snapshot(place)

      for (const sleeper of sleepers) sleeper.kill('SIGCONT')
      await sleep(4_000)
      for (const one of crew.running) one.kill('SIGTERM')
      await until('the workers to end', 60, () => crew.running.size === 0)
      const after = await snapshot(place)
      fail(
        'a zombie',
        [...before].filter(([key, digest]) => after.get(key) !== digest).map(([key]) => `I4: ${key} was changed or removed`),
      )
      checkRan(place, await place.at.run('archive-files', ['-r', '--json', '--workers', '1', sets[0]!.root]), [0, 3])
      await checkSets(crew, sets)
    }),
}

async function snapshot({ sight }: OpenPlace): Promise<Map<string, string>> {
  const digests = new Map<string, string>()
  for (const key of sight.objects().keys())
    digests.set(
      key,
      createHash('sha256')
        .update(await sight.read(key))
        .digest('hex'),
    )
  return digests
}

const killedFive: Case = {
  name: 'process/killed-five-times',
  run: (context) =>
    withCrew(context, async (crew) => {
      const { place } = crew
      const random = randomFrom(context.seed, 'five')
      const root = place.at.path('grove')
      plantTree(root, random)
      const sets = [await plan(crew, root, ['--files-per-bundle', '5'])]
      const points = [...ZOMBIE_STEPS, 'index.addBundle:before', 'catalog.markIndexed:before']
      for (let times = 0; times < 5; times++) {
        const point = random.pick(points)
        const worker = startWorker(crew, preloaded({ TORTURE_KILL: point }), 2)
        const dead = await Promise.race([worker.ended.then(() => true), untilOver(crew, sets)])
        if (!dead) break // it got through without the step: all is archived
        context.count('workers killed', 1)
        await checkVault(place, { underway: true })
      }
      startWorker(crew, {}, 2)
      await until('the sixth worker to finish', 240, () => isOver(crew, sets))
      for (const one of crew.running) one.kill('SIGTERM')
      await until('the workers to end', 60, () => crew.running.size === 0)
      checkRan(place, await place.at.run('archive-files', ['-r', '--json', '--workers', '1', root]), [0, 3])
      await checkSets(crew, sets)
    }),
}

async function untilOver(crew: Crew, sets: readonly Planned[]): Promise<false> {
  await until('a worker to be killed, or to finish', 240, () => isOver(crew, sets))
  return false
}

const rolling: Case = {
  name: 'process/rolling-deploy',
  run: (context) =>
    withCrew(context, async (crew) => {
      const { place } = crew
      const random = randomFrom(context.seed, 'rolling')
      const root = place.at.path('grove')
      mkdirSync(root)
      makeFiles(root, context.profile === 'soak' ? 2_000 : 200, { bytes: 20_000 })
      const sets = [await plan(crew, root, ['--files-per-bundle', '5'])]
      const rounds = context.profile === 'soak' ? 20 : 4
      const codes: (number | null)[] = []
      let workers = [startWorker(crew), startWorker(crew)]
      for (let round = 0; round < rounds && !(await isOver(crew, sets)); round++) {
        await sleep(1_000 + random.below(1_500))
        const old = workers
        workers = [startWorker(crew), startWorker(crew)]
        for (const one of old) one.kill('SIGTERM')
        for (const { code } of await Promise.all(old.map(({ ended }) => ended))) codes.push(code)
        context.count('workers replaced', old.length)
      }
      await until('the last workers to finish', 240, () => isOver(crew, sets))
      for (const one of workers) one.kill('SIGTERM')
      for (const { code } of await Promise.all(workers.map(({ ended }) => ended))) codes.push(code)
      // One that is told to stop before it listens dies of the signal.
      fail(
        'workers that were told to stop',
        codes.filter((code) => code !== 143 && code !== -1).map((code) => `ended with ${code}`),
      )
      await checkSets(crew, sets)
    }),
}

const ARCHIVE = fileURLToPath(new URL('../../apps/crawler/main.js', import.meta.url))
const FIND = fileURLToPath(new URL('../../apps/finder/main.js', import.meta.url))

/** Little memory, and few files that may be open: slower, never wrong. */
const poor: readonly Case[] = [
  { name: 'process/heap-of-96-MB', shell: 'exec node --max-old-space-size=96 "$@"' },
  { name: 'process/64-open-files', shell: 'ulimit -n 64; exec node "$@"' },
].map(({ name, shell }) => ({
  name,
  async run(context) {
    const place = await openPlace('local')
    try {
      const root = place.at.path('grove')
      mkdirSync(root)
      makeFiles(root, context.profile === 'soak' ? 50_000 : 4_000, { bytes: 500 })
      for (let i = 0; i < 4; i++)
        writeFileSync(
          `${root}/large-${i}`,
          randomFrom(context.seed, `${i}`).bytes(1_000).toString('latin1').repeat(40_000),
          'latin1',
        )
      const ledger = writeLedger(root)
      await shellRun(place, shell, [ARCHIVE, '-r', '--json', '--bundle-size', '60MB', root])
      await checkVault(place)
      await checkTree(place, root, ledger)
      const to = place.at.path('back')
      mkdirSync(to)
      await shellRun(place, shell, [FIND, '--path', root, '--json', '--to', to])
      checkRestored(root, ledger, to)
    } finally {
      await place.close()
    }
  },
}))

async function shellRun({ at }: OpenPlace, shell: string, args: readonly string[]): Promise<void> {
  const child = spawn('sh', ['-c', shell, 'sh', ...args], { env: at.env, cwd: at.directory, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said += text
  })
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`${shell}: ended with ${code}: ${said.slice(-2_000)}`)
}

export const PROCESSES: readonly Case[] = [zombies, killedFive, rolling, ...poor]
