/**
 * Who the data belong to and Postgres runs as. An ordinary user: himself. Root: Postgres refuses root, so it is the owner of what is
 * there already, or else a system user made for it.
 */
import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { run } from './run.js'

export interface Owner {
  readonly uid: number
  readonly gid: number
  /** For sentences. */
  readonly name: string
  /** What `spawn` needs to run a program as the owner; empty where that is us. */
  readonly as: { readonly uid?: number; readonly gid?: number }
}

/** `data` need not exist. */
export async function findOwner(data: string): Promise<Owner> {
  const uid = process.getuid?.()
  const gid = process.getgid?.()
  if (uid === undefined || gid === undefined) {
    throw new FirnError(
      'usage',
      `The embedded database does not run on ${process.platform}; set FIRN_DATABASE_URL to a Postgres server.`,
    )
  }
  const there = await stat(data).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw new FirnError('usage', `${data} cannot be read by this user.`, { cause: error })
    return undefined
  })
  if (uid !== 0) {
    if (there && there.uid !== uid) {
      throw new FirnError(
        'usage',
        `${data} belongs to user ${there.uid}: run the command as that user, or choose another FIRN_HOME.`,
      )
    }
    return { uid, gid, name: `user ${uid}`, as: {} }
  }
  // Where a container was made anew, names may be missing: the number counts.
  if (there?.uid === 0)
    throw new FirnError('usage', `${data} belongs to root, as whom Postgres refuses to run: chown -R it to ${USER}.`)
  if (there) return ownerOf(there.uid, there.gid, `user ${there.uid}`)
  return systemUser()
}

const ownerOf = (uid: number, gid: number, name: string): Owner => ({ uid, gid, name, as: { uid, gid } })

const USER = 'firn-postgres'

/** Two commands may come here at once, and two machines with one FIRN_HOME: whoever finds the user made uses it. */
async function systemUser(): Promise<Owner> {
  let complaint = 'neither useradd nor adduser is there'
  for (let attempt = 0; attempt < 20; attempt++) {
    const found = await lookUp()
    if (found) return found
    for (const [program, ...args] of MAKERS) {
      const made = await run(program, args)
      if (made.code === 0) break
      if (made.code !== 'ENOENT') complaint = lastLine(made.stderr) ?? `${program} ended with ${made.code}`
    }
    const now = await lookUp()
    if (now) return now
    if (complaint.startsWith('neither')) break
    await sleep(100) // useradd gives up at once when another process holds its lock
  }
  throw new FirnError(
    'usage',
    `The embedded database needs the system user ${USER}, because Postgres refuses to run as root, and it cannot be made (${complaint}): ` +
      'make it, run as an ordinary user, or set FIRN_DATABASE_URL.',
  )
}

const MAKERS: readonly (readonly [string, ...string[]])[] = [
  ['useradd', '--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin', USER],
  ['adduser', '-S', '-D', '-H', '-h', '/nonexistent', '-s', '/sbin/nologin', USER], // BusyBox
]

async function lookUp(): Promise<Owner | undefined> {
  const uid = await run('id', ['-u', USER])
  const gid = await run('id', ['-g', USER])
  if (uid.code !== 0 || gid.code !== 0) return undefined
  return ownerOf(Number(uid.stdout), Number(gid.stdout), USER)
}

const lastLine = (text: string): string | undefined => text.trim().split('\n').at(-1) || undefined
