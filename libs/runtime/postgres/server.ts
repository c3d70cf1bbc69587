/** Starts the server in a session of its own, finds one that runs, and stops it. All of it is called under the home's lock. */
import { type FileHandle, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { FirnError } from '#libs/errors/errors.js'
import { thisOwner } from '#libs/os/owner.js'
import { reasonOf } from '../home.js'
import { findBinaries, rememberBinaries } from './binaries.js'
import { mayNotSwitchUser, wrongLibrary } from './cannot-run.js'
import { initCluster, withoutPrefix } from './init-cluster.js'
import { openKept, readKept, writeKept } from './kept-file.js'
import type { Owner } from './owner.js'
import { isServing, type Postmaster, readPostmaster } from './postmaster.js'
import { spawnAs } from './run.js'
import { serverSettings } from './settings.js'
import { closeSocketDirectory, findSocketDirectory, openSocketDirectory } from './socket-directory.js'

export interface ServerOptions {
  /** FIRN_HOME/postgres. */
  readonly directory: string
  readonly owner: Owner
  /** False: does not survive a power cut. For tests. */
  readonly durable: boolean
  readonly log: (text: string) => void
  /** Told when the server is on its way, or there: what takes a while to load had better be loaded now, and not before. */
  readonly onStarting?: () => void
}

/** A connection to Firn's database, after starting the server where it does not run, and making the database where it is not there. */
export async function connectOrStart(options: ServerOptions, applicationName: string): Promise<pg.Client> {
  const { directory, log } = options
  const data = join(directory, 'data')
  const recovering = sayLater(log, 'the database recovers from a crash; this may take some minutes')
  const began = performance.now()
  let trusting = true
  for (let starts = 0; ; ) {
    const found = await readPostmaster(data)
    const startedBy = await readStarter(directory)
    if (!found || (await isDead(found, data, startedBy))) {
      if (found) await forget(options, found)
      const failure = await start(options, trusting)
      if (failure === undefined) continue
      // What was found out when it started last may have changed: the place of its programs, or who may pass there.
      if (trusting) {
        trusting = false
        continue
      }
      // Processes of a server that was killed may need a moment to notice it; until then its memory is in use.
      if (++starts >= 40 || !failure.mayPass) throw failure.error
      await sleep(250)
      continue
    }
    options.onStarting?.()
    try {
      return await connect(await socketDirectoryOf(directory), applicationName)
    } catch (error) {
      const code = (error as { code?: unknown }).code
      const silent = code === 'ENOENT' || code === 'ECONNREFUSED'
      // A server that ends takes the connection, and hangs up before or after it is greeted.
      const hangsUp = code === 'ECONNRESET' || code === 'EPIPE'
      if (!silent && !hangsUp && code !== STARTING_OR_STOPPING) {
        throw new FirnError('database', `The embedded database refuses connections: ${reasonOf(error)}.`, { cause: error })
      }
      const silentMs = silent && found.status === 'ready' ? performance.now() - began : 0
      if (silentMs > 2_000 && canSignal(startedBy)) {
        log('its socket is gone; the server is started anew')
        await stopServer(options)
      } else if (silentMs > 5_000) {
        await refuseShared(data, startedBy)
        await forget(options, found)
      }
      recovering()
      await sleep(10)
    }
  }
}

/** A connection to a server that runs; throws where none does. */
export async function connectRunning(
  { directory }: Pick<ServerOptions, 'directory'>,
  applicationName: string,
): Promise<pg.Client> {
  return connect(await socketDirectoryOf(directory), applicationName)
}

const socketDirectoryOf = async (directory: string): Promise<string> => (await findSocketDirectory(directory)) ?? '/nowhere'

/** SQLSTATE cannot_connect_now. */
const STARTING_OR_STOPPING = '57P03'

/** SQLSTATE invalid_catalog_name. */
const NO_DATABASE = '3D000'

/**
 * To the database that all others will connect to, not to the server's own: the first connection to each, after a start, reads what the
 * later ones find read.
 */
async function connect(socketDirectory: string, applicationName: string): Promise<pg.Client> {
  try {
    return await connectTo(socketDirectory, DATABASE, applicationName)
  } catch (error) {
    if ((error as { code?: unknown }).code !== NO_DATABASE) throw error
  }
  const maker = await connectTo(socketDirectory, 'postgres', applicationName)
  try {
    await maker.query(`CREATE DATABASE ${DATABASE}`)
  } finally {
    await maker.end()
  }
  return connectTo(socketDirectory, DATABASE, applicationName)
}

async function connectTo(socketDirectory: string, database: string, applicationName: string): Promise<pg.Client> {
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: urlOf(socketDirectory, database), application_name: applicationName })
  client.on('error', () => {}) // 'end' tells it, too
  await client.connect()
  return client
}

