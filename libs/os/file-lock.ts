/**
 * A lock for where the kernel's own cannot be had: a file beside the lock file that names its owner. Unlike the kernel's it outlives a
 * process that dies, so who finds the owner gone takes it away.
 */
import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isOwnerGone, thisOwner } from './owner.js'

export interface FileLock {
  release(): void
}

/** Between two tries. Locks of ours are held for moments: starting a server takes a second. */
export const LOCK_POLL_MS = 20

/** Waits for `<path>.owner`. */
export async function lockByOwnerFile(path: string, options: { signal?: AbortSignal } = {}): Promise<FileLock> {
  const lock = `${path}.owner`
  // One name a lock, not a process: two locks of one process are two.
  const own = `${thisOwner()} ${randomBytes(6).toString('hex')}`
  while (!take(lock, own)) {
    const holder = read(lock)
    if (holder !== undefined && isOwnerGone(holder.split(' ')[0] as string)) takeAway(lock, holder)
    else await sleep(LOCK_POLL_MS, undefined, options)
  }
  let held = true
  return {
    release() {
      if (held && read(lock) === own) unlinkSync(lock)
      held = false
    },
  }
}

/** Written elsewhere and linked into place: nobody ever reads half a name. */
function take(lock: string, own: string): boolean {
  const draft = `${lock}.${randomBytes(6).toString('hex')}`
  writeFileSync(draft, own, { mode: 0o600, flag: 'wx' })
  try {
    linkSync(draft, lock)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return false
  } finally {
    unlinkSync(draft)
  }
}

/** Of two that find the same dead owner, the slower may have moved the quicker one's new lock away: it puts it back. */
function takeAway(lock: string, dead: string): void {
  const aside = `${lock}.${randomBytes(6).toString('hex')}`
  try {
    renameSync(lock, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (read(aside) !== dead) linkSync(aside, lock)
  unlinkSync(aside)
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
