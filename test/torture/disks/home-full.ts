/**
 * FIRN_HOME full, and with it the embedded Postgres: without room for a data directory, for a table, for its WAL. The command stops and
 * says why; when there is room again the same command finishes, and nobody has to mend the database.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { openEmbeddedPostgres } from '#libs/runtime/postgres/embedded-postgres.js'
import { type Home, openHome, until } from '../../firn.js'
import type { Case, CaseContext } from '../case.js'
import { checkRan, type Place } from '../check-invariants.js'
import { archiveArgs, checkArchived, type Planted, plant, WITH_FIFO } from '../planted.js'
import { randomFrom } from '../random.js'
import { localSight } from '../sight.js'
import { type Disk, mountDisk, PAGE, type Room, withPrivateMounts } from './mounts.js'
import { checkStopped, endsInTime } from './stopped.js'

const PASSES = 10
/** A segment of Postgres's WAL. */
const SEGMENT = 16 * 1024 * 1024

export interface SmallHome {
  readonly at: Home
  readonly disk: Disk
  readonly vault: string
  readonly seen: Set<string>
  /** None: its vault is a directory, its database its own. */
  readonly secrets: readonly string[]
}

export function openSmallHome(): SmallHome {
  const at = openHome({ FIRN_CHECK_SECONDS: '1' })
  const vault = at.path('vault')
  at.env['FIRN_VAULT_URL'] = `local:${vault}`
  mkdirSync(at.home)
  return { at, disk: mountDisk(at.home), vault, seen: new Set(), secrets: [] }
}

export async function closeSmallHome({ at, disk }: SmallHome): Promise<void> {
  const pidFile = join(at.home, 'postgres/data/postmaster.pid')
  const pid = () => {
    try {
      return Number(readFileSync(pidFile, 'utf8').split('\n')[0])
    } catch {
      return 0
    }
  }
  // Its own, of a case that failed.
  if (pid() > 1) {
    process.kill(pid(), 'SIGQUIT')
    await until(() => pid() === 0, 10).catch(() => {})
  }
  disk.unmount()
  at.dispose()
}

/** With the database up, as any command would have it. */
export async function withCatalog<T>(home: SmallHome, look: (place: Place) => Promise<T>): Promise<T> {
  const { at, vault, seen, secrets } = home
  await using postgres = await openEmbeddedPostgres({ home: at.home, log: () => {} })
  const sql = new pg.Pool({ connectionString: postgres.url, max: 1 })
  sql.on('error', () => {})
  try {
    return await look({ at, sql, sight: localSight(vault), vaultId: `local:${vault}`, seen, secrets })
  } finally {
    await sql.end()
  }
}

const archiveInTime = ({ at }: SmallHome, tree: Planted) => endsInTime(at.start('archive-files', archiveArgs(tree)))

/** True where the lack of room was noticed. */
async function stopAndFinish(context: CaseContext, home: SmallHome, tree: Planted, room: Partial<Room>): Promise<boolean> {
  home.disk.limit(room)
  const ran = await archiveInTime(home, tree)
  home.disk.limit({})
  if (ran.code === WITH_FIFO) return false
  checkStopped(home, ran, { codes: [1, 75], reason: /no space/i })
  const again = await archiveInTime(home, tree)
  checkRan(home, again, [WITH_FIFO])
  await withCatalog(home, (place) => checkArchived(place, again, tree))
  context.count('full disks', 1)
  return true
}

/** Somebody else wrote so much that there is no room for one more page of the WAL: the server has crashed, and its recovery needs one. */
async function fillWithWal(home: SmallHome, room: Partial<Room>): Promise<void> {
  await withCatalog(home, async ({ sql }) => {
    home.disk.limit(room)
    for (let i = 0; i < 200; i++) {
      try {
        await sql.query("SELECT pg_logical_emit_message(false, 'torture', repeat('x', 4000000))")
      } catch {
        return
      }
    }
    throw new Error('the WAL never filled the disk')
  })
}

async function homeFull(context: CaseContext): Promise<void> {
  const random = randomFrom(context.seed, 'home full')
  const home = openSmallHome()
  try {
    // From nothing on: programs, data directory, first start.
    const empty = home.disk.used()
    const first = plant(home, context, 'tree-first')
    const room = { bytes: empty.bytes + PAGE * random.below((60 * 1024 * 1024) / PAGE) }
    if (!(await stopAndFinish(context, home, first, room))) throw new Error(`a home of ${room.bytes} bytes was enough`)
    let made = 0
    for (let pass = 1; pass < PASSES; ) {
      if (made > 5 * PASSES) throw new Error('the lack of room was hardly ever noticed')
      const tree = plant(home, context, `tree-${made++}`)
      const used = home.disk.used()
      const kind = random.pick(['tables', 'WAL', 'WAL', 'inodes'] as const)
      const room = {
        tables: { bytes: used.bytes + PAGE * random.below(20) },
        WAL: { bytes: used.bytes + PAGE * random.below((2 * SEGMENT) / PAGE) },
        inodes: { inodes: used.inodes + random.below(5) },
      }[kind]
      try {
        if (kind === 'WAL') await fillWithWal(home, room)
        if (await stopAndFinish(context, home, tree, room)) pass++
      } catch (error) {
        const about = `pass ${pass}, ${kind}, ${JSON.stringify(room)} of ${JSON.stringify(used)}`
        throw new Error(`${about}: ${error instanceof Error ? error.message : error}`, { cause: error })
      }
    }
  } finally {
    await closeSmallHome(home)
  }
}

export const FULL_HOME: readonly Case[] = [withPrivateMounts({ name: 'disks/home-full', run: homeFull })]
