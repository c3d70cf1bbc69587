/**
 * The server process as its data directory tells of it: `postmaster.pid`, which Postgres writes, keeps current and removes. The user that
 * Postgres runs as may write into it what he likes: nothing in it says where something is to be opened or removed.
 */
import { readlink, realpath } from 'node:fs/promises'
import { readKept } from './kept-file.js'
import { run } from './run.js'

export interface Postmaster {
  readonly pidFile: string
  readonly pid: number
  /** `starting`, `ready`, `stopping` ... */
  readonly status: string
}

/** What the file says; whether that process lives is another question. */
export async function readPostmaster(data: string): Promise<Postmaster | undefined> {
  const pidFile = `${data}/postmaster.pid`
  const text = await readKept(pidFile)
  const lines = text.split('\n')
  const pid = Number(lines[0])
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined
  return { pidFile, pid, status: (lines[7] ?? '').trim() }
}

/**
 * Whether `pid` is a server of this data directory. After a power cut, and in containers always, the number may belong to somebody else
 * by now; Postgres itself would then refuse to start.
 */
export async function isServing(pid: number, data: string): Promise<boolean> {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  if (process.platform === 'linux') {
    // A server works in its data directory; of a process that has ended, waited for or not, the link cannot be read.
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => undefined)
    return cwd !== undefined && cwd === (await realpath(data).catch(() => data))
  }
  const listed = await run('ps', ['-o', 'comm=', '-p', String(pid)])
  return listed.stdout.includes('postgres')
}