const DATABASE = 'firn'

/** Of Firn's database. */
export const serverUrl = (socketDirectory: string): string => urlOf(socketDirectory, DATABASE)

/** ssl, port and options are said aloud: PGSSLMODE, PGPORT and PGOPTIONS in a user's environment must not count here. */
const urlOf = (socketDirectory: string, database: string): string =>
  `postgresql://firn@localhost:5432/${database}?host=${encodeURIComponent(socketDirectory)}&sslmode=disable&options=-cjit%3Doff`

/**
 * Disconnects everybody, writes the last checkpoint and ends (a "fast" stop). A server in another container that shares the home is left
 * to the commands there, or to the end of the container.
 */
export async function stopServer(options: Pick<ServerOptions, 'directory' | 'owner' | 'log'>): Promise<void> {
  const data = join(options.directory, 'data')
  const found = await readPostmaster(data)
  if (!found || !canSignal(await readStarter(options.directory)) || !(await isServing(found.pid, data))) return
  const slow = sayLater(options.log, 'the database writes its last checkpoint')
  process.kill(found.pid, 'SIGINT')
  while (await isServing(found.pid, data)) {
    slow()
    await sleep(5)
  }
  await closeSocketDirectory(options.directory, options.owner)
}

/** The process that started the server, as leases name it; empty in a home that nobody wrote it into. */
const readStarter = (directory: string): Promise<string> => readKept(join(directory, 'started-by'))

/** Of the two names: the same machine, the same boot, the same numbering of processes? */
function canSignal(startedBy: string): boolean {
  const world = (owner: string): string => owner.split('/').slice(0, 3).join('/')
  return startedBy === '' || world(startedBy) === world(thisOwner())
}

/** Where its number says nothing here (another container, another machine), only the socket can tell whether the server lives. */
async function isDead(found: Postmaster, data: string, startedBy: string): Promise<boolean> {
  if (canSignal(startedBy)) return !(await isServing(found.pid, data))
  const [machine, boot] = startedBy.split('/')
  const [thisMachine, thisBoot] = thisOwner().split('/')
  return machine === thisMachine && boot !== thisBoot
}

/** Network file systems, by the numbers in statfs(2): NFS, SMB, CIFS, SMB2, Lustre, Ceph, AFS, 9p. */
const SHARED: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x0bd00bd0, 0x00c36400, 0x5346414f, 0x01021997,
])

/** Two servers on the same data would destroy them, and over a network neither sees the other. */
async function refuseShared(data: string, startedBy: string): Promise<void> {
  const { type } = await statfs(data)
  if (!SHARED.has(type)) return
  throw new FirnError(
    'usage',
    `The database in ${data} lies on a network file system and may be running on another machine (${startedBy.split('/')[0]}). ` +
      'Give each machine a FIRN_HOME on a disk of its own; when no machine runs it, remove its postmaster.pid.',
  )
}

/** What a server that was killed, or lost its power, left behind. */
async function forget({ directory, owner }: ServerOptions, { pidFile }: Postmaster): Promise<void> {
  await rm(pidFile, { force: true })
  await closeSocketDirectory(directory, owner)
}

