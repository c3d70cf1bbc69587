/**
 * What users do by mistake, at any moment: a run is cancelled, the same tree is archived by several commands at once, the vault's or the
 * source's disk goes away, tars are lost, a run is killed. Nothing false is recorded, nothing is lost, and the same command finishes what is left.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  futimesSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { says } from '../firn.js'
import { lookAt } from '../tree.js'
import type { Case, CaseContext } from './case.js'
import { checkRan, checkRestored, checkUntouched, checkVault, fail } from './check-invariants.js'
import { type OpenPlace, openPlace } from './place.js'
import { archiveArgs, checkArchived, checkComesBack, plant, restoreArgs, WITH_FIFO } from './planted.js'
import { type Random, randomFrom } from './random.js'

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

/**
 * Somebody goes on writing while sources are removed, and sets the times back: what a file held last, while it had a name, is on the disk or
 * in the vault.
 */
async function racingWriter(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    for (let round = 0; round < ROUNDS / 2; round++) {
      const random = randomFrom(context.seed, `writer ${round}`)
      const root = place.at.path(`written-${round}`)
      mkdirSync(root)
      const last = new Map<string, string>()
      for (let i = 0; i < 40; i++) {
        last.set(`${root}/f${i}`, `${i} first`.padEnd(100))
        writeFileSync(`${root}/f${i}`, last.get(`${root}/f${i}`) as string)
      }
      const removing = place.at.start('archive-files', ['-r', '--json', '--delete-after-archive', '--yes', root])
      let over = false
      const ended = removing.ended.finally(() => {
        over = true
      })
      let writes = 0
      while (!over) {
        const path = `${root}/f${random.below(40)}`
        const content = `${path} ${writes}`.slice(-90).padEnd(100)
        if (writeAsBefore(path, content)) {
          last.set(path, content)
          writes++
        }
        await sleep(random.below(120))
      }
      const ran = await ended
      checkRan(place, ran, [0, 3])
      const to = place.at.path(`back-${round}`)
      checkRan(place, await place.at.run('find-and-retrieve', ['--path', root, '--json', '--to', to]), [0])
      const lost = [...last].filter(([path, content]) => {
        const place = existsSync(path) ? path : `${to}${path}`
        return readFileSync(place, 'utf8') !== content
      })
      fail(
        'sources that were written to while they were removed',
        lost.map(([path, content]) => `${path} lost what it held last: ${content.trim()}`),
      )
      context.count('writes while sources were removed', writes)
      context.count('sources removed', [...last.keys()].filter((path) => !existsSync(path)).length)
    }
  })
}

/** Into the file that is there, with its times put back. False where it has no name any more. */
function writeAsBefore(path: string, content: string): boolean {
  let fd: number
  try {
    fd = openSync(path, 'r+')
  } catch {
    return false
  }
  try {
    const { atime, mtime } = fstatSync(fd)
    writeSync(fd, content, 0)
    futimesSync(fd, atime, mtime)
    return fstatSync(fd).nlink > 0
  } finally {
    closeSync(fd)
  }
}

const cliFiles = (ran: { messages: readonly Record<string, unknown>[] }) =>
  ran.messages.filter((message) => message['message_type'] === 'file')

/** The disk of the source goes away, before a run and in its middle: nothing is gone by it. */
async function unmountedSource(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const tree = plant(place, context, 'source')
    checkRan(place, await place.at.run('archive-files', archiveArgs(tree)), [WITH_FIFO])
    for (let round = 0; round < ROUNDS; round++) {
      const random = randomFrom(context.seed, `source ${round}`)
      const away = place.at.path('unmounted-source')
      const running = place.at.start('archive-files', archiveArgs(tree, '--debug'))
      if (round > 1) {
        await says(running, 'set begun')
        await sleep(random.below(RUN_MS / 2))
      }
      renameSync(tree.root, away)
      mkdirSync(tree.root)
      if (round % 2 === 1) writeFileSync(`${tree.root}/not mounted`, 'a note on the mount point')
      checkRan(place, await running.ended, [WITH_FIFO, 0, 75, 2])
      // What holds something is the truth for the run after the next: an empty place never is.
      const second = round % 2 === 1 ? undefined : await place.at.run('archive-files', archiveArgs(tree))
      if (second) checkRan(place, second, [3])
      rmSync(tree.root, { recursive: true })
      renameSync(away, tree.root)
      const listed = await place.at.run('find-and-retrieve', ['--path', tree.root, '-l', '--json'])
      checkRan(place, listed, [0])
      fail('a source that was not mounted', [
        ...(second && second.summary['files_gone'] !== 0 ? [`${second.summary['files_gone']} files were called gone`] : []),
        ...cliFiles(listed).flatMap((file) =>
          'gone' in file && !String(file['path']).endsWith('/not mounted') ? [`${file['path']} is called gone`] : [],
        ),
      ])
      const again = await place.at.run('archive-files', archiveArgs(tree))
      checkRan(place, again, [WITH_FIFO])
      context.count('sources that went away', 1)
    }
    // What lay on the mount point is not in the tree any more.
    const to = place.at.path('back')
    mkdirSync(to)
    checkRan(place, await place.at.run('find-and-retrieve', [...restoreArgs(tree, to), '--as-of', new Date().toISOString()]), [0])
    checkRestored(tree.root, tree.ledger, to)
  })
}

