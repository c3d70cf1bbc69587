/** What is mounted where, as this process sees it (Linux; elsewhere nothing is known). */
import { readFileSync } from 'node:fs'
import type { Raw } from './raw.js'

export interface MountPoint {
  readonly path: Raw
  /** `ext4`, `nfs4`, `overlay` ... */
  readonly type: string
  /** What is mounted: a device, `server:/export` ... */
  readonly source: string
}

/** In the order of mounting: of two on one path the later one is seen. */
export function mountPoints(mountinfo = readMountinfo()): MountPoint[] {
  return mountinfo.split('\n').flatMap((line) => {
    // 36 35 98:0 /root /mount/point options [optional]... - type source superoptions
    const [before, after] = line.split(' - ')
    const path = before?.split(' ')[4]
    const [type, source] = after?.split(' ') ?? []
    if (path === undefined || type === undefined) return []
    return [{ path: unescaped(path) as Raw, type, source: unescaped(source ?? '') }]
  })
}

/** Blanks, tabs, line ends and backslashes stand as octal numbers. */
const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

function readMountinfo(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'latin1')
  } catch {
    return ''
  }
}
