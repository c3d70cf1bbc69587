/**
 * The directories from the target down to the place of an entry, looked at one by one with lstat and made where they are missing.
 * Never through a symlink, never through something of another user: see target.ts for why a look and then an act are safe.
 *
 * Directories made here are 01700. The sticky bit means nothing on a directory that only its owner may write to, so it serves as
 * our mark "under construction": the end of the retrieval touches only directories that still bear it.
 */
import { chmodSync, lstatSync, mkdirSync, type Stats } from 'node:fs'
import { errnoOf } from '#libs/errors/errors.js'
import { joinRaw, type Raw, rawToBytes } from '#libs/os/raw.js'
import { step as reached } from '#libs/os/steps.js'
import { isMine, whyNotTrusted } from '#libs/os/trusted-path.js'
import { dropAcls } from './dress.js'
import type { Journal } from './journal.js'
import { Obstacle } from './obstacle.js'
import type { Target } from './target.js'

export interface Chain {
  /** The absolute path of the directory `at` below the target. Throws an Obstacle. */
  enter(at: Raw, options?: { make?: boolean }): Raw
  /** What was seen counts no longer: the next look begins at the target. */
  forget(): void
}

export const MARKED = 0o1700

export const isUnderConstruction = (stat: Stats): boolean => stat.isDirectory() && isMine(stat) && (stat.mode & 0o7777) === MARKED

export function openChain(target: Target, journal: Journal): Chain {
  /** The directories seen last, from the target downwards. */
  let seen: { name: Raw; path: Raw }[] = []
  let seenAt: Raw | undefined

  function step(parent: Raw, name: Raw, at: () => Raw, make: boolean): Raw {
    const path = joinRaw(parent, name)
    const bytes = rawToBytes(path)
    let stat = lstatSync(bytes, { throwIfNoEntry: false })
    if (stat === undefined) {
      if (!make) throw new Obstacle('its directory is gone')
      stat = makeDirectory(bytes, path, at)
    }
    if (stat.isSymbolicLink()) throw new Obstacle('a symlink stands where a directory of its path should be')
    if (!stat.isDirectory()) throw new Obstacle('something stands where a directory of its path should be')
    const why = whyNotTrusted(stat)
    if (why !== undefined) throw new Obstacle(`a directory on its path ${why}`)
    return path
  }

  function makeDirectory(bytes: Buffer, path: Raw, at: () => Raw): Stats {
    journal.append(at())
    reached('place.journalled')
    let made = true
    try {
      mkdirSync(bytes, MARKED)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      made = false
    }
    let stat = lstatSync(bytes)
    if (made) {
      reached('place.directory-made')
      dropAcls(path)
      // A umask, an inherited setgid bit or an ACL may have changed it.
      if ((stat.mode & 0o7777) !== MARKED && stat.isDirectory()) {
        chmodSync(bytes, MARKED)
        stat = lstatSync(bytes)
      }
    }
    return stat
  }

  function begin(): Raw {
    const stat = lstatSync(rawToBytes(target.path), { throwIfNoEntry: false })
    if (stat?.isDirectory() !== true || stat.dev !== target.dev || stat.ino !== target.ino)
      throw new Obstacle('the target is no longer the directory that it was')
    const why = whyNotTrusted(stat)
    if (why !== undefined) throw new Obstacle(`the target ${why}`)
    return target.path
  }

  return {
    enter(at, { make = true } = {}) {
      if (at === seenAt) return seen.at(-1)?.path ?? target.path
      const names = at === '' ? [] : (at.split('/') as Raw[])
      let common = 0
      while (common < names.length && seen[common]?.name === names[common]) common++
      const fresh = seenAt === undefined
      seen = fresh ? [] : seen.slice(0, common)
      seenAt = undefined
      let path = fresh ? begin() : (seen.at(-1)?.path ?? target.path)
      for (let depth = seen.length; depth < names.length; depth++) {
        const name = names[depth] as Raw
        path = step(path, name, () => names.slice(0, depth + 1).join('/') as Raw, make)
        seen.push({ name, path })
      }
      seenAt = at
      return path
    },
    forget() {
      seen = []
      seenAt = undefined
    },
  }
}
