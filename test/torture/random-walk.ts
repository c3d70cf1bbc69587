/**
 * A random walk: trees grow, change and shrink; they are archived, the command is killed now and then in some step, retrieved, checked;
 * the index is made again, sources are removed after archiving. All of it follows from the seed, for so many minutes. The ledger of what
 * every path was when it was archived last is held against the catalog and against what comes back.
 */
import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Case, CaseContext } from './case.js'
import { checkNames, checkRan, checkRestored, checkTree, checkVault } from './check-invariants.js'
import { type Ledger, withoutDirectoryTimes, writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import { plantTree } from './plant.js'
import { archiveArgs } from './planted.js'
import { type Random, randomFrom } from './random.js'
import { runKilled, walkSteps } from './steps.js'

interface Tree {
  readonly root: string
  /** Undefined: it was not archived since it changed. */
  archived?: Ledger
}

interface Walker {
  readonly context: CaseContext
  readonly place: OpenPlace
  readonly random: Random
  readonly trees: Tree[]
  readonly points: { archive: string[]; find: string[] }
  targets: number
}

type Move = (walker: Walker) => Promise<void>

/** Half of the commands are killed once or twice before they may end. */
async function run(
  walker: Walker,
  name: 'archive-files' | 'find-and-retrieve',
  args: readonly string[],
  codes: readonly number[],
) {
  const { random, place, context } = walker
  const points = name === 'archive-files' ? walker.points.archive : walker.points.find
  for (let kills = random.below(3); kills > 0; kills--) {
    const { killed, ran } = await runKilled(place.at, name, args, random.pick(points), 1 + random.below(3))
    if (!killed) {
      checkRan(place, ran, codes)
      return ran
    }
    context.count('commands killed on the random walk', 1)
    await checkVault(place, { underway: true })
  }
  const ran = await place.at.run(name, args)
  checkRan(place, ran, codes)
  return ran
}

const plant: Move = async ({ place, trees, random }) => {
  if (trees.length >= 6) return
  const root = place.at.path(`wood-${trees.length}`)
  plantTree(root, random)
  trees.push({ root })
}

const change: Move = async ({ trees, random, targets }) => {
  const tree = random.pick(trees)
  delete tree.archived
  const { root } = tree
  const files = [...writeLedger(root)].filter(([path, { type }]) => type === 'file' && /^[\x20-\x7e]*$/.test(path))
  const kind = random.below(4)
  const [path] = files.length > 0 ? random.pick(files) : [undefined]
  if (kind === 0 || path === undefined) {
    mkdirSync(`${root}/new-${targets}`, { recursive: true })
    for (let i = 0; i < 5; i++) writeFileSync(`${root}/new-${targets}/${i}`, random.bytes(random.below(2_000)))
  } else if (kind === 1) appendFileSync(`${root}/${path}`, random.bytes(100))
  else if (kind === 2) rmSync(`${root}/${path}`)
  else renameSync(`${root}/${path}`, `${root}/renamed-${targets}-${random.below(1_000)}`)
}

const archive: Move = async (walker) => {
  const tree = walker.random.pick(walker.trees)
  await run(walker, 'archive-files', archiveArgs(tree), [0, 3])
  tree.archived = withoutDirectoryTimes(writeLedger(tree.root))
  await checkVault(walker.place)
}

const retrieve: Move = async (walker) => {
  const tree = walker.random.pick(walker.trees)
  if (tree.archived === undefined) return
  const to = walker.place.at.path(`walk-${walker.targets}`)
  mkdirSync(to)
  // The newest version of each path, so only what was archived in this state is there to be compared; what was deleted comes back too.
  const ran = await run(walker, 'find-and-retrieve', ['--path', tree.root, '--json', '--to', to], [0])
  checkRan(walker.place, ran, [0])
  checkRestored(tree.root, tree.archived, to, { more: true })
  rmSync(to, { recursive: true, force: true })
}

const check: Move = async ({ place, random }) => {
  await checkNames(place, await checkVault(place, { underway: true }), random.percent(50) ? ['--read-data'] : [])
}

const reindex: Move = async ({ place }) => checkRan(place, await place.at.run('firn', ['reindex']), [0])
const doctor: Move = async ({ place }) => checkRan(place, await place.at.run('firn', ['status', '--json']), [0])

const remove: Move = async (walker) => {
  const { place, random } = walker
  const root = place.at.path(`felled-${walker.targets}`)
  plantTree(root, random)
  const ledger = writeLedger(root)
  await run(walker, 'archive-files', archiveArgs({ root }, '--delete-after-archive', '--yes'), [0, 3])
  const files = new Map([...ledger].filter(([, { type }]) => type !== 'directory' && type !== 'other'))
  await checkTree(place, root, files, { more: true })
}

const MOVES: readonly (readonly [weight: number, name: string, move: Move])[] = [
  [2, 'plant', plant],
  [5, 'change', change],
  [6, 'archive', archive],
  [4, 'retrieve', retrieve],
  [2, 'check', check],
  [1, 'reindex', reindex],
  [1, 'status', doctor],
  [2, 'remove', remove],
]

/** Seconds. */
const LENGTH = { ci: 240, soak: 1_800 }

export const RANDOM_WALK: readonly Case[] = [
  {
    name: 'walk/random',
    // By the clock, whatever else runs.
    waits: true,
    async run(context) {
      const place = await openPlace('local')
      const random = randomFrom(context.seed, 'walk')
      const walker: Walker = { context, place, random, trees: [], points: { archive: [], find: [] }, targets: 0 }
      const told: string[] = []
      try {
        await plant(walker)
        const first = walker.trees[0] as Tree
        walker.points.archive = [...(await walkSteps(place.at, 'archive-files', archiveArgs(first))).points.keys()]
        first.archived = withoutDirectoryTimes(writeLedger(first.root))
        const to = place.at.path('first')
        mkdirSync(to)
        const args = ['--path', first.root, '--json', '--to', to]
        walker.points.find = [...(await walkSteps(place.at, 'find-and-retrieve', args)).points.keys()]
        const urn = MOVES.flatMap(([weight, name, move]) => Array.from({ length: weight }, () => ({ name, move })))
        const end = Date.now() + LENGTH[context.profile] * 1_000
        for (; Date.now() < end; walker.targets++) {
          const { name, move } = random.pick(urn)
          told.push(name)
          await move(walker)
          context.count('steps of the random walk', 1)
        }
        for (const tree of walker.trees) {
          checkRan(place, await place.at.run('archive-files', archiveArgs(tree)), [0, 3])
          await checkTree(place, tree.root, withoutDirectoryTimes(writeLedger(tree.root)), { more: true })
        }
        await checkNames(place, await checkVault(place), ['--read-data'])
      } catch (error) {
        throw new Error(`after ${told.join(', ')}: ${error instanceof Error ? error.message : error}`, { cause: error })
      } finally {
        await place.close()
      }
    },
  },
]
