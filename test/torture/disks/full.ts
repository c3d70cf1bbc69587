/**
 * Disks that are full, ten times each, at a point that the seed chooses: of bytes or of inodes. The command stops and says why, nothing
 * false is recorded; when there is room again the same command finishes, and all is what the ledger says.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Case, CaseContext } from '../case.js'
import { checkNames, checkUntouched, checkVault, removeTree } from '../check-invariants.js'
import { openPlace } from '../place.js'
import {
  archive,
  archiveArgs,
  checkAllComeBack,
  checkArchived,
  checkComesBack,
  plant,
  restoreArgs,
  WITH_FIFO,
} from '../planted.js'
import { randomFrom } from '../random.js'
import { type Disk, mountDisk, PAGE, type Room, withPrivateMounts } from './mounts.js'
import { checkStopped, endsInTime } from './stopped.js'

const PASSES = 10
const DESCRIBED = ['-s', 'drift']

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
    const first = plant(place, context, 'tree-first', { xattrs: true })
    const trees = [first]
    await archive(place, first, ...DESCRIBED)
    const needs = grown(disk, before)
    for (let pass = 0; pass < PASSES; pass++) {
      let made = 0
      const one = async () => {
        const tree = plant(place, context, `tree-${pass}-${made++}`, { xattrs: true })
        trees.push(tree)
        const ran = await endsInTime(place.at.start('archive-files', archiveArgs(tree, ...DESCRIBED)))
        if (ran.code === WITH_FIFO) return false
        checkStopped(place, ran, { codes: [1], reason: /no space is left on its disk/ })
        await checkVault(place, { underway: true })
        checkUntouched(tree.root, tree.ledger)
        disk.limit({})
        await checkArchived(place, await archive(place, tree, ...DESCRIBED), tree)
        return true
      }
      await untilStruck(disk, needs, random, { one })
      context.count('full disks', 1)
    }
    await checkAllComeBack(place, trees)
    await checkNames(place, await checkVault(place), ['--read-data'])
  } finally {
    disk.unmount()
    await place.close()
  }
}

async function targetFull(context: CaseContext): Promise<void> {
  const place = await openPlace('local')
  const to = place.at.path('back')
  mkdirSync(to)
  const disk = mountDisk(to)
  const random = randomFrom(context.seed, 'target full')
  try {
    const tree = plant(place, context, 'tree-first', { xattrs: true })
    await archive(place, tree, ...DESCRIBED)
    const before = disk.used()
    await checkComesBack(place, tree, to, { xattrs: true })
    const needs = grown(disk, before)
    const clear = () => removeTree(join(to, tree.root.split('/')[1] as string))
    for (let pass = 0; pass < PASSES; pass++) {
      const one = async () => {
        const ran = await endsInTime(place.at.start('find-and-retrieve', restoreArgs(tree, to)))
        if (ran.code === 0) return false
        checkStopped(place, ran, { codes: [1], reason: /no space (is )?left on/ })
        disk.limit({})
        await checkComesBack(place, tree, to, { xattrs: true })
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
