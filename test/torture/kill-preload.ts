/**
 * Preloaded into Firn's commands (`NODE_OPTIONS=--import`), also into their threads: writes each step down that the process reaches
 * (TORTURE_STEPS), and kills the process with SIGKILL in the n-th of a name (TORTURE_KILL=`vault.put:before#2`), or stops it there with
 * SIGSTOP (TORTURE_STOP).
 */
import { channel } from 'node:diagnostics_channel'
import { appendFileSync } from 'node:fs'
import { STEPS } from '#libs/os/steps.js'

const { TORTURE_STEPS: log, TORTURE_KILL: kill, TORTURE_STOP: stop } = process.env
const [point, time = '1'] = (kill ?? stop)?.split('#') ?? []
let seen = 0

if (log !== undefined || point !== undefined) {
  channel(STEPS).subscribe((name) => {
    if (log !== undefined) appendFileSync(log, `${name}\n`)
    if (name !== point || ++seen !== Number(time)) return
    if (kill === undefined) {
      process.kill(process.pid, 'SIGSTOP')
      return
    }
    process.kill(process.pid, 'SIGKILL')
    // The signal is for the whole process; this thread does nothing more.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })
}
