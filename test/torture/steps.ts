/** Commands with the preload that notes the steps they reach, or kills them in one. */
import { readFileSync, rmSync } from 'node:fs'
import type { CommandName, Home, Ran } from '../firn.js'

const PRELOAD = new URL('./kill-preload.js', import.meta.url).href

/** What only looks, or whose end is nobody's concern: a crash there is a crash before the next write. */
const LOOKS = new Set(
  [
    'catalog.set catalog.bundle catalog.pendingBundles catalog.openHeld catalog.openLinkStore catalog.interruptedSets',
    'catalog.strandedBundles catalog.unindexedBundles catalog.knownBundles catalog.hasLiveLease catalog.indexableFiles catalog.close',
    'catalog.retrieval catalog.items catalog.itemRows catalog.openRetrieval catalog.directories catalog.knownVault catalog.isOnDuty',
    'catalog.select catalog.selectHits catalog.locate catalog.locateHits catalog.neededBundles catalog.workers catalog.sets catalog.entriesOf catalog.problems',
    'catalog.filesByOffset catalog.attemptSecret catalog.audits catalog.crawlsBefore catalog.awaitedBundles upload.checksum queue.lane',
    'catalog.bundlesOf catalog.goneNames catalog.wouldBeGone catalog.earlierMarks catalog.unrecordedSets catalog.asides',
    'vault.stat vault.list vault.quote vault.thawStates vault.close queue.close queue.work index.close index.search',
  ].flatMap((line) => line.split(' ')),
)

/** What comes by the clock, every 15 s, and not in each run. */
const RENEWALS = new Set(['catalog.leaseSet', 'catalog.renewBundle'])

const isPoint = (name: string): boolean => {
  const [operation] = name.split(':') as [string]
  return !name.endsWith(':failed') && !LOOKS.has(operation) && !RENEWALS.has(operation)
}

export const preloaded = (more: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({ NODE_OPTIONS: `--import=${PRELOAD}`, ...more })

/** Runs a command, and says which points it reached, and how often each. */
export async function walkSteps(
  at: Home,
  name: CommandName,
  args: readonly string[],
): Promise<{ ran: Ran; points: Map<string, number> }> {
  const log = at.path('steps')
  rmSync(log, { force: true })
  const ran = await at.run(name, args, preloaded({ TORTURE_STEPS: log }))
  const points = new Map<string, number>()
  for (const point of readFileSync(log, 'utf8').split('\n')) {
    if (point !== '' && isPoint(point)) points.set(point, (points.get(point) ?? 0) + 1)
  }
  return { ran, points }
}

/** Runs a command that kills itself in the n-th of a point. */
export async function runKilled(
  at: Home,
  name: CommandName,
  args: readonly string[],
  point: string,
  time: number,
): Promise<{ ran: Ran; killed: boolean }> {
  const ran = await at.run(name, args, preloaded({ TORTURE_KILL: `${point}#${time}` }))
  return { ran, killed: ran.code === -1 }
}
