/**
 * `npm run bench -- [--trees S,L] [--jobs archive,again,crawl,restore,one,start] [--rounds 5] [--only tar,firn] [--dir DIR]` (or
 * `--growth <file.svg>`, `--search <files>`, `--rows <files>`, `--queue <jobs>`, `--remote`, `--one-file`): Firn against what a person would type instead. Whole
 * processes, page cache warm, the contenders taking turns in one run; the table shows medians, and ratios to the first contender of
 * each job.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { benchCatalog } from './catalog.js'
import { benchGrowth } from './growth.js'
import { type Contender, JOBS, type Job, type Place } from './jobs.js'
import { cell, type Measured, measure, median } from './measure.js'
import { benchOneFile } from './one-file.js'
import { benchQueue } from './queue.js'
import { benchRemote } from './remote.js'
import { benchSearch } from './search.js'
import { type Tree, treeIn, treeNamed } from './trees.js'

const { values } = parseArgs({
  options: {
    trees: { type: 'string', default: 'S,L' },
    jobs: { type: 'string', default: 'archive' },
    rounds: { type: 'string', default: '5' },
    dir: { type: 'string', default: join(tmpdir(), 'firn-bench') },
    only: { type: 'string', default: '' },
    growth: { type: 'string' },
    search: { type: 'string' },
    rows: { type: 'string' },
    queue: { type: 'string' },
    remote: { type: 'boolean', default: false },
    'one-file': { type: 'boolean', default: false },
  },
})
const root = values.dir
const rounds = Number(values.rounds)
if (values.search !== undefined) {
  await benchSearch(Number(values.search), values.only)
  process.exit()
}
if (values.rows !== undefined) {
  await benchCatalog(Number(values.rows))
  process.exit()
}
if (values.queue !== undefined) {
  await benchQueue(Number(values.queue))
  process.exit()
}
if (values['one-file']) {
  await benchOneFile(treeIn(root, treeNamed('B')))
  process.exit()
}
if (values.remote) {
  await benchRemote(root, rounds)
  process.exit()
}
const settings = (home: string, out: string): NodeJS.ProcessEnv => ({
  FIRN_HOME: home,
  FIRN_VAULT_URL: `local:${join(out, 'vault')}`,
  XDG_CONFIG_HOME: join(root, 'no-config'),
  BORG_BASE_DIR: join(root, 'borg-base'),
})
const isThere = ({ tool }: Contender) => tool === undefined || spawnSync(tool, ['--version']).error === undefined
const isWanted = ({ name }: Contender) => values.only.split(',').some((part) => name.includes(part))

mkdirSync(root, { recursive: true })
const placeOf = (tree: Tree): Place => ({ tree, directory: treeIn(root, tree), out: join(root, 'out'), home: join(root, 'home') })
if (values.growth !== undefined) {
  await benchGrowth(values.growth, { placeOf, contenders: (place) => jobNamed('archive').contenders(place), takeTurns })
  rmSync(join(root, 'out'), { recursive: true, force: true })
  process.exit()
}
for (const tree of values.trees.split(',').map(treeNamed)) {
  const place = placeOf(tree)
  await measure(`tar cf - ${place.directory} | cat >/dev/null`) // warms the page cache
  for (const job of values.jobs.split(',').map(jobNamed)) await compare(job, place)
  rmSync(place.out, { recursive: true, force: true })
}

async function compare(job: Job, place: Place): Promise<void> {
  if (job.before) await measure(job.before(place), settings(place.home, place.out))
  print(`${place.tree.name}: ${place.tree.what}, ${job.what}`, place.tree.files, await takeTurns(place, job.contenders(place)))
}

/** Those that are wanted and there, one after the other in each round. */
async function takeTurns(place: Place, all: readonly Contender[]): Promise<Map<string, Measured[]>> {
  const env = settings(place.home, place.out)
  const results = new Map<string, Measured[]>()
  const contenders = all.filter((one) => isWanted(one) && isThere(one))
  for (let round = 0; round < rounds; round++) {
    for (const { name, command, before } of contenders) {
      if (before) await measure(before, env)
      results.set(name, [...(results.get(name) ?? []), await measure(command, env)])
      process.stderr.write('.')
    }
  }
  process.stderr.write('\n')
  return results
}

function jobNamed(name: string): Job {
  const job = JOBS.find((one) => one.name === name)
  if (!job) throw new Error(`there is no job ${name}: ${JOBS.map((one) => one.name).join(', ')}`)
  return job
}

function print(title: string, files: number, results: ReadonlyMap<string, readonly Measured[]>): void {
  console.log(
    `\n### ${title}\n\n| | seconds | ratio | files/s | largest process MB | all MB | CPU s |\n|---|---|---|---|---|---|---|`,
  )
  let base: number | undefined
  for (const [name, runs] of results) {
    const seconds = median(runs.map((run) => run.seconds))
    base ??= seconds
    const largest = median(runs.map((run) => run.largestBytes)) / 1e6
    const peak = median(runs.map((run) => run.peakBytes)) / 1e6
    const cpu = median(runs.map((run) => run.cpuSeconds))
    const row = [
      cell(name),
      seconds.toFixed(2),
      (seconds / base).toFixed(2),
      Math.round(files / seconds),
      largest.toFixed(0),
      peak.toFixed(0),
      cpu.toFixed(1),
    ]
    console.log(`| ${row.join(' | ')} |`)
  }
}
