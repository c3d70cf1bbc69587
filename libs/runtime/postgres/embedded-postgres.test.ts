import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { access, chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { type EmbeddedPostgres, openEmbeddedPostgres } from './embedded-postgres.js'
import { isServing, readPostmaster } from './postmaster.js'

const isRoot = process.getuid?.() === 0
const log = () => {}
let top: string
let home: string
const running: ChildProcess[] = []

/** A home that was used before: initdb takes most of a test's time. */
let used: string

beforeAll(async () => {
  used = await mkdtemp('/tmp/firn-used-')
  await chmod(used, 0o711)
  await (await openEmbeddedPostgres({ home: join(used, 'home'), log, durable: false })).close()
})

afterAll(() => rm(used, { recursive: true, force: true }))

function takeUsed(at = home): void {
  spawnSync('cp', ['-a', join(used, 'home'), at])
}

beforeEach(async () => {
  top = await mkdtemp('/tmp/firn-embedded-')
  await chmod(top, 0o711)
  home = join(top, 'home')
})

afterEach(async () => {
  for (const child of running.splice(0)) child.kill('SIGKILL')
  for (const postgres of opened.splice(0)) await postgres.close()
  await stopLeftOver(home)
  await rm(top, { recursive: true, force: true })
})

const opened: EmbeddedPostgres[] = []

async function open(at = home, durable = false): Promise<EmbeddedPostgres> {
  const postgres = await openEmbeddedPostgres({ home: at, log, durable })
  opened.push(postgres)
  return postgres
}

async function stopLeftOver(at: string): Promise<void> {
  const pid = await serverOf(at)
  if (pid === undefined) return
  process.kill(pid, 'SIGKILL')
  while (await isServing(pid, join(at, 'postgres/data'))) await sleep(5)
}

/** The pid of the server that runs for a home. */
async function serverOf(at: string): Promise<number | undefined> {
  const data = join(at, 'postgres/data')
  const found = await readPostmaster(data)
  return found && (await isServing(found.pid, data)) ? found.pid : undefined
}

async function ask(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client(url)
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query({ text: sql, rowMode: 'array' })).rows.map((row: unknown[]) => row[0])
  } finally {
    await client.end()
  }
}

interface Command {
  readonly child: ChildProcess
  /** The first line: the URL, or `error <code>`. */
  readonly said: string
  leave(): Promise<void>
  kill(): Promise<void>
}

const PROGRAM = `
  import { openEmbeddedPostgres } from ${JSON.stringify(new URL('./embedded-postgres.js', import.meta.url).href)}
  const [home, uid] = process.argv.slice(1)
  if (uid) { process.setgroups([]); process.setgid(Number(uid)); process.setuid(Number(uid)) }
  try {
    const postgres = await openEmbeddedPostgres({ home, log() {}, durable: false })
    console.log(postgres.url)
    process.stdin.resume().once('end', async () => { await postgres.close(); process.exit(0) })
  } catch (error) { console.log('error', error.code, error.message) }
`

