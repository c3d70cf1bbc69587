/**
 * FIRN_HOME: where the embedded database, the default vault and the restored files lie. Only its owner may look inside; root's can be
 * passed through (not listed), because Postgres refuses to run as root and its user must reach the data below.
 */
import { chmod, mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { whyPathIsNotTrusted } from './trusted.js'

/**
 * Refuses a home that another user could use against the one who runs the command: he would read what lies there, put symlinks where files
 * are opened, and choose the programs that run. Root does not become the home's owner instead: it archives what only root may read.
 */
export function refuseHome(home: string, directory = home): void {
  const why = whyPathIsNotTrusted(directory)
  if (why === undefined) return
  const owner = /belongs to another user \((\d+)\)/.exec(why)?.[1]
  const advice = owner === undefined ? 'Take that right away (chmod go-w)' : `Run the command as that user (sudo -u '#${owner}')`
  throw new FirnError(
    'usage',
    `FIRN_HOME ${home} cannot be trusted: ${why}. ${advice}, or choose another FIRN_HOME${process.getuid?.() === 0 ? ', such as /var/lib/firn' : ''}.`,
  )
}

/** Makes the directory where it is not there yet; one that exists keeps its mode, except that root's becomes passable. */
export async function prepareHome(home: string): Promise<void> {
  const mode = process.getuid?.() === 0 ? 0o711 : 0o700
  refuseHome(home)
  try {
    const first = await mkdir(home, { recursive: true, mode })
    if (first !== undefined) await openParents(home, first, mode)
    const found = await stat(home)
    if (!found.isDirectory()) throw new FirnError('usage', `FIRN_HOME ${home} is not a directory.`)
    if (mode === 0o711 && found.uid === 0 && (found.mode & 0o011) !== 0o011) await chmod(home, found.mode | 0o011)
  } catch (error) {
    if (error instanceof FirnError) throw error
    throw new FirnError('usage', `FIRN_HOME ${home} cannot be used: ${reasonOf(error)}.`, { cause: error })
  }
}

/** A vault is made only below a directory that is there: the home of one that lies in it is made first. */
export async function prepareHomeOf(vaultUrl: string, home: string): Promise<void> {
  if (vaultUrl.startsWith(`local:${home}/`)) await prepareHome(home)
}

/** A strict umask must not close the directories on the way that we made ourselves. */
async function openParents(home: string, first: string, mode: number): Promise<void> {
  await chmod(home, mode)
  for (let parent = dirname(home); parent.length >= first.length; parent = dirname(parent)) await chmod(parent, 0o755)
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  ENOENT: 'it is not there and cannot be made',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the device',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a part of the path is not a directory',
  EEXIST: 'it is not a directory',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the path is too long',
}

/** What a system error says, in words that fit into a sentence. */
export function reasonOf(error: unknown): string {
  const reason = REASONS[errnoOf(error) ?? '']
  return reason ?? (error instanceof Error ? error.message : String(error))
}
