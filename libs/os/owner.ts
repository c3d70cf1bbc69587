/**
 * Who holds a lease: a process, named so that another process of the same machine can tell whether it is gone. A pid alone is not
 * enough: it is given again to another process, and every container has a pid 1 of its own.
 */

import { randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/** machine / boot / pid namespace / pid / start time / a random part where the rest is not known. */
let own: string | undefined

export function thisOwner(): string {
  own ??= [machine(), boot(), pidNamespace(), process.pid, startOf(process.pid) ?? randomBytes(6).toString('hex')].join('/')
  return own
}

/** True only if that process was of this machine and is no more; what cannot be known is not gone. */
export function isOwnerGone(owner: string): boolean {
  const [itsMachine, itsBoot, itsNamespace, pid, start] = owner.split('/')
  if (itsMachine !== machine() || start === undefined) return false
  if (itsBoot !== boot()) return true // the machine was started again since
  if (itsNamespace !== pidNamespace()) return false
  return startOf(Number(pid)) !== start
}

const machine = once(() => read('/etc/machine-id') ?? hostname())
const boot = once(() => read('/proc/sys/kernel/random/boot_id') ?? 'boot')
const pidNamespace = once(() => {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? 'pids'
  } catch {
    return 'pids'
  }
})

/** Clock ticks after boot: field 22 of the stat line, counted after the name, which may hold spaces and brackets. */
function startOf(pid: number): string | undefined {
  const stat = read(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' ? undefined : fields[19]
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim() || undefined
  } catch {
    return undefined
  }
}

function once<T>(get: () => T): () => T {
  let value: { is: T } | undefined
  return () => {
    value ??= { is: get() }
    return value.is
  }
}
