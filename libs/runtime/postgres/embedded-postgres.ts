/**
 * The embedded database: a real Postgres below FIRN_HOME that several commands share. The first one in starts it, the others join, the last
 * one out stops it. Who is in shows as an open connection, which the kernel closes for a process that is killed: nothing can go stale.
 */
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { flock } from '#libs/os/libc.js'
import { prepareHome, reasonOf, refuseHome } from '../home.js'
import { openKept } from './kept-file.js'
import { findOwner, type Owner } from './owner.js'
import { connectOrStart, connectRunning, type ServerOptions, serverUrl, stopServer } from './server.js'
import { findSocketDirectory } from './socket-directory.js'

export interface EmbeddedPostgres extends AsyncDisposable {
  /** For `pg`, BullMQ and Prisma. Stays the same when the server has to be started again. */
  readonly url: string
  /** Leaves; stops the server when nobody else is in. */
  close(): Promise<void>
}

export interface EmbeddedPostgresOptions extends Pick<ServerOptions, 'onStarting'> {
  /** FIRN_HOME, absolute. Made where it is not there yet. */
  readonly home: string
  /** For a debug log. */
  readonly log: (text: string) => void
  /** False: faster, and lost in a power cut. For tests. Default true. */
  readonly durable?: boolean
}

const PRESENCE = 'firn presence'

export async function openEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const server = await prepare(options)
  let closing = false
  let presence = await enter()
  const { socketDirectory } = presence

  /** Goes in, unless the command is on its way out. */
  async function enter(): Promise<Presence> {
    const lock = await lockOf(server)
    try {
      const client = await connectOrStart(server, `${PRESENCE} ${process.pid}`)
      stay(client, false)
      client.once('end', () => void returnAfterCrash())
      return { client, socketDirectory: await socketDirectoryOf(server) }
    } finally {
      lock.release()
    }
  }

  /** A server that crashed throws everybody out and comes back by itself; one that was killed is started by whoever is here first. */
  async function returnAfterCrash(): Promise<void> {
    for (let pauseMs = 100; !closing; pauseMs = Math.min(2 * pauseMs, 30_000)) {
      await sleep(pauseMs, undefined, { ref: false })
      if (closing) return
      try {
        server.log('the connection to the embedded database was lost')
        const entered = await enter()
        if (closing) await entered.client.end()
        else presence = entered
        return
      } catch (error) {
        server.log(`the embedded database is not back: ${reasonOf(error)}`)
      }
    }
  }

  const close = async (): Promise<void> => {
    if (closing) return
    closing = true
    const lock = await lockOf(server)
    try {
      stay(presence.client, true)
      const alone = await isAlone(server, presence.client)
      await presence.client.end().catch(() => {})
      if (alone) await stopServer(server)
    } finally {
      lock.release()
    }
  }

  return { url: serverUrl(socketDirectory), close, [Symbol.asyncDispose]: close }
}

interface Presence {
  readonly client: pg.Client
  readonly socketDirectory: string
}

async function prepare({ home, log, durable = true, onStarting }: EmbeddedPostgresOptions): Promise<ServerOptions> {
  await prepareHome(home)
  const directory = join(home, 'postgres')
  refuseHome(home, directory)
  const owner = await findOwner(join(directory, 'data'))
  try {
    await makeDirectory(directory, owner)
  } catch (error) {
    throw new FirnError('usage', `FIRN_HOME ${home} cannot be used: ${reasonOf(error)}.`, { cause: error })
  }
  return { directory, owner, durable, log, ...(onStarting && { onStarting }) }
}

/** Closed, unless root keeps it for the user of the database, who may pass, and write nothing there. */
async function makeDirectory(directory: string, owner: Owner): Promise<void> {
  const mode = owner.as.uid === undefined ? 0o700 : 0o711
  try {
    await mkdir(directory, { mode })
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return
    throw error
  }
  await chmod(directory, mode)
}

async function lockOf({ directory }: ServerOptions): Promise<{ release(): void }> {
  const path = join(directory, 'lock')
  try {
    await (await openKept(path, 'a+')).close()
    return await flock(path)
  } catch (error) {
    throw new FirnError('usage', `${path} cannot be opened: ${reasonOf(error)}.`, { cause: error })
  }
}

async function socketDirectoryOf({ directory }: ServerOptions): Promise<string> {
  const found = await findSocketDirectory(directory)
  if (found === undefined) throw new FirnError('database', 'The embedded database stopped while it was being joined.')
  return found
}

/** Presence alone is no reason for a process to stay. (The types of `pg` lack both.) */
function stay(client: pg.Client, reason: boolean): void {
  const socket = client as pg.Client & { ref(): void; unref(): void }
  if (reason) socket.ref()
  else socket.unref()
}

/** False when in doubt: a server that nobody uses waits for the next command, which stops it. */
async function isAlone(server: ServerOptions, presence: pg.Client): Promise<boolean> {
  try {
    return await hasNoOther(presence)
  } catch {
    server.log('the connection to the embedded database was lost; asking again')
  }
  const client = await connectRunning(server, `${PRESENCE} ${process.pid}`).catch(() => undefined)
  try {
    return client !== undefined && (await hasNoOther(client))
  } catch {
    return false
  } finally {
    await client?.end().catch(() => {})
  }
}

async function hasNoOther(client: pg.Client): Promise<boolean> {
  const others = await client.query(
    `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '${PRESENCE} %' AND pid <> pg_backend_pid() LIMIT 1`,
  )
  return others.rowCount === 0
}
