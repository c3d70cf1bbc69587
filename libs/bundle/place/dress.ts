/**
 * Owner, mode, xattrs and times of what is restored, in the order in which none undoes another: a chown clears setuid bits and file
 * capabilities, a read-only mode forbids its owner to set xattrs, an ACL rewrites the group bits of a mode, and times come when nothing is written any more.
 */
import { fchmodSync, fchownSync, lchownSync, statfsSync } from 'node:fs'
import { errnoOf } from '#libs/errors/errors.js'
import { setTimes, setXattr } from '#libs/os/libc.js'
import { type Raw, rawToBytes } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'
import type { Xattrs } from '../xattrs.js'
import { failureOf, isOfDevice } from './obstacle.js'

/** What the catalog says of one inode. */
export interface Dress {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
  readonly atimeNs: bigint
  readonly xattrs?: Xattrs
}

export interface Dresser {
  /** All but the times. `now`: whose it is, if not ours. What could not be done, in words, or undefined. */
  dress(fd: number, path: Raw, dress: Dress, now?: { uid: number; gid: number }): string | undefined
  /** A symlink has no mode, and user xattrs are not possible on it. */
  dressSymlink(path: Raw, dress: Dress): string | undefined
  /** The access lists alone, of what has all the rest; what could not be done, in words. */
  acls(path: Raw, dress: Dress): string | undefined
  /** The mode of an inode that has its catalogued owner and group. */
  modeOf(dress: Dress): number
  /** When nothing is written any more: owner, mode and attributes do not move them. */
  times(path: Raw, dress: Dress): string | undefined
}

const SETUID = 0o4000
const SETGID = 0o2000
/** 0xffffffff means "leave it" to chown. */
const MOST_ID = 0xfffffffe

export function openDresser(options: { setuid: boolean }): Dresser {
  const me = { uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1 }
  /** Groups that we may not give files to. An attempt costs an exception; a hostile catalog may not fill memory with them. */
  const refusedGroups = new Set<number>()

  /** Says whether the inode now has the catalogued owner and group. */
  function own(change: (uid: number, gid: number) => void, { uid, gid }: Dress, now = me): { uid: boolean; gid: boolean } {
    const asked = { uid: isId(uid) && uid !== now.uid, gid: isId(gid) && gid !== now.gid }
    const kept = { uid: uid === now.uid, gid: gid === now.gid }
    if (me.uid === 0) {
      if (!asked.uid && !asked.gid) return kept
      try {
        change(isId(uid) ? uid : now.uid, isId(gid) ? gid : now.gid)
        return { uid: isId(uid), gid: isId(gid) }
      } catch (error) {
        if (isOfDevice(errnoOf(error))) throw error
        return kept
      }
    }
    // Only root gives files away; to a group of ours we may.
    if (!asked.gid || refusedGroups.has(gid)) return kept
    try {
      change(me.uid, gid)
      return { ...kept, gid: true }
    } catch (error) {
      if (isOfDevice(errnoOf(error))) throw error
      if (refusedGroups.size < 1000) refusedGroups.add(gid)
      return kept
    }
  }

  function setXattrs(path: Raw, dress: Dress, which: (name: string) => boolean, owned: boolean): string | undefined {
    let notice: string | undefined
    for (const [name, value] of Object.entries(dress.xattrs ?? {})) {
      if (!which(name)) continue
      // File capabilities are setuid in small pieces.
      if (name === 'security.capability' && !(options.setuid && owned)) continue
      try {
        setXattr(path, name, Buffer.from(value, 'base64'))
      } catch (error) {
        if (isBroken(path, error)) throw error
        notice ??= `its attribute ${shownName(name)} could not be set: ${failureOf(error).reason}`
      }
    }
    return notice
  }

  function modeOf(dress: Dress, owned = { uid: true, gid: true }): number {
    let mode = Number.isInteger(dress.mode) ? dress.mode & 0o7777 : 0o600
    // With the wrong owner such a bit would give somebody else's rights away.
    if (!options.setuid || !owned.uid) mode &= ~SETUID
    if (!options.setuid || !owned.gid) mode &= ~SETGID
    return mode
  }

  const acls = (path: Raw, dress: Dress, owned: boolean) => setXattrs(path, dress, isAcl, owned)

  return {
    modeOf,
    acls: (path, dress) => acls(path, dress, true),
    dress(fd, path, dress, now) {
      const owned = own((uid, gid) => fchownSync(fd, uid, gid), dress, now)
      const mode = modeOf(dress, owned)
      const plain = dress.xattrs && setXattrs(path, dress, (name) => !isAcl(name), owned.uid)
      fchmodSync(fd, mode)
      step('place.mode-set')
      const lists = acls(path, dress, owned.uid)
      return plain ?? lists
    },
    dressSymlink(path, dress) {
      own((uid, gid) => lchownSync(rawToBytes(path), uid, gid), dress)
      return dress.xattrs && setXattrs(path, dress, (name) => !name.startsWith('user.') && !isAcl(name), false)
    },
    times(path, dress) {
      try {
        setTimes(path, dress.atimeNs, dress.mtimeNs)
        return undefined
      } catch (error) {
        if (isOfDevice(errnoOf(error))) throw error
        return `its times could not be set: ${failureOf(error).reason}`
      }
    },
  }
}

/** A file system also says ENOSPC of an attribute that is larger than it keeps: that is a peculiarity, and no full disk. */
function isBroken(path: Raw, error: unknown): boolean {
  const code = errnoOf(error)
  if (code !== 'ENOSPC') return isOfDevice(code)
  const { bavail, ffree } = statfsSync(rawToBytes(path))
  return bavail === 0 || ffree === 0
}

const isId = (id: number): boolean => Number.isInteger(id) && id >= 0 && id <= MOST_ID

/** POSIX, NFSv4 and CIFS access lists. */
const isAcl = (name: string): boolean => name.startsWith('system.')

export const hasAcls = ({ xattrs = {} }: Dress): boolean => Object.keys(xattrs).some(isAcl)

const shownName = (name: string): string => JSON.stringify(name.slice(0, 80))

/** An ACL of version 2 without entries: the kernel takes it as "no ACL". */
const NO_ACL = Buffer.from([2, 0, 0, 0])

/**
 * A directory with a default ACL hands it down to everything made in it. What is restored shall be as it was archived, and staged
 * files shall be seen by nobody.
 */
export function dropAcls(path: Raw): void {
  for (const name of ['system.posix_acl_default', 'system.posix_acl_access']) {
    try {
      setXattr(path, name, NO_ACL)
    } catch {
      return // a file system without ACLs hands none down
    }
  }
}
