/**
 * Who holds a lease: a process, named so that another process of the same machine can tell whether it is gone. A pid alone is not
 * enough: it is given again to another process, and every container has a pid 1 of its own.
 */

import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/** machine / boot / pid namespace / pid / start time, or a random part where that is not known. */
let own: string | undefined

export function thisOwner(): string {
  own ??= [machine(), boot(), pidNamespace(), process.pid, startOf('self') ?? randomBytes(6).toString('hex')].join('/')
  return own
}

/** The machine of an owner: the same for every process of it, but for those in containers, which are machines of their own. */
export const machineOf = (owner: string): string => owner.split('/', 1)[0] as string

/** Processes that name the same view see the same mounts: numbers of file systems mean the same to them. */
export const thisView = (): string => `${machine()}/${boot()}/${mountNamespace()}`

/** True only if that process was of this machine and is no more; what cannot be known is not gone. */
export function isOwnerGone(owner: string): boolean {
  const [itsMachine, itsBoot, itsNamespace, pid, start] = owner.split('/')
  if (itsMachine !== machine() || start === undefined || !/^[1-9][0-9]*$/.test(pid as string)) return false
  if (itsBoot !== boot()) return true // the machine was started again since
  if (itsNamespace !== pidNamespace()) return false
  if (owner === thisOwner()) return false
  const itsStart = seesProcesses() ? startOf(pid as string) : undefined
  return itsStart === undefined ? !exists(Number(pid)) : itsStart !== start
}

/**
 * Machines made from one image share their machine-id, and containers may have none: with the host's name they differ. At most 33 bytes,
 * whatever the name: owners become parts of file names.
 */
const machine = once(() => {
  const digest = createHash('sha256')
    .update(`${hostname()}\n${read('/etc/machine-id') ?? ''}`)
    .digest('hex')
  return `${hostname()
    .replace(/[^A-Za-z0-9.-]/g, '-')
    .slice(0, 20)}-${digest.slice(0, 12)}`
})
const boot = once(() => read('/proc/sys/kernel/random/boot_id') ?? 'boot')
const pidNamespace = once(() => namespace('pid'))
const mountNamespace = once(() => namespace('mnt'))

function namespace(kind: 'pid' | 'mnt'): string {
  try {
    return /\d+/.exec(readlinkSync(`/proc/self/ns/${kind}`))?.[0] ?? kind
  } catch {
    return kind
  }
}

/** Whether the pids in /proc are those of this namespace: in a new one it may still show the old. */
const seesProcesses = once(() => read('/proc/self/stat')?.startsWith(`${process.pid} `) ?? false)

/** Neither is there any more: a zombie only waits to be counted. */
const ENDED = /^[ZXx]$/

/** Clock ticks after boot (field 22 of the stat line, counted after the name, which may hold spaces and brackets); undefined if not shown. */
function startOf(pid: string): string | undefined {
  const stat = read(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ENDED.test(fields[0] ?? '') ? 'ended' : fields[19]
}

/** /proc may hide the processes of other users (hidepid): asked by a signal that does nothing, their being there is no secret. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
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
