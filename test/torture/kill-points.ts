/**
 * Kill points: every step at which a command changes the catalog, the queue, the vault, the index or the file system (libs/os/steps.ts).
 * A first run writes down which it reaches; then the command is killed with SIGKILL in each of them, on a tree or a target of its own,
 * and the same command again has to finish the work with nobody's help. Afterwards everything is looked at from outside.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { DAY_MS, HOUR_MS } from '../cloud/clock.js'
import type { CommandName } from '../firn.js'
import type { Case, CaseContext } from './case.js'
import { checkNames, checkRan, checkRestored, checkSearch, checkTree, checkVault, fail } from './check-invariants.js'
import { type Ledger, withoutDirectoryTimes, writeLedger } from './ledger.js'
import { type OpenPlace, openPlace, type VaultKind } from './place.js'
import { wordOf } from './plant.js'
import { archiveArgs, checkAllComeBack, checkArchived, type Planted, plant, restoreArgs, WITH_FIFO } from './planted.js'
import { randomFrom } from './random.js'
import { runKilled, walkSteps } from './steps.js'

/** Every tree's description has it. */
const COMMON_WORD = 'blizzard'

/** Steps that must be among those that are walked, whatever else there is: so that none of them goes without anybody noticing. */
const OF_ARCHIVING = [
  ...both(
    'catalog.createSet catalog.restartCrawl catalog.markRoots catalog.planBundle catalog.recordProblems catalog.countCrawled',
  ),
  ...both('catalog.markCrawled catalog.leaseBundle catalog.markStored catalog.markIndexed catalog.finishSet catalog.releaseSet'),
  ...both('catalog.markRecorded'),
  ...both('queue.add queue.addMany job.store-bundle job.index-bundle index.putSet index.addBundle'),
  ...both('vault.prepare vault.put vault.upload vault.sweep upload.write upload.seal upload.complete'),
  ...['catalog.bundle-marked', 'catalog.rows-written', 'catalog.not-committed-yet'],
]
const OF_VAULTS: Readonly<Record<VaultKind, readonly string[]>> = {
  local: [...'begun synced linked named directory-made'.split(' ').map((name) => `local-vault.${name}`)],
  s3: both('vault.verify'),
  glacier: [...'upload-begun part-sent archived'.split(' ').map((name) => `glacier-vault.${name}`), ...both('vault.verify')],
}
const OF_RESTORING = [
  ...both('catalog.createRetrieval catalog.setLayout catalog.agreeTo catalog.changeItems catalog.leaseItem catalog.markItem'),
  ...both('catalog.finishRetrieval'),
  ...'journalled directory-made written staged linked named symlinked directory-timed directory-dressed journal-shortened'
    .split(' ')
    .map((name) => `place.${name}`),
]

function both(names: string): string[] {
  return names.split(' ').flatMap((name) => [`${name}:before`, `${name}:after`])
}

interface Described extends Planted {
  /** Of its own, in its description. */
  readonly word: string
  ledger: Ledger
}

interface Walk {
  readonly context: CaseContext
  readonly place: OpenPlace
  readonly kind: VaultKind
  /** Which of the points are this walk's. */
  readonly share: (index: number) => boolean
  readonly trees: Described[]
  /** One failure ends the walks of all lanes. */
  readonly over: { failed: boolean }
}

/** Its description has the word of all and its own. */
const describedArgs = (tree: Described, ...more: readonly string[]): string[] =>
  archiveArgs(tree, '-f', '-s', `${COMMON_WORD} ${tree.word}`, ...more)

function plantNext({ place, context, trees }: Walk): Described {
  const name = `tree-${trees.length}`
  // Its last eight characters, as ever: old seeds replay.
  const random = randomFrom(context.seed, `/${name}`.slice(-8))
  const tree = { ...plant(place, context, name, { random, xattrs: true }), word: wordOf(trees.length) }
  trees.push(tree)
  return tree
}

