/** Makes the data directory: in a temporary one, renamed when it is whole, so that an initdb that was killed in the middle leaves no trace. */
import { chown, lstat, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { reasonOf } from '../home.js'
import type { Binaries } from './binaries.js'
import { mayNotSwitchUser, nameless, wrongLibrary } from './cannot-run.js'
import { readKept } from './kept-file.js'
import type { Owner } from './owner.js'
import { run } from './run.js'

const UNFINISHED = 'data.new-'

/** Called under the lock, with no server running. */
export async function initCluster(directory: string, binaries: Binaries, owner: Owner, durable: boolean): Promise<void> {
  const data = join(directory, 'data')
  for (const name of await readdir(directory)) {
    if (name.startsWith(UNFINISHED)) await removeCluster(join(directory, name), owner)
  }
  if (await versionIsRight(data, binaries)) return

  const unfinished = join(directory, `${UNFINISHED}${process.pid}`)
  try {
    await mkdir(unfinished, { mode: 0o700 })
    if (owner.as.uid !== undefined) await chown(unfinished, owner.uid, owner.gid)
    const args = ['-D', unfinished, '-U', 'firn', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-instructions']
    const made = await run(binaries.initdb, durable ? args : [...args, '--no-sync'], owner.as)
    if (made.code !== 0) throw initdbFailed(directory, made.code, made.stderr)
    await rename(unfinished, data)
    await flush(directory)
  } catch (error) {
    await removeCluster(unfinished, owner)
    if (error instanceof FirnError) throw error
    throw new FirnError('database', `The database cannot be made in ${directory}: ${reasonOf(error)}.`, { cause: error })
  }
}

/** What lies in it is removed as its owner, who may exchange a directory in it for a symlink meanwhile. */
async function removeCluster(path: string, { as }: Owner): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found?.uid === process.getuid?.()) return rm(path, { recursive: true, force: true, maxRetries: 20 })
  await run('rm', ['-rf', '--', path], as)
  await rmdir(path).catch(() => {})
}

/** False where there is no data directory yet. */
async function versionIsRight(data: string, binaries: Binaries): Promise<boolean> {
  const version = (await readKept(join(data, 'PG_VERSION'))).trim()
  if (version === binaries.major) return true
  if (/^\d+(\.\d+)?$/.test(version)) {
    throw new FirnError(
      'usage',
      `The database in ${data} was made by Postgres ${version}, and this Firn brings Postgres ${binaries.major}: ` +
        'run the Firn that made it, or move the directory away and run `firn rebuild-catalog` for each vault.',
    )
  }
  const names = await readdir(data).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (names === undefined) return false
  throw new FirnError('usage', `${data} is no database (it has no PG_VERSION): move it away.`)
}

function initdbFailed(directory: string, code: number | string, stderr: string): FirnError {
  if (code === 'ENOENT') return wrongLibrary()
  if (code === 'EPERM' || code === 'EINVAL') return mayNotSwitchUser()
  if (!hasName()) return nameless()
  const lines = stderr.split('\n')
  const reason =
    lines.find((line) => /(^initdb: error|FATAL|PANIC|ERROR):/.test(line)) ??
    lines.find((line) => line !== '') ??
    `it ended with ${code}`
  return new FirnError('database', `The database cannot be made in ${directory}: ${withoutPrefix(reason)}.`)
}

function hasName(): boolean {
  try {
    return userInfo().username !== ''
  } catch {
    return false
  }
}

/** `initdb: error: could not ...` and `2026-11-21 04:50:45.123 UTC [7] FATAL:  could not ...` to `could not ...`. */
export const withoutPrefix = (line: string): string =>
  line.replace(/^.*?(error|FATAL|PANIC|ERROR):\s*|^initdb:\s*/, '').replace(/\.$/, '')

async function flush(directory: string): Promise<void> {
  const handle = await open(directory)
  await handle.sync().finally(() => handle.close())
}
