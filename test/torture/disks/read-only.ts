/**
 * Disks that are read-only: from the beginning, and from some moment in the middle of a run on. The command says so and stops; what a
 * read-only vault holds still comes back; and when the disk takes writing again, the same command finishes.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CommandName, Ran } from '../../firn.js'
import type { Case, CaseContext } from '../case.js'
import { checkRestored, checkVault } from '../check-invariants.js'
import { type OpenPlace, openPlace } from '../place.js'
import { archive, archiveArgs, checkArchived, checkComesBack, type Planted, plant, restoreArgs, WITH_FIFO } from '../planted.js'
import { type Random, randomFrom } from '../random.js'
import { closeSmallHome, openSmallHome, withCatalog } from './home-full.js'
import { type Disk, mountDisk, withPrivateMounts } from './mounts.js'
import { checkSentence, checkStopped, type Expected } from './stopped.js'

const IN_THE_MIDDLE = 4

const READ_ONLY: Expected = { codes: [2], reason: /read-only/ }

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
  const finish = async (tree: Planted) => checkArchived(place, await archive(place, tree), tree)
  try {
    disk.readOnly(true)
    const first = plant(place, context, 'tree-first')
    checkStopped(place, await place.at.run('archive-files', archiveArgs(first)), READ_ONLY)
    disk.readOnly(false)
    await finish(first)
    disk.readOnly(true)
    const second = plant(place, context, 'tree-second')
    checkStopped(place, await place.at.run('archive-files', archiveArgs(second)), READ_ONLY)
    await checkComesBack(place, first, place.at.path('back'))
    disk.readOnly(false)
    await finish(second)
    for (let i = 0; i < IN_THE_MIDDLE; i++) {
      const tree = plant(place, context, `tree-${i}`)
      const ran = await closedMeanwhile(place, disk, random, 'archive-files', archiveArgs(tree))
      if (ran.code !== WITH_FIFO) checkStopped(place, ran, READ_ONLY)
      await checkVault(place, { underway: true })
      await finish(tree)
      context.count('disks that were read-only', 1)
    }
  } finally {
    disk.unmount()
    await place.close()
  }
}

async function targetReadOnly(context: CaseContext): Promise<void> {
  const place = await openPlace('local')
  const random = randomFrom(context.seed, 'target read-only')
  try {
    const tree = plant(place, context, 'tree-first')
    await archive(place, tree)
    for (let i = 0; i <= IN_THE_MIDDLE; i++) {
      const to = place.at.path(`back-${i}`)
      mkdirSync(to)
      const disk = mountDisk(to)
      try {
        if (i === 0) {
          disk.readOnly(true)
          checkStopped(place, await place.at.run('find-and-retrieve', restoreArgs(tree, to)), READ_ONLY)
          disk.readOnly(false)
        } else {
          const ran = await closedMeanwhile(place, disk, random, 'find-and-retrieve', restoreArgs(tree, to))
          if (ran.code === 0) checkRestored(tree.root, tree.ledger, to)
          else checkStopped(place, ran, READ_ONLY)
        }
        await checkComesBack(place, tree, to)
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
    const tree = plant(home, context, 'tree-first')
    // Before there is a database in it, and when there is one.
    for (let times = 0; times < 2; times++) {
      home.disk.readOnly(true)
      const refused = await home.at.run('archive-files', archiveArgs(tree))
      checkStopped(home, refused, { codes: [1, 2], reason: /read-only/i })
      home.disk.readOnly(false)
      const ran = await archive(home, tree)
      checkSentence(ran)
      await withCatalog(home, (place) => checkArchived(place, ran, tree))
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
