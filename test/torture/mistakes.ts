/**
 * What users do by mistake, at any moment: a run is cancelled, the same tree is archived by several commands at once, the vault's disk goes
 * away. Nothing false is recorded, nothing is lost, and the same command finishes what is left.
 */
import { mkdirSync, renameSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { says } from '../firn.js'
import type { Case, CaseContext } from './case.js'
import { checkRan, checkUntouched, checkVault, fail } from './check-invariants.js'
import { type OpenPlace, openPlace } from './place.js'
import { archiveArgs, checkArchived, checkComesBack, plant, WITH_FIFO } from './planted.js'
import { randomFrom } from './random.js'

const ROUNDS = 8
/** From the beginning of a set to its end, about. */
const RUN_MS = 900

async function withPlace(run: (place: OpenPlace) => Promise<void>): Promise<void> {
  const place = await openPlace('local')
  try {
    await run(place)
  } finally {
    await place.close()
  }
}

const newestSet = async ({ sql }: OpenPlace): Promise<string> =>
  (await sql.query<{ id: string }>('SELECT id FROM "set" ORDER BY started_at DESC LIMIT 1')).rows[0]?.id as string

async function cancel(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    for (let round = 0; round < ROUNDS; round++) {
      const random = randomFrom(context.seed, `cancel ${round}`)
      const tree = plant(place, context, `cancelled-${round}`)
      const running = place.at.start('archive-files', archiveArgs(tree, '--debug'))
      await says(running, 'set begun')
      await sleep(random.below(RUN_MS))
      // It stands still while the other command starts: else it would be over by then.
      running.kill('SIGSTOP')
      const id = await newestSet(place)
      const cancelled = await place.at.run('firn', ['cancel', id, '--json'])
      running.kill('SIGCONT')
      const ran = await running.ended
      if (cancelled.code === 0) {
        checkRan(place, ran, [1])
        const { rows } = await place.sql.query<{ set: string; live: bigint; stored: bigint }>(
          `SELECT s.state AS set, count(*) FILTER (WHERE b.state IN ('planned', 'packing')) AS live,
             count(*) FILTER (WHERE b.state = 'stored') AS stored
           FROM "set" s LEFT JOIN bundle b ON b.set = s.id WHERE s.id = $1 GROUP BY s.state`,
          [id],
        )
        const [row] = rows
        fail('a set that was cancelled', [
          ...(row?.set === 'cancelled' ? [] : [`is ${row?.set}`]),
          ...(Number(row?.live) === 0 ? [] : [`has ${row?.live} bundles that wait or run`]),
          ...(Number(row?.stored) === ran.summary['bundles']
            ? []
            : [`has ${row?.stored} bundles; ${ran.summary['bundles']} were said`]),
        ])
        context.count('runs cancelled', 1)
      } else checkRan(place, ran, [WITH_FIFO]) // it was over
      const again = await place.at.run('archive-files', archiveArgs(tree))
      checkRan(place, again, [WITH_FIFO])
      await checkArchived(place, again, tree)
      await checkComesBack(place, tree, place.at.path(`back-${round}`))
    }
  })
}

async function atOnce(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    for (let round = 0; round < ROUNDS / 2; round++) {
      const random = randomFrom(context.seed, `at once ${round}`)
      const tree = plant(place, context, `at-once-${round}`)
      const runs = await Promise.all(
        ['a', 'b', 'c'].map(async (tag) => {
          await sleep(random.below(RUN_MS))
          return place.at.run('archive-files', archiveArgs(tree, '-t', tag))
        }),
      )
      for (const ran of runs) checkRan(place, ran, [WITH_FIFO])
      const files = [...tree.ledger.values()].filter(({ type }) => type !== 'directory' && type !== 'other').length
      const archived = runs.reduce((sum, { summary }) => sum + Number(summary['files_archived']), 0)
      fail('runs at once', [
        ...(archived === files ? [] : [`archived ${archived} files, and there are ${files}`]),
        ...runs.filter(({ summary }) => summary['files_waiting'] !== 0).map(() => 'a run left files waiting'),
      ])
      await checkVault(place)
      await checkComesBack(place, tree, place.at.path(`back-${round}`))
      context.count('runs on one tree at once', runs.length)
    }
  })
}

/** The place of the vault becomes an empty directory, as a mount point does, in the middle of a run that removes what it archived. */
async function unmounted(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const vault = `${place.at.home}/vault`
    const away = place.at.path('unmounted')
    const first = plant(place, context, 'before')
    checkRan(place, await place.at.run('archive-files', archiveArgs(first)), [WITH_FIFO])
    for (let round = 0; round < ROUNDS; round++) {
      const random = randomFrom(context.seed, `unmounted ${round}`)
      const tree = plant(place, context, `unmounted-${round}`)
      const running = place.at.start('archive-files', archiveArgs(tree, '--debug'))
      if (round > 0) {
        await says(running, 'set begun')
        await sleep(random.below(RUN_MS))
      }
      renameSync(vault, away)
      mkdirSync(vault)
      const ran = await running.ended
      if (ran.code !== WITH_FIFO) checkRan(place, ran, [75, 1])
      const check = await place.at.run('firn', ['check', '--json'])
      checkRan(place, check, [75])
      const removing = await place.at.run('archive-files', ['--delete-after-archive', '--yes', ...archiveArgs(tree)])
      checkRan(place, removing, [75])
      checkUntouched(tree.root, tree.ledger)
      // What an attempt wrote there before it saw it is nothing that the catalog counts.
      rmSync(vault, { recursive: true })
      renameSync(away, vault)
      const again = await place.at.run('archive-files', archiveArgs(tree))
      checkRan(place, again, [WITH_FIFO])
      await checkArchived(place, again, tree)
      context.count('vaults that went away', 1)
    }
  })
}

export const MISTAKES: readonly Case[] = [
  { name: 'mistakes/cancel', run: cancel },
  { name: 'mistakes/at-once', run: atOnce },
  { name: 'mistakes/unmounted', run: unmounted },
]
