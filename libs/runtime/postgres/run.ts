/** Runs a short program of the database to its end, in a session of its own so that ^C does not cut it in the middle. */
import { spawn } from 'node:child_process'

export interface Ran {
  /** The exit code, the signal that ended it, or the code of the system error that kept it from starting. */
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

export function run(program: string, args: readonly string[], as: { uid?: number; gid?: number } = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { ...as, cwd: '/', env: PROGRAM_ENV, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
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

/** Nothing of the caller's: PGOPTIONS, PGDATA, LANG and LD_PRELOAD would change what the database is. */
export const PROGRAM_ENV = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin', LC_ALL: 'C' }