/** Another command, in a process (and a process group) of its own. */
async function command(at = home, uid?: number): Promise<Command> {
  const args = ['--input-type=module', '-e', PROGRAM, at, ...(uid === undefined ? [] : [String(uid)])]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true })
  running.push(child)
  const ended = once(child, 'exit')
  const silent = ended.then(() => ['error: it ended without a word'])
  const [said] = (await Promise.race([once(createInterface(child.stdout!), 'line'), silent])) as [string]
  return {
    child,
    said,
    leave: async () => {
      child.stdin!.end()
      await ended
    },
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

describe('the embedded database', () => {
  test('is started by the first one in, joined by others, and stopped by the last one out', async () => {
    const first = await open()
    expect(await ask(first.url, `SELECT current_database() || ' ' || current_user`)).toEqual(['firn firn'])
    expect(await ask(first.url, 'SHOW server_encoding')).toEqual(['UTF8'])
    const second = await open()
    expect(second.url).toBe(first.url)
    await first.close()
    expect(await ask(second.url, 'SELECT 1')).toEqual([1])
    await second.close()
    expect(await serverOf(home)).toBeUndefined()
  })

  test('keeps what was written from one start to the next', async () => {
    takeUsed()
    {
      await using postgres = await open()
      await ask(postgres.url, 'CREATE TABLE t AS SELECT 7 AS n')
    }
    await using postgres = await open()
    expect(await ask(postgres.url, 'SELECT n FROM t')).toEqual([7])
  })

  test('serves commands that come at once to a home that is not there yet', async () => {
    const commands = await Promise.all([command(), command(), command()])
    expect(new Set(commands.map(({ said }) => said)).size).toBe(1)
    expect(commands[0]?.said).toMatch(/^postgresql:/)
    await Promise.all(commands.map((each) => each.leave()))
    expect(await serverOf(home)).toBeUndefined()
    expect(await readdir(join(home, 'postgres'))).not.toContainEqual(expect.stringContaining('.new'))
  })

  test('outlives ^C and kill -9 of the command that started it, and is stopped by the next one', async () => {
    takeUsed()
    const starter = await command()
    const joined = await open()
    process.kill(-starter.child.pid!, 'SIGINT')
    await once(starter.child, 'exit')
    expect(await ask(joined.url, 'SELECT 1')).toEqual([1])
    await joined.close()
    expect(await serverOf(home)).toBeUndefined()

    const killed = await command()
    await killed.kill()
    const server = await serverOf(home)
    expect(server).toBeDefined()
    const next = await open()
    expect(await serverOf(home)).toBe(server)
    await next.close()
    expect(await serverOf(home)).toBeUndefined()
  })

  test('starts again after it was killed, with its files left behind, also for a command that is in the middle of its work', async () => {
    takeUsed()
    const worker = await open(home, true)
    await ask(worker.url, 'CREATE TABLE t AS SELECT 7 AS n')
    process.kill((await serverOf(home))!, 'SIGKILL')
    const next = await open()
    expect(next.url).toBe(worker.url)
    expect(await ask(next.url, 'SELECT n FROM t')).toEqual([7])
    while ((await ask(next.url, `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'firn presence %'`)).length < 2)
      await sleep(20)
    await next.close()
    expect(await ask(worker.url, 'SELECT n FROM t')).toEqual([7])
    await worker.close()
    expect(await serverOf(home)).toBeUndefined()
  })

  test('starts although the number of its dead process belongs to another process by now', async () => {
    takeUsed()
    const data = join(home, 'postgres/data')
    const socket = join(home, 'postgres/run')
    await writeFile(join(data, 'postmaster.pid'), `${process.pid}\n${data}\n1\n5432\n${socket}\n\n1 1\nready   \n`)
    await using postgres = await open()
    expect(await ask(postgres.url, 'SELECT 1')).toEqual([1])
  })

  test('joins a server of another container that shares the home, and leaves it running', async () => {
    takeUsed()
    const there = await command()
    const startedBy = join(home, 'postgres/started-by')
    const [machine, boot, , pid, start] = (await readFile(startedBy, 'utf8')).split('/')
    await writeFile(startedBy, [machine, boot, 'another', pid, start].join('/'))
    const here = await open()
    expect(here.url).toBe(there.said)
    await there.kill()
    await here.close()
    expect(await serverOf(home)).toBeDefined()
  })

  test('starts when such a server is gone', async () => {
    takeUsed()
    const data = join(home, 'postgres/data')
    await writeFile(join(data, 'postmaster.pid'), `2\n${data}\n1\n5432\n${join(home, 'postgres/run')}\n\n1 1\nready   \n`)
    await writeFile(join(home, 'postgres/started-by'), 'another/boot/1/2/3')
    await using postgres = await open()
    expect(await ask(postgres.url, 'SELECT 1')).toEqual([1])
  })

  test('starts after an initdb that was killed in the middle', async () => {
    await mkdir(join(home, 'postgres/data.new-1/base'), { recursive: true })
    await chmod(home, 0o711)
    await chmod(join(home, 'postgres'), 0o711)
    await writeFile(join(home, 'postgres/data.new-1/PG_VERSION'), '18\n')
    await using postgres = await open()
    expect(await ask(postgres.url, 'SELECT 1')).toEqual([1])
    expect(await readdir(join(home, 'postgres'))).not.toContain('data.new-1')
  })

  test('works in a home whose path is too long for a socket, and leaves no directory elsewhere', async () => {
    const long = join(top, 'x'.repeat(150))
    const postgres = await open(long)
    try {
      expect(await ask(postgres.url, 'SELECT 1')).toEqual([1])
      const other = await open(long)
      expect(other.url).toBe(postgres.url)
      await other.close()
    } finally {
      await postgres.close()
    }
    await expect(access(new URL(postgres.url).searchParams.get('host')!)).rejects.toThrow()
    const again = await open(long)
    await again.close()
    expect(again.url).toBe(postgres.url)
  })

  test('comes back when somebody tidied up its socket directory', async () => {
    const long = join(top, 'x'.repeat(150))
    takeUsed(long)
    const starter = await command(long)
    await starter.kill()
    await rm(new URL(starter.said).searchParams.get('host')!, { recursive: true })
    const next = await open(long)
    expect(await ask(next.url, 'SELECT 1')).toEqual([1])
    await next.close()
    expect(await serverOf(long)).toBeUndefined()
  })

  test('refuses data of another version of Postgres, and data that are none, in one sentence', async () => {
    takeUsed()
    const version = join(home, 'postgres/data/PG_VERSION')
    const right = await readFile(version)
    await writeFile(version, '15\n')
    await expect(open()).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('made by Postgres 15') })
    await rm(version)
    await expect(open()).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('no database') })
    await writeFile(version, right)
  })

  test('says in one sentence why it cannot be made', async () => {
    await mkdir(join(home, 'postgres/data'), { recursive: true, mode: 0o755 })
    await expect(open()).rejects.toMatchObject({ code: 'usage' })
    await rm(home, { recursive: true })
    await writeFile(home, 'a file')
    await expect(open()).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/^FIRN_HOME .* is not a directory/),
    })
  })

  test('says in one sentence why it does not start', async () => {
    takeUsed()
    await writeFile(join(home, 'postgres/data/global/pg_control'), 'nonsense')
    await expect(open()).rejects.toMatchObject({
      code: 'database',
      message: expect.stringMatching(/does not start: .*\. Its log is/),
    })
  })

  test('shows its data to nobody else', async () => {
    takeUsed()
    await using _ = await open()
    const modeOf = async (path: string) => (await stat(join(home, path))).mode & 0o777
    expect(await modeOf('')).toBe(isRoot ? 0o711 : 0o700)
    expect(await modeOf('postgres/data')).toBe(0o700)
    expect(await modeOf('postgres/run')).toBe(0o700)
  })
})

