/**
 * The N-th operation on files fails, is done and its answer lost, or fails and so does every later one: in the sources, in the vault, in
 * FIRN_HOME, in the target, one at a time, in the commands as processes and in their threads. Device-mapper would do the same to whole
 * devices, and nothing to a chosen call; and few machines let one have it.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { CommandName, Ran } from '../../firn.js'
import type { Case, CaseContext } from '../case.js'
import { checkRan, checkRestored, checkUntouched, checkVault, fail, removeTree } from '../check-invariants.js'
import { type OpenPlace, openPlace } from '../place.js'
import { archive, archiveArgs, checkArchived, checkComesBack, type Planted, plant, restoreArgs, WITH_FIFO } from '../planted.js'
import { type Random, randomFrom } from '../random.js'
import type { FileFault, FileFaultMode } from './file-faults.js'
import { checkAccounted, checkSentence, endsInTime } from './stopped.js'

const PRELOAD = new URL('./file-faults.js', import.meta.url).href
const MODES: readonly FileFaultMode[] = ['fails', 'answer lost', 'stays broken']

type Area = 'sources' | 'vault' | 'home' | 'target' | 'vault read'

/** How many of each area and mode a run for CI tries. */
const TRIES_IN_CI: Readonly<Record<Area, number>> = { sources: 3, vault: 4, home: 1, target: 4, 'vault read': 2 }

interface Scene {
  readonly context: CaseContext
  readonly place: OpenPlace
  readonly over: { failed: boolean }
  made: number
}

const plantNext = (scene: Scene): Planted => plant(scene.place, scene.context, `tree-${scene.made++}`, { xattrs: true })

/** Runs a command with a fault; says what was struck, or each operation of its area where nothing was to be. */
async function runFaulted(
  { place, context }: Scene,
  name: CommandName,
  args: readonly string[],
  fault: Omit<FileFault, 'log'>,
): Promise<{ ran: Ran; struck: string[] }> {
  const log = place.at.path(`struck-${Math.random()}`)
  const env = { NODE_OPTIONS: `--import=${PRELOAD}`, TORTURE_FILES: JSON.stringify({ ...fault, log } satisfies FileFault) }
  const running = place.at.start(name, args, env)
  const ran = await endsInTime(running)
  const struck = existsSync(log) ? readFileSync(log, 'latin1').trimEnd().split('\n') : []
  rmSync(log, { force: true })
  if (fault.at > 0 && struck.length > 0) context.count('operations on files that failed', 1)
  return { ran, struck }
}

type Try = (fault: Pick<FileFault, 'at' | 'mode' | 'errno'>) => Promise<string[]>

function archiving(scene: Scene, area: Area): Try {
  const { place } = scene
  const vault = join(place.at.home, 'vault')
  return async (how) => {
    const tree = plantNext(scene)
    const below = area === 'sources' ? [tree.root] : area === 'vault' ? [vault] : [join(place.at.home, 'postgres')]
    const { ran, struck } = await runFaulted(scene, 'archive-files', archiveArgs(tree, '-f'), { ...how, below })
    checkRan(place, ran, struck.length > 0 && how.at > 0 ? [WITH_FIFO, 1, 2, 75] : [WITH_FIFO])
    checkSentence(ran)
    await checkVault(place, { underway: true })
    checkUntouched(tree.root, tree.ledger)
    if (ran.summary['set_id'] !== undefined) await checkAccounted(place, tree.root, tree.ledger, ran)
    await checkArchived(place, await archive(place, tree, '-f'), tree, { unread: area === 'sources' })
    return struck
  }
}

function restoring(scene: Scene, area: Area, tree: Planted): Try {
  const { place } = scene
  return async (how) => {
    const to = place.at.path(`back-${scene.made++}`)
    mkdirSync(to)
    const below = area === 'target' ? [to] : [join(place.at.home, 'vault')]
    const { ran, struck } = await runFaulted(scene, 'find-and-retrieve', restoreArgs(tree, to), { ...how, below })
    checkRan(place, ran, struck.length > 0 && how.at > 0 ? [0, 1, 2, 75] : [0])
    checkSentence(ran)
    // Done is done: nothing was passed over in silence.
    if (ran.code === 0) checkRestored(tree.root, tree.ledger, to, { xattrs: true })
    await checkComesBack(place, tree, to, { xattrs: true })
    removeTree(to)
    return struck
  }
}

async function walk(scene: Scene, area: Area, random: Random, one: Try): Promise<void> {
  const { context, over } = scene
  // What an untouched run asks, and how often, says where to strike.
  const all = (await one({ at: 0, mode: 'fails', errno: 'EIO' })).length
  if (all < 2) throw new Error(`the ${area} saw ${all} operations: are they still those that are patched?`)
  for (const mode of MODES) {
    // A retrieval asks a vault that fails for as long as it runs.
    if (area === 'vault read' && mode === 'stays broken') continue
    for (let n = 1; context.profile === 'soak' || n <= TRIES_IN_CI[area]; n++) {
      if (over.failed) return
      const at = context.profile === 'soak' ? n : 1 + random.below(all)
      const errno = random.pick(['EIO', 'EIO', 'ENOSPC', 'EROFS'] as const)
      let struck: string[] = []
      try {
        struck = await one({ at, mode, errno })
      } catch (error) {
        over.failed = true
        const reason = error instanceof Error ? error.message : error
        throw new Error(`${area}, operation ${at} of about ${all}, ${mode}, ${errno}: ${reason}`, { cause: error })
      }
      if (struck.length === 0 && context.profile === 'soak') break
    }
  }
}

async function inScene(context: CaseContext, over: Scene['over'], run: (scene: Scene) => Promise<void>): Promise<void> {
  const place = await openPlace('local')
  try {
    await run({ context, place, over, made: 0 })
  } finally {
    await place.close()
  }
}

async function nthFile(context: CaseContext): Promise<void> {
  const over = { failed: false }
  const lanes: readonly (readonly [Area, ...Area[]])[] = [
    ['sources', 'vault', 'home'],
    ['target', 'vault read'],
  ]
  const outcomes = await Promise.allSettled(
    lanes.map((areas) =>
      inScene(context, over, async (scene) => {
        const tree = plantNext(scene)
        await archive(scene.place, tree, '-f')
        for (const area of areas) {
          const isRestore = area === 'target' || area === 'vault read'
          const one = isRestore ? restoring(scene, area, tree) : archiving(scene, area)
          await walk(scene, area, randomFrom(context.seed, area), one)
        }
      }),
    ),
  )
  fail(
    'operations on files',
    outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [String(outcome.reason?.stack ?? outcome.reason)] : [])),
  )
}

export const NTH_FILE: readonly Case[] = [{ name: 'nth/file-system', run: nthFile }]
