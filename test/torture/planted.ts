/** Planted trees with their ledgers: how commands are told to archive and to restore them, and what must hold when a command has done so. */
import { mkdirSync } from 'node:fs'
import type { Ran } from '../firn.js'
import type { CaseContext } from './case.js'
import { checkRan, checkRestored, checkSummary, checkTree, checkUntouched, checkVault, type Place } from './check-invariants.js'
import { type Ledger, writeLedger } from './ledger.js'
import { plantTree } from './plant.js'
import { type Random, randomFrom } from './random.js'

/** A tree that a case made, and what is true of it. */
export interface Planted {
  readonly root: string
  readonly ledger: Ledger
}

/** Of a place what it takes to plant a tree and to run a command on it. */
export type Ground = Pick<Place, 'at' | 'secrets'>

/** The end of a run on a planted tree: its FIFO is named, so the run is not called done. */
export const WITH_FIFO = 3

/** What a bundle of a planted tree may hold: small enough that it needs several. */
const BUNDLE_LIMITS = ['--files-per-bundle', '8', '--bundle-size', '100KB']

/** `xattrs`: the ledger has them. `random`: where the tree does not follow from the seed and its name. */
export function plant(
  { at }: Pick<Ground, 'at'>,
  { seed }: Pick<CaseContext, 'seed'>,
  name: string,
  { random = randomFrom(seed, name), xattrs = false }: { random?: Random; xattrs?: boolean } = {},
): Planted {
  const root = at.path(name)
  plantTree(root, random)
  return { root, ledger: writeLedger(root, { xattrs }) }
}

export function archiveArgs({ root }: Pick<Planted, 'root'>, ...more: readonly string[]): string[] {
  return ['-r', '--json', ...more, ...BUNDLE_LIMITS, root]
}

export function restoreArgs({ root }: Pick<Planted, 'root'>, to: string): string[] {
  return ['--path', root, '--yes', '--json', '--to', to]
}

/** Runs archive-files, which comes to its end. Whether what it did is right, `checkArchived` says. */
export async function archive(ground: Ground, tree: Planted, ...more: readonly string[]): Promise<Ran> {
  const ran = await ground.at.run('archive-files', archiveArgs(tree, ...more))
  checkRan(ground, ran, [WITH_FIFO])
  return ran
}

/** I1, I2, I4, I6, I7: after a run that came to its end the whole tree is archived, as it was and still is. `unread`: as `checkTree` has it. */
export async function checkArchived(
  place: Place,
  ran: Ran,
  { root, ledger }: Planted,
  options: { unread?: boolean } = {},
): Promise<void> {
  await checkSummary(place, ran, ledger)
  await checkVault(place)
  await checkTree(place, root, ledger, options)
  checkUntouched(root, ledger)
}

/** I3: restores the tree, all of it, into a directory that is made where it is not there. */
export async function checkComesBack(
  ground: Ground,
  tree: Planted,
  to: string,
  options: { xattrs?: boolean } = {},
): Promise<void> {
  mkdirSync(to, { recursive: true })
  checkRan(ground, await ground.at.run('find-and-retrieve', restoreArgs(tree, to)), [0])
  checkRestored(tree.root, tree.ledger, to, options)
}

/** I3: restores all that the catalog has by one command: these trees, and nothing else. */
export async function checkAllComeBack(ground: Ground, trees: readonly Planted[]): Promise<void> {
  const to = ground.at.path('everything')
  mkdirSync(to)
  checkRan(ground, await ground.at.run('find-and-retrieve', ['--all', '--yes', '--json', '--to', to]), [0])
  const others = trees.map(({ root }) => root)
  for (const { root, ledger } of trees) checkRestored(root, ledger, to, { others })
}
