/**
 * Whether a path can be trusted against other users of the machine. One rule: every directory from `/` down belongs to root or to the
 * user who runs the command, and nobody else may write to it, unless it is sticky (then others may add names, but not remove or rename
 * ours). Where that holds, no other user can exchange a directory for a symlink between our look at it and our use of it.
 */
import { type BigIntStats, lstatSync, readFileSync, readlinkSync, type Stats } from 'node:fs'
import { joinRaw, parentOf, type Raw, rawFromBytes, rawToBytes, shown } from './raw.js'

/** As many symlinks as Linux follows in one path. */
const MOST_SYMLINKS = 40

export interface TrustedPath {
  /** Without symlinks. */
  readonly path: Raw
  /** Of what is there; undefined if nothing is, which then is said of the first part that is missing. */
  readonly stat: Stats | undefined
}

/** Why a path cannot be trusted, as the rest of a sentence. */
export class NotTrusted extends Error {}

/**
 * Follows an absolute path and judges all that lies on the way, symlinks too. `make`: called for a directory that is missing, which is
 * there afterwards; without it the way ends there. Throws NotTrusted; what the system says otherwise is thrown as it is.
 */
export function followTrusted(asked: Raw, make?: (path: Raw) => void): TrustedPath {
  const ahead = asked.split('/').reverse()
  let path = '/' as Raw
  let symlinks = 0
  let stat: Stats = judged(path, lstatSync('/'))
  while (ahead.length > 0) {
    const name = ahead.pop() as Raw
    if (name === '' || name === '.') continue
    if (!stat.isDirectory()) throw new NotTrusted(`${shown(path)} is not a directory`)
    const next = name === '..' ? parentOf(path) : joinRaw(path, name)
    let found = lstatSync(rawToBytes(next), { throwIfNoEntry: false })
    if (found === undefined) {
      if (make === undefined) return { path: next, stat: undefined }
      make(next)
      found = lstatSync(rawToBytes(next), { throwIfNoEntry: false })
      if (found === undefined) throw new NotTrusted(`${shown(next)} vanished`)
    }
    if (found.isSymbolicLink()) {
      // Its directory was judged: nobody but its owner can exchange it, and its owner must be one we trust.
      if (!isOurs(found)) throw new NotTrusted(`${shown(next)} is a symlink that belongs to another user (${found.uid})`)
      if (++symlinks > MOST_SYMLINKS) throw new NotTrusted('its symlinks lead in a circle')
      const link = rawFromBytes(readlinkSync(rawToBytes(next), { encoding: 'buffer' }))
      ahead.push(...link.split('/').reverse())
      if (link.startsWith('/')) {
        path = '/' as Raw
        stat = lstatSync('/')
      }
      continue
    }
    stat = judged(next, found)
    path = next
  }
  return { path, stat }
}

function judged(path: Raw, stat: Stats): Stats {
  const why = whyNotTrusted(stat)
  if (why !== undefined) throw new NotTrusted(`${shown(path)} ${why}`)
  return stat
}

/** Why a file or directory cannot be trusted; undefined if it can. */
export function whyNotTrusted(stat: Stats | BigIntStats): string | undefined {
  if (!isOurs(stat)) return `belongs to another user (${stat.uid})`
  const mode = Number(stat.mode)
  if ((mode & 0o1000) !== 0 && stat.isDirectory()) return undefined
  const othersMayWrite = (mode & 0o002) !== 0 || ((mode & 0o020) !== 0 && !isPrivateGroup(Number(stat.gid)))
  return othersMayWrite ? 'can be written by other users' : undefined
}

/** Whether something belongs to root or to us. */
export const isOurs = (stat: Stats | BigIntStats): boolean => Number(stat.uid) === 0 || isMine(stat)

export const isMine = (stat: Stats | BigIntStats): boolean => Number(stat.uid) === process.geteuid?.()

/**
 * Whether nobody but us and root is in a group: many systems give each user such a group, and a umask of 002. What the files of the machine
 * do not say (directory services) is not believed.
 */
function isPrivateGroup(gid: number): boolean {
  const uid = process.geteuid?.()
  const users = linesOf('/etc/passwd').map(([name, , id, group]) => ({ name, uid: Number(id), gid: Number(group) }))
  const isUs = (user: { uid: number } | undefined) => user !== undefined && (user.uid === uid || user.uid === 0)
  const group = linesOf('/etc/group').find(([, , id]) => Number(id) === gid)
  const members = (group?.[3] ?? '').split(',').filter((name) => name !== '')
  return (
    group !== undefined &&
    users.filter((user) => user.gid === gid).every(isUs) &&
    members.every((member) => isUs(users.find(({ name }) => name === member)))
  )
}

function linesOf(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(':'))
  } catch {
    return []
  }
}