interface Failure {
  readonly error: FirnError
  readonly mayPass: boolean
}

/** Returns when the server has said `ready`, or why it did not. `trusting`: what was found out for the last start is not asked again. */
async function start(options: ServerOptions, trusting: boolean): Promise<Failure | undefined> {
  const { directory, owner, durable } = options
  const data = join(directory, 'data')
  const binaries = await findBinaries(directory, owner, trusting)
  await initCluster(directory, binaries, owner, durable)
  const socketDirectory = await openSocketDirectory(directory, owner)
  await writeKept(join(directory, 'started-by'), thisOwner())
  const log = await openLog(directory)
  try {
    const { size } = await log.stat()
    const args = ['-D', data, ...serverSettings(socketDirectory, durable)]
    const child = spawnAs(binaries.postgres, args, owner.as, ['ignore', log.fd, log.fd])
    if (typeof child === 'string') return failureOf(options, child, '')
    let end: number | string | undefined
    child.once('error', (error: NodeJS.ErrnoException) => {
      end = error.code ?? 'EUNKNOWN'
    })
    child.once('exit', (code, signal) => {
      end = code ?? signal ?? 'SIGKILL'
    })
    child.unref()
    options.onStarting?.()
    const recovering = sayLater(options.log, 'the database recovers from a crash; this may take some minutes')
    for (;;) {
      if (end !== undefined) return failureOf(options, end, await readFrom(log, size))
      const found = await readPostmaster(data)
      if (found?.pid === child.pid && found?.status === 'ready') {
        await rememberBinaries(directory, binaries)
        return undefined
      }
      recovering()
      await sleep(5)
    }
  } finally {
    await log.close()
  }
}

async function failureOf(options: ServerOptions, end: number | string, text: string): Promise<Failure> {
  if (end === 'ENOENT') return { error: wrongLibrary(), mayPass: false }
  if (end === 'EPERM' || end === 'EINVAL') return { error: mayNotSwitchUser(), mayPass: false }
  // Postgres ends with 1 for every reason and has only words for it.
  const lines = text.split('\n').filter((line) => /(FATAL|PANIC):/.test(line))
  // Its last words may name only what followed from it; and where there is no room, the log is cut off, or empty.
  const { bavail, ffree } = await statfs(options.directory)
  const full = bavail === 0 || ffree === 0 ? 'no space is left on the device' : undefined
  const device = /No space left on device|Disk quota exceeded|Read-only file system|Input\/output error/.exec(text)?.[0] ?? full
  const unsaid = device ?? `it ended with ${end}`
  const said = lines[0] === undefined ? unsaid : withoutPrefix(lines[0])
  const reason = device === undefined || said.includes(device) ? said : `${said} (${device})`
  const log = join(options.directory, 'log')
  return {
    error: new FirnError('database', `The embedded database does not start: ${reason}. Its log is ${log}.`),
    mayPass: /shared memory block|lock file/.test(reason),
  }
}

/** Beyond this the log of earlier runs becomes `log.1`. */
const LOG_BYTES = 1_000_000

async function openLog(directory: string): Promise<FileHandle> {
  const path = join(directory, 'log')
  const found = await stat(path).catch(() => undefined)
  if (found && found.size > LOG_BYTES) await rename(path, `${path}.1`)
  return openKept(path, 'a+')
}

async function readFrom(log: FileHandle, offset: number): Promise<string> {
  const { size } = await log.stat()
  const bytes = Buffer.alloc(Math.min(Math.max(size - offset, 0), 64 * 1024))
  await log.read(bytes, 0, bytes.length, offset)
  return bytes.toString()
}

/** What takes seconds for once is said once. */
function sayLater(log: (text: string) => void, text: string): () => void {
  const at = performance.now() + 5_000
  let said = false
  return () => {
    if (said || performance.now() < at) return
    said = true
    log(text)
  }
}
