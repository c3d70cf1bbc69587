/** Runs a short program of the database to its end, in a session of its own so that ^C does not cut it in the middle. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { errnoOf } from '#libs/errors/errors.js'

export interface Ran {
  /** The exit code, the signal that ended it, or the code of the system error that kept it from starting. */
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

export function run(program: string, args: readonly string[], as: { uid?: number; gid?: number } = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawnAs(program, args, as, ['ignore', 'pipe', 'pipe'])
    if (typeof child === 'string') return resolve({ code: child, stdout: '', stderr: child })
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.once('error', (error: NodeJS.ErrnoException) =>
      resolve({ code: error.code ?? 'EUNKNOWN', stdout, stderr: error.message }),
    )
    child.once('close', (code, signal) => resolve({ code: code ?? signal ?? 'SIGKILL', stdout, stderr }))
  })
}

/** In a session of its own. The code of the error where this process may not do that: Node throws those instead of telling them later. */
export function spawnAs(
  program: string,
  args: readonly string[],
  as: { uid?: number; gid?: number },
  stdio: StdioOptions,
): ChildProcess | string {
  try {
    return spawn(program, args, { ...as, cwd: '/', env: PROGRAM_ENV, detached: true, stdio })
  } catch (error) {
    const code = errnoOf(error)
    if (code === undefined) throw error
    return code
  }
}

/** Nothing of the caller's: PGOPTIONS, PGDATA, LANG and LD_PRELOAD would change what the database is. */
const PROGRAM_ENV = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin', LC_ALL: 'C' }
