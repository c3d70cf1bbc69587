/**
 * A lock for where the kernel's own cannot be had: a file beside the lock file that names its owner. Unlike the kernel's it outlives a
 * process that dies, so who finds the owner gone takes it away.
 */
import { createHash, randomBytes } from 'node:crypto'
import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
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
    if (holder !== undefined && isGone(holder) && inherit(lock, holder, own)) break
    await sleep(LOCK_POLL_MS, undefined, options)
  }
  let held = true
  return {
    release() {
      if (held && read(lock) === own) unlinkSync(lock)
      held = false
    },
  }
}

/** Of the two words of a name the first is the process. */
const isGone = (name: string): boolean => isOwnerGone(name.split(' ')[0] as string)

/** Only one of those who try at the same time gets it. */
function take(lock: string, own: string): boolean {
  return withDraft(lock, own, (draft) => {
    try {
      linkSync(draft, lock)
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      return false
    }
  })
}

/**
 * Takes the lock from a dead holder. Nobody may do that who only knows that the holder was dead a moment ago: it may be another's lock by
 * now. So a holder has one heir, whose name stands in a file that is called after the dead one's; of an heir that died in turn, too.
 * While the lock still names the dead holder, its only living heir puts his own name in the place, which is never empty meanwhile. Names
 * are never used twice, so whoever becomes the heir of one that is long forgotten sees it by the lock.
 */
function inherit(lock: string, dead: string, own: string): boolean {
  const wills: string[] = []
  for (let last = dead; ; ) {
    const will = `${lock}.${createHash('sha256').update(last).digest('hex').slice(0, 16)}`
    if (take(will, own)) {
      wills.push(will)
      break
    }
    const heir = read(will)
    if (heir === undefined) continue // settled a moment ago; the lock will tell
    if (!isGone(heir)) return false
    wills.push(will)
    last = heir
  }
  try {
    if (read(lock) !== dead) return false
    withDraft(lock, own, (draft) => renameSync(draft, lock))
    return true
  } finally {
    for (const will of wills) rmSync(will, { force: true })
  }
}

/** Written elsewhere and put into place as a whole: nobody ever reads half a name. */
function withDraft<T>(lock: string, own: string, put: (draft: string) => T): T {
  const draft = `${lock}.${randomBytes(6).toString('hex')}`
  writeFileSync(draft, own, { mode: 0o600, flag: 'wx' })
  try {
    return put(draft)
  } finally {
    rmSync(draft, { force: true })
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
