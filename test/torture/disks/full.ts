/**
 * Disks that are full, ten times each, at a point that the seed chooses: of bytes or of inodes. The command stops and says why, nothing
 * false is recorded; when there is room again the same command finishes, and all is what the ledger says.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Case, CaseContext } from '../case.js'
import {
  checkNames,
  checkRan,
  checkRestored,
  checkSummary,
  checkTree,
  checkUntouched,
  checkVault,
  removeTree,
} from '../check-invariants.js'
import { type Ledger, writeLedger } from '../ledger.js'
import { type OpenPlace, openPlace } from '../place.js'
import { BUNDLE_LIMITS, plantTree } from '../plant.js'
import { randomFrom } from '../random.js'
import { type Disk, mountDisk, PAGE, type Room, withPrivateMounts } from './mounts.js'
import { checkStopped, endsInTime } from './stopped.js'

const PASSES = 10
const WITH_FIFO = 3

interface Tree {
  readonly root: string
  readonly ledger: Ledger
}

function newTree(place: OpenPlace, context: CaseContext, name: string): Tree {
  const root = place.at.path(name)
  plantTree(root, randomFrom(context.seed, name))
  return { root, ledger: writeLedger(root, { xattrs: true }) }
}

const archiveArgs = ({ root }: Tree) => ['-r', '--json', '-s', 'drift', ...BUNDLE_LIMITS, root]
const restoreArgs = ({ root }: Tree, to: string) => ['--path', root, '--yes', '--json', '--to', to]

/** Runs `one` on a disk with less room than it needs, until it struck; what it needs is known from a run before, about. */
async function untilStruck(
  disk: Disk,
  needs: Room,
  random: { below(n: number): number },
  parts: { clear?: () => void; one: () => Promise<boolean> },
): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    parts.clear?.()
    const used = disk.used()
    const share = random.below(95) / (100 * (1 + tries))
    const byInodes = random.below(4) === 0
    const room = byInodes
      ? { inodes: used.inodes + Math.floor(share * needs.inodes) }
      : { bytes: used.bytes + Math.floor((share * needs.bytes) / PAGE) * PAGE }
    disk.limit(room)
    const struck = await parts.one()
    disk.limit({})
    if (struck) return
  }
  throw new Error('no lack of room was noticed in twenty runs')
}

const grown = (disk: Disk, since: Room): Room => {
  const now = disk.used()
  return { bytes: now.bytes - since.bytes, inodes: now.inodes - since.inodes }
}

async function vaultFull(context: CaseContext): Promise<void> {
  const place = await openPlace('local')
  const directory = join(place.at.home, 'vault')
  mkdirSync(directory, { mode: 0o700 })
  const disk = mountDisk(directory)
  const random = randomFrom(context.seed, 'vault full')
  try {
    const before = disk.used()
    const trees = [newTree(place, context, 'tree-first')]
    const first = await place.at.run('archive-files', archiveArgs(trees[0] as Tree))
    checkRan(place, first, [WITH_FIFO])
    const needs = grown(disk, before)
    for (let pass = 0; pass < PASSES; pass++) {
      let made = 0
      const one = async () => {
        const tree = newTree(place, context, `tree-${pass}-${made++}`)
        trees.push(tree)
        const ran = await endsInTime(place.at.start('archive-files', archiveArgs(tree)))
        if (ran.code === WITH_FIFO) return false
        checkStopped(place, ran, { codes: [1], reason: /no space is left on its disk/ })
        await checkVault(place, { underway: true })
        checkUntouched(tree.root, tree.ledger)
        disk.limit({})
        await finishArchive(place, tree)
        return true
      }
      await untilStruck(disk, needs, random, { one })
      context.count('full disks', 1)
    }
    await checkTogether(place, trees)
  } finally {
    disk.unmount()
    await place.close()
  }
}

async function finishArchive(place: OpenPlace, tree: Tree): Promise<void> {
  const again = await place.at.run('archive-files', archiveArgs(tree))
  checkRan(place, again, [WITH_FIFO])
  await checkSummary(place, again, tree.ledger)
  await checkVault(place)
  await checkTree(place, tree.root, tree.ledger)
  checkUntouched(tree.root, tree.ledger)
}

/** Everything comes back, and check finds nothing wrong. */
async function checkTogether(place: OpenPlace, trees: readonly Tree[]): Promise<void> {
  const to = place.at.path('everything')
  mkdirSync(to)
  const ran = await place.at.run('find-and-retrieve', ['--all', '--yes', '--json', '--to', to])
  checkRan(place, ran, [0])
  for (const { root, ledger } of trees) checkRestored(root, ledger, to, { others: trees.map((tree) => tree.root) })
  await checkNames(place, await checkVault(place), ['--read-data'])
}

async function targetFull(context: CaseContext): Promise<void> {
  const place = await openPlace('local')
  const to = place.at.path('back')
  mkdirSync(to)
  const disk = mountDisk(to)
  const random = randomFrom(context.seed, 'target full')
  try {
    const tree = newTree(place, context, 'tree-first')
    checkRan(place, await place.at.run('archive-files', archiveArgs(tree)), [WITH_FIFO])
    const before = disk.used()
    checkRan(place, await place.at.run('find-and-retrieve', restoreArgs(tree, to)), [0])
    checkRestored(tree.root, tree.ledger, to, { xattrs: true })
    const needs = grown(disk, before)
    const clear = () => removeTree(join(to, tree.root.split('/')[1] as string))
    for (let pass = 0; pass < PASSES; pass++) {
      const one = async () => {
        const ran = await endsInTime(place.at.start('find-and-retrieve', restoreArgs(tree, to)))
        if (ran.code === 0) return false
        checkStopped(place, ran, { codes: [1], reason: /no space (is )?left on/ })
        disk.limit({})
        const again = await place.at.run('find-and-retrieve', restoreArgs(tree, to))
        checkRan(place, again, [0])
        checkRestored(tree.root, tree.ledger, to, { xattrs: true })
        return true
      }
      await untilStruck(disk, needs, random, { clear, one })
      context.count('full disks', 1)
    }
  } finally {
    disk.unmount()
    await place.close()
  }
}

export const FULL_DISKS: readonly Case[] = [
  withPrivateMounts({ name: 'disks/vault-full', run: vaultFull }),
  withPrivateMounts({ name: 'disks/target-full', run: targetFull }),
]
