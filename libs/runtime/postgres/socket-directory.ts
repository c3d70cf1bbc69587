/**
 * Where the server's socket lies. The path of a socket ends at 103 bytes (macOS; 107 on Linux), so a long FIRN_HOME needs a short
 * directory elsewhere: made under a fresh name, owned by the server's user, closed to all others, and written down in the home.
 */
import { chmod, chown, lstat, mkdir, mkdtemp, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { TreeAccess } from '#libs/os/tree-access.js'
import { readKept, writeKept } from './kept-file.js'
import type { Owner } from './owner.js'

const LONGEST = 103 - '/.s.PGSQL.5432'.length

const NOTE = 'socket-directory'

/** What `makeShort` makes. */
const SHORT = /^\/(?:run|tmp|var\/tmp)\/firn-[A-Za-z0-9]{6}$/

/** What Postgres puts there, and nothing else. */
const NAMES = ['.s.PGSQL.5432', '.s.PGSQL.5432.lock']

/** Where the socket of a home is, or was; undefined before the first start. Only the home says so: see `readPostmaster`. */
export async function findSocketDirectory(directory: string): Promise<string | undefined> {
  const near = join(directory, 'run')
  if (Buffer.byteLength(near) <= LONGEST) return near
  const noted = await readKept(join(directory, NOTE))
  return SHORT.test(noted) ? noted : undefined
}

/** Makes it or finds it again: a command that lives through a restart of the server keeps its URL. Called under the lock. */
export async function openSocketDirectory(directory: string, owner: Owner): Promise<string> {
  const found = await findSocketDirectory(directory)
  if (found !== undefined) {
    await claim(found, owner).catch(() => undefined)
    if (await isOurs(found, owner)) return found
    if (found === join(directory, 'run'))
      throw new FirnError('usage', `${found} is not a directory of ${owner.name} with mode 0700: remove it.`)
  }
  const made = await makeShort(owner)
  await writeKept(join(directory, NOTE), made)
  return made
}

/**
 * What a server left there that was killed, or that stopped. What is in /tmp or /run shall not stay when nobody uses it; the name is taken
 * again at the next start if it is free.
 */
export async function closeSocketDirectory(directory: string, owner: Owner): Promise<void> {
  const used = await findSocketDirectory(directory)
  if (used === undefined || !(await isOurs(used, owner))) return
  // Its owner may exchange it for a symlink: names are removed in the directory that was opened.
  using tree = new TreeAccess([rawFromText(used)])
  for (const name of NAMES) {
    try {
      tree.unlink(rawFromText(join(used, name)))
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
    }
  }
  if (SHORT.test(used)) await rmdir(used).catch(() => {})
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
