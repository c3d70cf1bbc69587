/**
 * Preloaded into `archive-files` (`NODE_OPTIONS=--import`), also into its threads: in the n-th of a trace point (TORTURE_RACE_AT, such as
 * `walk:listed#3`) the owner of the tree exchanges two entries (TORTURE_EXCHANGE, separated by a colon). Written down in TORTURE_RACE_LOG.
 */
import { channel } from 'node:diagnostics_channel'
import { appendFileSync, renameSync } from 'node:fs'
import { STEPS } from '#libs/os/steps.js'

const { TORTURE_RACE_AT: at, TORTURE_EXCHANGE: exchange, TORTURE_RACE_LOG: log } = process.env
const [point, time] = at?.split('#') ?? []
const [one, other] = exchange?.split(':') ?? []
let seen = 0

if (point !== undefined && one !== undefined && other !== undefined && log !== undefined) {
  channel(STEPS).subscribe((name) => {
    if (name !== point || ++seen !== Number(time)) return
    renameSync(one, `${one}.aside`)
    renameSync(other, one)
    renameSync(`${one}.aside`, other)
    appendFileSync(log, 'exchanged\n')
  })
}