/** Kills a command in each of its points, once in the n-th time that it comes there, `n` by chance. */
async function walkPoints(
  walk: Walk,
  points: ReadonlyMap<string, number>,
  one: (point: string, time: number) => Promise<boolean>,
): Promise<void> {
  const { context, place, share } = walk
  const random = randomFrom(context.seed, `times ${place.vaultId.length}`)
  for (const [index, [point, times]] of [...points].entries()) {
    const time = 1 + random.below(times)
    if (!share(index)) continue
    if (walk.over.failed) return
    try {
      // How often a step comes depends on who was faster: the first time always comes.
      const reached = (await one(point, time)) || (await one(point, 1))
      if (!reached) throw new Error('the command ended without reaching it')
    } catch (error) {
      walk.over.failed = true
      throw new Error(`killed in ${point}, time ${time} of ${times}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      })
    }
    context.count('kill points walked', 1)
  }
}

async function killAndFinish(
  { place, context }: Walk,
  name: CommandName,
  args: readonly string[],
  point: string,
  time: number,
  codes: readonly number[],
) {
  const { ran, killed } = await runKilled(place.at, name, args, point, time)
  if (!killed) {
    checkRan(place, ran, codes)
    return { ran, killed }
  }
  checkRan(place, ran, [-1])
  // At no moment may anything be called stored that is not.
  await checkVault(place, { underway: true })
  const again = await place.at.run(name, args)
  checkRan(place, again, codes)
  context.count('restarts that finished the work', 1)
  return { ran: again, killed }
}

async function walkArchiving(walk: Walk): Promise<void> {
  const { place, kind } = walk
  const first = plantNext(walk)
  const { ran, points } = await walkSteps(place.at, 'archive-files', describedArgs(first))
  checkRan(place, ran, [WITH_FIFO])
  mustHave('archive-files', points, [...OF_ARCHIVING, ...OF_VAULTS[kind]])
  await walkPoints(walk, points, async (point, time) => {
    const tree = plantNext(walk)
    const { ran, killed } = await killAndFinish(walk, 'archive-files', describedArgs(tree), point, time, [WITH_FIFO])
    await checkArchived(place, ran, tree)
    return killed
  })
}

async function walkRestoring(walk: Walk): Promise<void> {
  const { place } = walk
  const [tree] = walk.trees as [Described]
  let targets = 0
  const target = () => {
    const to = place.at.path(`back-${targets++}`)
    mkdirSync(to)
    return to
  }
  const to = target()
  const { ran, points } = await walkSteps(place.at, 'find-and-retrieve', restoreArgs(tree, to))
  checkRan(place, ran, [0])
  checkRestored(tree.root, tree.ledger, to, { xattrs: true })
  mustHave('find-and-retrieve', points, OF_RESTORING)
  await walkPoints(walk, points, async (point, time) => {
    const to = target()
    place.cloud?.clock.pass(9 * DAY_MS) // what was thawed is cold again
    const { killed } = await killAndFinish(walk, 'find-and-retrieve', restoreArgs(tree, to), point, time, [0])
    checkRestored(tree.root, tree.ledger, to)
    return killed
  })
}

/** Sources that are removed while the process dies: what is gone is in the vault. */
async function walkRemoving(walk: Walk): Promise<void> {
  const { place, context } = walk
  const points = new Map([
    ['remove:before', 20],
    ['remove:after', 20],
  ])
  await walkPoints(walk, points, async (point, time) => {
    const tree = plantNext(walk)
    tree.ledger = withoutDirectoryTimes(tree.ledger)
    const args = describedArgs(tree, '--delete-after-archive', '--yes')
    const { killed } = await killAndFinish(walk, 'archive-files', args, point, time, [WITH_FIFO])
    const left = [...writeLedger(tree.root)].filter(([, { type }]) => type === 'file' || type === 'symlink')
    fail('--delete-after-archive', [
      ...left.map(([path]) => `${JSON.stringify(path)} is still there, though everything was archived and nothing changed`),
    ])
    await checkVault(place)
    await checkTree(place, tree.root, tree.ledger)
    context.count('trees removed after archiving', 1)
    return killed
  })
}

/** All trees together: found by one word, by their own, restored by one command, and named by check. */
async function checkEverything({ place, trees, context }: Walk): Promise<void> {
  const whole = new Map(
    trees.flatMap(({ root, ledger }) => [...ledger].map(([path, truth]) => [`${root.slice(1)}/${path}`, truth] as const)),
  )
  await checkSearch(place, '', whole, COMMON_WORD)
  const one = randomFrom(context.seed, 'search').pick(trees)
  await checkSearch(place, one.root, one.ledger, one.word)
  await checkAllComeBack(place, trees)
  const unknown = await checkVault(place)
  context.count('objects that a dead attempt left, each named by check', unknown.length)
  await checkNames(place, unknown, ['--read-data'])
  if (place.strayArchives) await checkStrays(place, context)
}

/** Archives whose pointer was never written: the inventory of a day later gives them back, and check names them. */
async function checkStrays(place: OpenPlace, context: CaseContext): Promise<void> {
  const { cloud, strayArchives } = place
  if (cloud === undefined || strayArchives === undefined) return
  const before = strayArchives().length
  if (before === 0) return
  cloud.clock.pass(49 * HOUR_MS)
  await checkNames(place, []) // asks for the inventory
  cloud.clock.pass(HOUR_MS)
  await checkNames(place, []) // reads it, and writes the pointers that are lacking
  fail(
    'I4: archives that nobody knows',
    strayArchives().map((description) => `${description} has no pointer after two checks`),
  )
  await checkNames(place, await checkVault(place))
  context.count('archives found again by the inventory', before)
}

function mustHave(command: string, points: ReadonlyMap<string, number>, names: readonly string[]): void {
  fail(
    `the steps of ${command}`,
    names.filter((name) => !points.has(name)).map((name) => `${name} was not reached: was it renamed?`),
  )
}

interface Pair {
  readonly kind: VaultKind
  readonly queue: 'postgres' | 'redis'
}

/** Two installations on one server need two prefixes. */
function redisOfOnesOwn(): string {
  const prefix = `{torture_${randomBytes(6).toString('hex')}}`
  return `${process.env['FIRN_TEST_REDIS_URL']}?prefix=${encodeURIComponent(prefix)}`
}

function pairCase({ kind, queue }: Pair): Case {
  const whole = kind === 'local' && queue === 'postgres'
  return {
    // Whoever restarts waits for the dead one's lock in Redis to pass.
    waits: queue === 'redis',
    name: `kill/${queue}-${kind}`,
    ...(queue === 'redis' && { needs: ['redis' as const] }),
    async run(context) {
      // Two homes at a time: a command waits more than it works.
      const lanes = 2
      const parts = whole || context.profile === 'soak' ? 1 : 4
      const chosen = randomFrom(context.seed, `${queue}-${kind}`).below(parts)
      const over = { failed: false }
      const outcomes = await Promise.allSettled(
        Array.from({ length: lanes }, async (_, lane) => {
          const place = await openPlace(kind, queue === 'redis' ? { queueUrl: redisOfOnesOwn() } : {})
          const share = (index: number) => index % parts === chosen && Math.floor(index / parts) % lanes === lane
          const walk: Walk = { context, place, kind, share, trees: [], over }
          try {
            await walkArchiving(walk)
            await walkRestoring(walk)
            if (whole) await walkRemoving(walk)
            if (!over.failed) await checkEverything(walk)
          } finally {
            await place.close()
          }
        }),
      )
      const failures = outcomes.filter((outcome) => outcome.status === 'rejected')
      if (failures.length > 0) throw failures[0]?.reason
    },
  }
}

export const KILL_POINTS: readonly Case[] = (['postgres', 'redis'] as const).flatMap((queue) =>
  (['local', 's3', 'glacier'] as const).map((kind) => pairCase({ kind, queue })),
)
