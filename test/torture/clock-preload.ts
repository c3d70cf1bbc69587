/**
 * Preloaded into Firn's commands, also into their threads: their clock is off by so many milliseconds as stand in the file TORTURE_CLOCK,
 * which may change at any time. With TORTURE_CLOCK_AT=`vault.put:after` the clock makes a step of TORTURE_CLOCK_MS when that is reached.
 */
import { channel } from 'node:diagnostics_channel'
import { readFileSync, writeFileSync } from 'node:fs'
import { STEPS } from '#libs/os/steps.js'
import { shiftDate } from '../shifted-date.js'

const { TORTURE_CLOCK: file, TORTURE_CLOCK_AT: at, TORTURE_CLOCK_MS: stepMs } = process.env

/** How long what was read is good for. */
const GOOD_MS = 20

if (file !== undefined) {
  let offset = 0
  let readAt = Number.NEGATIVE_INFINITY
  shiftDate(() => {
    const now = performance.now()
    if (now - readAt > GOOD_MS) {
      readAt = now
      try {
        offset = Number(readFileSync(file, 'utf8'))
      } catch {
        offset = 0
      }
    }
    return offset
  })
  if (at !== undefined && stepMs !== undefined) {
    let stepped = false
    channel(STEPS).subscribe((name) => {
      if (name !== at || stepped) return
      stepped = true
      writeFileSync(file, stepMs)
    })
  }
}
