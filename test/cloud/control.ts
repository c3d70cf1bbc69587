/**
 * The wires to an emulator that runs as a process of its own: what a test does by `cloud.clock` and `cloud.faults`, as requests below
 * `/_cloud/`, a name that no bucket may have. Unsigned, JSON both ways.
 *
 *   POST /_cloud/pass {"ms"}       POST /_cloud/skew {"ms"}       GET /_cloud/time
 *   POST /_cloud/faults {"kind","operation",...}                  DELETE /_cloud/faults
 *   GET  /_cloud/requests          DELETE /_cloud/requests        POST /_cloud/link {"latencyMs","bytesPerSecond"}
 */
import type { Clock } from './clock.js'
import type { Fault, Faults } from './faults.js'
import type { Link, LinkOptions } from './link.js'
import type { Requests } from './requests.js'

export const CONTROL_PLACE = '/_cloud/'

export type Control = (method: string, path: string, body: string) => { status: number; body: string }

export function openControl(cloud: { clock: Clock; faults: Faults; requests: Requests; link: Link }): Control {
  const acts: Readonly<Record<string, (body: string) => unknown>> = {
    'POST pass': (body) => cloud.clock.pass(msOf(body)),
    'POST skew': (body) => cloud.clock.skew(msOf(body)),
    'GET time': () => ({ now: cloud.clock.now().toISOString() }),
    'POST faults': (body) => void cloud.faults.add(JSON.parse(body) as Fault),
    'DELETE faults': () => cloud.faults.clear(),
    'GET requests': () => ({
      total: cloud.requests.count(),
      byOperation: cloud.requests.byOperation(),
      paid: cloud.requests.paid(),
      recent: cloud.requests.recent(),
    }),
    'DELETE requests': () => cloud.requests.reset(),
    'POST link': (body) => void Object.assign(cloud.link, JSON.parse(body) as LinkOptions),
  }
  return (method, path, body) => {
    const act = acts[`${method} ${path.slice(CONTROL_PLACE.length)}`]
    if (!act) return { status: 404, body: JSON.stringify({ known: Object.keys(acts) }) }
    try {
      return { status: 200, body: JSON.stringify(act(body) ?? {}) }
    } catch (error) {
      return { status: 400, body: JSON.stringify({ error: String(error) }) }
    }
  }
}

function msOf(body: string): number {
  const { ms } = JSON.parse(body) as { ms?: unknown }
  if (typeof ms !== 'number' || !Number.isFinite(ms)) throw new Error('ms must be a number')
  return ms
}
