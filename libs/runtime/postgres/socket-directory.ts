/**
 * Where the server's socket lies. The path of a socket ends at 103 bytes (macOS; 107 on Linux), so a long FIRN_HOME needs a short
 * directory elsewhere: made under a fresh name, owned by the server's user, closed to all others, and written down in the home.
 */
import { chmod, chown, lstat, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FirnError } from '#libs/errors/errors.js'
import { writeKept } from './kept-file.js'
import type { Owner } from './owner.js'

const LONGEST = 103 - '/.s.PGSQL.5432'.length

/** Makes it or finds it again: a command that lives through a restart of the server keeps its URL. Called under the lock. */
export async function openSocketDirectory(directory: string, owner: Owner): Promise<string> {
  const near = join(directory, 'run')
  if (Buffer.byteLength(near) <= LONGEST) {
    await claim(near, owner)
    if (!(await isOurs(near, owner)))
      throw new FirnError('usage', `${near} is not a directory of ${owner.name} with mode 0700: remove it.`)
    return near
  }
  const note = join(directory, 'socket-directory')
  const noted = await readFile(note, 'utf8').catch(() => '')
  if (noted.startsWith('/')) {
    await claim(noted, owner).catch(() => undefined)
    if (await isOurs(noted, owner)) return noted
  }
  const made = await makeShort(owner)
  await writeKept(note, made)
  return made
}

/** What lies in /tmp or /run shall not stay there when nobody uses it; the name is taken again at the next start if it is free. */
export async function closeSocketDirectory(directory: string, used: string): Promise<void> {
  if (used !== '' && used !== join(directory, 'run')) await rm(used, { recursive: true, force: true })
}

async function claim(path: string, owner: Owner): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw error
  }
  await give(path, owner)
}

async function give(path: string, owner: Owner): Promise<void> {
  await chmod(path, 0o700)
  if (owner.as.uid !== undefined) await chown(path, owner.uid, owner.gid)
}

/** Somebody else may have made a directory of that name meanwhile: what is not ours, or open to others, is not used. */
async function isOurs(path: string, owner: Owner): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined)
  return found?.isDirectory() === true && found.uid === owner.uid && (found.mode & 0o777) === 0o700
}

async function makeShort(owner: Owner): Promise<string> {
  let cause: unknown
  // /run first where we may: nothing tidies it up while the machine runs.
  for (const parent of ['/run', '/tmp', '/var/tmp']) {
    try {
      const made = await mkdtemp(`${parent}/firn-`)
      await give(made, owner)
      return made
    } catch (error) {
      cause = error
    }
  }
  throw new FirnError(
    'usage',
    'No short directory for the database socket can be made in /run, /tmp or /var/tmp: choose a shorter FIRN_HOME.',
    {
      cause,
    },
  )
}
