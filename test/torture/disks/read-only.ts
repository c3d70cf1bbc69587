/**
 * Disks that are read-only: from the beginning, and from some moment in the middle of a run on. The command says so and stops; what a
 * read-only vault holds still comes back; and when the disk takes writing again, the same command finishes.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CommandName, Ran } from '../../firn.js'
import type { Case, CaseContext } from '../case.js'
import { checkRan, checkRestored, checkSummary, checkTree, checkUntouched, checkVault } from '../check-invariants.js'
import { type Ledger, writeLedger } from '../ledger.js'
import { type OpenPlace, openPlace } from '../place.js'
import { BUNDLE_LIMITS, plantTree } from '../plant.js'
import { type Random, randomFrom } from '../random.js'
import { closeSmallHome, openSmallHome, withCatalog } from './home-full.js'
import { type Disk, mountDisk, withPrivateMounts } from './mounts.js'
import { checkSentence, checkStopped } from './stopped.js'

const WITH_FIFO = 3
const IN_THE_MIDDLE = 4

interface Tree {
  readonly root: string
  readonly ledger: Ledger
}

function newTree(place: Pick<OpenPlace, 'at'>, context: CaseContext, name: string): Tree {
  const root = place.at.path(name)
  plantTree(root, randomFrom(context.seed, name))
  return { root, ledger: writeLedger(root) }
}

const archiveArgs = ({ root }: Tree) => ['-r', '--json', ...BUNDLE_LIMITS, root]
const restoreArgs = ({ root }: Tree, to: string) => ['--path', root, '--yes', '--json', '--to', to]

/** The disk is closed at a moment of the run; while somebody has a file open for writing it refuses, and is asked again. */
async function closedMeanwhile(place: OpenPlace, disk: Disk, random: Random, name: CommandName, args: string[]): Promise<Ran> {
  const running = place.at.start(name, args)
  let over = false
  void running.ended.then(() => {
    over = true
  })
  await sleep(random.below(1_200))
  while (!over && !disk.readOnly(true)) await sleep(1)
  const ran = await running.ended
  disk.readOnly(false)
  return ran
}

async function vaultReadOnly(context: CaseContext): Promise<void> {
  const place = await openPlace('local')
  const vault = join(place.at.home, 'vault')
  mkdirSync(vault, { mode: 0o700 })
  const disk = mountDisk(vault)
  const random = randomFrom(context.seed, 'vault read-only')
  const finish = async (tree: Tree) => {
    const ran = await place.at.run('archive-files', archiveArgs(tree))
    checkRan(place, ran, [WITH_FIFO])
    await checkSummary(place, ran, tree.ledger)
    await checkVault(place)
    await checkTree(place, tree.root, tree.ledger)
    checkUntouched(tree.root, tree.ledger)
  }
  const readOnly = { codes: [2], reason: /read-only/ }
  try {
    disk.readOnly(true)
    const first = newTree(place, context, 'tree-first')
    checkStopped(place, await place.at.run('archive-files', archiveArgs(first)), readOnly)
    disk.readOnly(false)
    await finish(first)
    disk.readOnly(true)
    const second = newTree(place, context, 'tree-second')
    checkStopped(place, await place.at.run('archive-files', archiveArgs(second)), readOnly)
    await restore(place, first, place.at.path('back'))
    disk.readOnly(false)
    await finish(second)
    for (let i = 0; i < IN_THE_MIDDLE; i++) {
      const tree = newTree(place, context, `tree-${i}`)
      const ran = await closedMeanwhile(place, disk, random, 'archive-files', archiveArgs(tree))
      if (ran.code !== WITH_FIFO) checkStopped(place, ran, readOnly)
      await checkVault(place, { underway: true })
      await finish(tree)
      context.count('disks that were read-only', 1)
    }
  } finally {
    disk.unmount()
    await place.close()
  }
}

async function restore(place: OpenPlace, { root, ledger }: Tree, to: string): Promise<void> {
  mkdirSync(to, { recursive: true })
  checkRan(place, await place.at.run('find-and-retrieve', restoreArgs({ root, ledger }, to)), [0])
  checkRestored(root, ledger, to)
}

async function targetReadOnly(context: CaseContext): Promise<void> {
  const place = await openPlace('local')
  const random = randomFrom(context.seed, 'target read-only')
  const readOnly = { codes: [2], reason: /read-only/ }
  try {
    const tree = newTree(place, context, 'tree-first')
    checkRan(place, await place.at.run('archive-files', archiveArgs(tree)), [WITH_FIFO])
    for (let i = 0; i <= IN_THE_MIDDLE; i++) {
      const to = place.at.path(`back-${i}`)
      mkdirSync(to)
      const disk = mountDisk(to)
      try {
        if (i === 0) {
          disk.readOnly(true)
          checkStopped(place, await place.at.run('find-and-retrieve', restoreArgs(tree, to)), readOnly)
          disk.readOnly(false)
        } else {
          const ran = await closedMeanwhile(place, disk, random, 'find-and-retrieve', restoreArgs(tree, to))
          if (ran.code === 0) checkRestored(tree.root, tree.ledger, to)
          else checkStopped(place, ran, readOnly)
        }
        await restore(place, tree, to)
        context.count('disks that were read-only', 1)
      } finally {
        disk.unmount()
      }
    }
  } finally {
    await place.close()
  }
}

async function homeReadOnly(context: CaseContext): Promise<void> {
  const home = openSmallHome()
  try {
    const tree = newTree(home, context, 'tree-first')
    for (const made of [false, true]) {
      home.disk.readOnly(true)
      const refused = await home.at.run('archive-files', archiveArgs(tree))
      checkStopped({ secrets: [] }, refused, { codes: [1, 2], reason: /read-only/i })
      home.disk.readOnly(false)
      const ran = await home.at.run('archive-files', archiveArgs(tree))
      checkRan({ secrets: [] }, ran, [WITH_FIFO])
      checkSentence(ran)
      await withCatalog(home, async (place) => {
        await checkSummary(place, ran, tree.ledger)
        await checkVault(place)
        if (!made) await checkTree(place, tree.root, tree.ledger)
      })
      context.count('disks that were read-only', 1)
    }
  } finally {
    await closeSmallHome(home)
  }
}

async function readOnly(context: CaseContext): Promise<void> {
  await vaultReadOnly(context)
  await targetReadOnly(context)
  await homeReadOnly(context)
}

export const READ_ONLY_DISKS: readonly Case[] = [withPrivateMounts({ name: 'disks/read-only', run: readOnly })]