/** Uid and gid of an ordinary user that every machine has. */
const NOBODY = [65_534, 65_534] as const

const asRoot = isRoot ? test : test.skip

/** Of tests that run a command as an ordinary user: below /root the project itself is closed to everybody else. */
function asOrdinaryUser(name: string, run: () => Promise<void>): void {
  const here = fileURLToPath(import.meta.url)
  const [uid, gid] = NOBODY
  if (!isRoot) test.skip(`${name} (skipped: only root can become another user)`, run)
  else if (spawnSync('test', ['-r', here], { uid, gid }).status === 0) test(name, run)
  else test.skip(`${name} (skipped: an ordinary user cannot reach ${here})`, run)
}

describe('the embedded database of root', () => {
  asRoot('belongs to a user of its own', async () => {
    await using _ = await open()
    expect((await stat(join(home, 'postgres/data'))).uid).not.toBe(0)
  })

  asRoot('refuses a home that this user cannot reach, in one sentence', async () => {
    await chmod(top, 0o700)
    await expect(open()).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/cannot be reached by .*choose one/),
    })
  })

  asRoot('refuses it also where it could be reached the last time, and starts when it can be again', async () => {
    await (await open()).close()
    await chmod(top, 0o700)
    await expect(open()).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/cannot be reached by/) })
    await chmod(top, 0o755)
    await using postgres = await open()
    expect(await ask(postgres.url, 'SELECT 1')).toEqual([1])
  })

  asRoot(
    'finds its programs again where they lay when it started last, and elsewhere when they are gone from there',
    async () => {
      await (await open()).close()
      const note = join(home, 'postgres/programs')
      const place = await readFile(note, 'utf8')
      await writeFile(note, join(top, 'gone'))
      await (await open()).close()
      expect(await readFile(note, 'utf8')).toBe(place)
    },
  )

  asRoot('is refused in a home of another user, or one that others may write, with what to do', async () => {
    await mkdir(home, { mode: 0o755 })
    for (const uid of [NOBODY[0], 54_321]) {
      await chown(home, uid, uid)
      const message = expect.stringMatching(new RegExp(`belongs to another user \\(${uid}\\).*sudo -u '#${uid}'.*/var/lib/firn`))
      await expect(open()).rejects.toMatchObject({ code: 'usage', message })
    }
    await chown(home, 0, 0)
    await chmod(home, 0o777)
    await expect(open()).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/can be written by other users/) })
    expect(await readdir(home)).toEqual([])
    // The home itself may be sticky; what another user made in it first is refused.
    await chmod(home, 0o1777)
    await mkdir(join(home, 'postgres'))
    await chown(join(home, 'postgres'), ...NOBODY)
    await expect(open()).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/postgres belongs to another user/),
    })
  })
})