/** Tars that are lost, with or without their manifests: a catalog that is built anew names each of them, and no other, whenever it is asked. */
async function lostTars(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const trees = ['one', 'two', 'three'].map((name) => plant(place, context, name))
    for (const tree of trees) checkRan(place, await place.at.run('archive-files', archiveArgs(tree)), [WITH_FIFO])
    const { rows } = await place.sql.query<{ id: string; key: string }>('SELECT id, key FROM bundle ORDER BY number')
    const random = randomFrom(context.seed, 'lost tars')
    const lost = random.shuffle(rows).slice(0, 1 + random.below(rows.length - 1))
    for (const { key } of lost) {
      const tar = `${place.at.home}/vault/${key}`
      rmSync(tar)
      if (random.percent(50)) rmSync(tar.replace(/tar$/, 'manifest.ndjson.gz'))
    }
    for (const round of ['anew', 'again']) {
      const rebuilt = await place.at.run('firn', ['rebuild-catalog', '--from', `local:${place.at.home}/vault`, '--json'], {
        FIRN_HOME: place.at.path('another-home'),
      })
      checkRan(place, rebuilt, [3])
      const said = rebuilt.messages
        .map((message) => JSON.stringify(message))
        .filter((text) => text.includes('the record of its set lists it'))
      fail(`a catalog that was built ${round}`, [
        ...(rebuilt.summary['lost'] === lost.length
          ? []
          : [`says that ${rebuilt.summary['lost']} of ${lost.length} bundles are lost`]),
        ...rows.flatMap(({ id }) => {
          const isLost = lost.some((one) => one.id === id)
          const isNamed = said.some((text) => text.includes(id))
          return isLost === isNamed ? [] : [`${isLost ? 'does not name' : 'names'} bundle ${id}`]
        }),
      ])
    }
    context.count('tars that were lost', lost.length)
  })
}

/** A tree changes, its runs are killed and run again: what was there at each time comes back, also from a catalog that is built anew. */
async function records(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const random = randomFrom(context.seed, 'records')
    const root = place.at.path('history')
    mkdirSync(root)
    const states: { asOf: string; seen: unknown }[] = []
    for (let round = 0; round < ROUNDS; round++) {
      changeTree(root, random)
      const args = ['-r', '--json', '--files-per-bundle', '5', root]
      if (random.percent(60)) {
        const killed = place.at.start('archive-files', [...args, '--debug'])
        await says(killed, 'set begun')
        await sleep(random.below(RUN_MS))
        killed.kill('SIGKILL')
        await killed.ended
      }
      checkRan(place, await place.at.run('archive-files', args), [0])
      await sleep(20)
      states.push({ asOf: new Date().toISOString(), seen: [...lookAt(root, { directories: false })].sort() })
      await sleep(20)
    }
    await checkVault(place)
    const another: NodeJS.ProcessEnv = { FIRN_HOME: place.at.path('another-home') }
    for (const env of [{}, another]) {
      if (env === another) {
        const rebuilt = await place.at.run('firn', ['rebuild-catalog', '--from', `local:${place.at.home}/vault`, '--json'], env)
        checkRan(place, rebuilt, [0])
      }
      for (const [index, { asOf, seen }] of states.entries()) {
        const to = place.at.path(`${env === another ? 'rebuilt' : 'back'}-${index}`)
        const ran = await place.at.run('find-and-retrieve', ['--path', root, '--as-of', asOf, '--json', '--to', to], env)
        checkRan(place, ran, [0])
        const back = [...lookAt(`${to}${root}`, { directories: false })].sort()
        const json = (value: unknown) =>
          JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? String(one) : one))
        fail(
          `the tree as of round ${index}`,
          json(back) === json(seen) ? [] : [`is not what it was: ${json(back)} instead of ${json(seen)}`],
        )
      }
    }
    context.count('trees as of a time', states.length)
  })
}

/** Files, directories and symlinks come, go, move, change and become each other. */
function changeTree(root: string, random: Random): void {
  const names = Array.from({ length: 8 }, (_, i) => `${root}/n${i}`)
  for (let change = 0; change < 6; change++) {
    const path = random.pick(names)
    const kind = random.below(5)
    if (kind === 4) {
      const to = random.pick(names)
      if (existsSync(path) && to !== path) {
        rmSync(to, { recursive: true, force: true })
        renameSync(path, to)
      }
      continue
    }
    rmSync(path, { recursive: true, force: true })
    if (kind === 0) writeFileSync(path, random.bytes(1 + random.below(2_000)))
    if (kind === 1) symlinkSync(`n${random.below(8)}`, path)
    if (kind === 2) {
      for (const below of ['a', 'b/c', 'b/d']) {
        mkdirSync(dirname(`${path}/${below}`), { recursive: true })
        writeFileSync(`${path}/${below}`, random.bytes(random.below(500)))
      }
    }
  }
  writeFileSync(`${root}/always`, random.bytes(10))
}

export const MISTAKES: readonly Case[] = [
  { name: 'mistakes/cancel', run: cancel },
  { name: 'mistakes/at-once', run: atOnce },
  { name: 'mistakes/unmounted', run: unmounted },
  { name: 'mistakes/source', run: unmountedSource },
  { name: 'mistakes/writer', run: racingWriter },
  { name: 'mistakes/lost-tars', run: lostTars },
  { name: 'mistakes/records', run: records },
]
