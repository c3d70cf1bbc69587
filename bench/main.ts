/**
 * `npm run bench -- [--trees S,L] [--rounds 5] [--only firn] [--dir DIR]` (or `--search <files>`, `--remote`, `--one-file`): Firn against what a person would type instead. Whole processes, page cache
 * warm, the contenders taking turns in one run; the table shows medians, and ratios to the first contender of each job.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Measured, measure, median } from './measure.js'
import { benchOneFile } from './one-file.js'
import { benchRemote } from './remote.js'
import { benchSearch } from './search.js'
import { treeIn, treeNamed } from './trees.js'

const { values } = parseArgs({
  options: {
    trees: { type: 'string', default: 'S,L' },
    rounds: { type: 'string', default: '5' },
    dir: { type: 'string', default: join(tmpdir(), 'firn-bench') },
    only: { type: 'string', default: '' },
    search: { type: 'string' },
    remote: { type: 'boolean', default: false },
    'one-file': { type: 'boolean', default: false },
  },
})
const root = values.dir
const rounds = Number(values.rounds)
if (values.search !== undefined) {
  await benchSearch(Number(values.search))
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
const out = join(root, 'out')
const home = join(root, 'home')
const project = new URL('../..', import.meta.url).pathname
const firn = { FIRN_HOME: home, FIRN_VAULT_URL: `local:${join(out, 'vault')}`, XDG_CONFIG_HOME: join(root, 'no-config') }

interface Contender {
  readonly name: string
  readonly command: string
  readonly env?: NodeJS.ProcessEnv
  /** The tool that must be there. */
  readonly tool?: string
}

const archive = `node ${project}dist/apps/crawler/main.js -r`

function contenders(tree: string, directory: string): Contender[] {
  const peers: Contender[] = [
    {
      name: 'restic backup, new repository',
      tool: 'restic',
      command: `restic -q init -r ${out}/restic && restic -q backup -r ${out}/restic ${directory}`,
      env: { RESTIC_PASSWORD: 'bench' },
    },
    {
      name: 'borg create, no compression, no encryption',
      tool: 'borg',
      command: `borg init -e none ${out}/borg && borg create -C none ${out}/borg::a ${directory}`,
      env: { BORG_BASE_DIR: join(root, 'borg-base') },
    },
    { name: 'rclone copy', tool: 'rclone', command: `rclone -q copy ${directory} ${out}/rclone` },
  ]
  const baseline: Contender =
    tree === 'L' || tree === 'M'
      ? {
          name: 'tar cf out.tar; sha256sum out.tar',
          command: `tar cf ${out}/out.tar -C / ${directory.slice(1)} && sha256sum ${out}/out.tar`,
        }
      : { name: 'tar cf - | sha256sum', command: `tar cf - -C / ${directory.slice(1)} | sha256sum` }
  const own: Contender = { name: 'firn archive-files', command: `${archive} ${directory}`, env: firn }
  const isThere = ({ tool }: Contender) => tool === undefined || spawnSync(tool, ['--version']).error === undefined
  const isWanted = ({ name }: Contender) => name.includes(values.only)
  return [baseline, own, ...peers].filter((one) => isWanted(one) && isThere(one))
}

mkdirSync(root, { recursive: true })
for (const tree of values.trees.split(',').map(treeNamed)) {
  const directory = treeIn(root, tree)
  const results = new Map<string, Measured[]>()
  await measure(`tar cf - ${directory} | cat >/dev/null`) // warms the page cache
  for (let round = 0; round < rounds; round++) {
    for (const { name, command, env } of contenders(tree.name, directory)) {
      rmSync(out, { recursive: true, force: true })
      mkdirSync(out, { recursive: true })
      if (name.startsWith('firn')) await prepareHome()
      results.set(name, [...(results.get(name) ?? []), await measure(command, env)])
      process.stderr.write('.')
    }
  }
  process.stderr.write('\n')
  print(`${tree.name}: ${tree.what}`, tree.files, results)
}
rmSync(out, { recursive: true, force: true })

/** An existing FIRN_HOME: the database was made by an earlier run, and knows nothing of this tree. */
async function prepareHome(): Promise<void> {
  rmSync(home, { recursive: true, force: true })
  await measure(`mkdir -p ${out}/one && touch ${out}/one/file && ${archive} ${out}/one`, firn)
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
      name,
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