describe('what others write into a home', () => {
  test('a symlink in the place of a file of ours is not followed', async () => {
    takeUsed()
    const victim = join(top, 'victim')
    await writeFile(victim, 'mine', { mode: 0o600 })
    for (const name of ['lock', 'log', 'started-by']) {
      await rm(join(home, 'postgres', name), { force: true })
      await symlink(victim, join(home, 'postgres', name))
      await expect(open()).rejects.toThrow()
      await rm(join(home, 'postgres', name))
    }
    expect(await readFile(victim, 'utf8')).toBe('mine')
    expect((await stat(victim)).uid).toBe(process.getuid?.())
  })

  test('nothing is removed, and nothing connected to, where postmaster.pid says', async () => {
    takeUsed()
    const victim = join(top, 'victim')
    await mkdir(victim)
    for (const name of ['.s.PGSQL.5432', '.s.PGSQL.5432.lock', 'kept']) await writeFile(join(victim, name), '')
    // A process that has ended, and one that serves here.
    const pid = join(home, 'postgres/data/postmaster.pid')
    const tampered = (text: string) => text.split('\n').with(4, victim).join('\n')
    await writeFile(pid, tampered('999999999\n\n\n5432\n\n\n\nready\n'))
    const postgres = await open()
    await writeFile(pid, tampered(await readFile(pid, 'utf8')))
    expect(await ask((await open()).url, 'SELECT 1')).toEqual([1])
    for (const one of opened.splice(0).reverse()) await one.close()
    expect(postgres.url).not.toContain('victim')
    expect(await readdir(victim)).toHaveLength(3)
  })

  test('a socket directory is removed only if its name and its owner are right, and only what Postgres puts there', async () => {
    const long = join(top, 'x'.repeat(150))
    takeUsed(long)
    const victim = await mkdtemp('/tmp/firn-')
    try {
      await writeFile(join(victim, 'kept'), '')
      await writeFile(join(long, 'postgres/socket-directory'), join(top, 'anywhere'))
      await (await open(long)).close()
      await writeFile(join(long, 'postgres/socket-directory'), victim)
      await (await open(long)).close()
      expect(await readdir(victim)).toEqual(['kept'])
    } finally {
      await rm(victim, { recursive: true })
    }
  })

  asRoot('what is left of an unfinished cluster is removed as its owner, who may put symlinks into it', async () => {
    takeUsed()
    const victim = join(top, 'victim')
    await mkdir(victim)
    await writeFile(join(victim, 'kept'), '')
    const unfinished = join(home, 'postgres/data.new-1')
    await mkdir(join(unfinished, 'base'), { recursive: true })
    await symlink(victim, join(unfinished, 'base/link'))
    const { uid, gid } = await stat(join(home, 'postgres/data'))
    for (const path of ['', 'base']) await chown(join(unfinished, path), uid, gid)
    await (await open()).close()
    await expect(access(unfinished)).rejects.toThrow()
    expect(await readdir(victim)).toEqual(['kept'])
  })
})

describe('the embedded database of an ordinary user', () => {
  asOrdinaryUser('is his own, and other users are refused, root too', async () => {
    await mkdir(home, { mode: 0o755 })
    await chown(home, ...NOBODY)
    const his = await command(home, NOBODY[0])
    expect(his.said).toMatch(/^postgresql:/)
    const stranger = await command(home, 1)
    expect(stranger.said).toMatch(/^error usage/)
    await expect(open()).rejects.toMatchObject({ code: 'usage' })
    await his.leave()
    expect((await stat(join(home, 'postgres/data'))).uid).toBe(NOBODY[0])
    expect(await serverOf(home)).toBeUndefined()
  })
})
