/**
 * The staging directory: `<target>/.firn-<retrieval>`, where files lie under numbers until they are whole and verified, and where
 * the journal of created directories lies. It is inside the target because a link or a rename works only within one file system.
 * Several processes may carry one retrieval: each puts its owner's name before its numbers and clears away only what is its own,
 * or what a process that is gone left behind.
 */
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs'
import { errnoOf } from '#libs/errors/errors.js'
import { isOwnerGone } from '#libs/os/owner.js'
import { joinRaw, type Raw, rawFromBytes, rawToBytes } from '#libs/os/raw.js'
import { isMine } from '#libs/os/trusted-path.js'
import { dropAcls } from './dress.js'
import { failureOf } from './obstacle.js'
import { refused, type Target } from './target.js'

export interface Staging {
  readonly path: Raw
  /** A name that nobody used yet, for one file. */
  next(): Raw
  /** The same for a file that must lie on another file system than the staging directory: beside its place in `directory`. */
  nextBeside(directory: Raw): Raw
}

export const JOURNAL = 'directories' as Raw

const RETRIEVAL_ID = /^[A-Za-z0-9_-]{1,64}$/

/** Makes the staging directory, or takes over the one of an earlier run: its staged files go, its journal stays. */
export function openStaging(target: Target, retrievalId: string): Raw {
  if (!RETRIEVAL_ID.test(retrievalId)) throw refused(target.path, 'the retrieval has an id that is no file name')
  const path = joinRaw(target.path, `.firn-${retrievalId}` as Raw)
  try {
    mkdirSync(rawToBytes(path), 0o700)
    chmodSync(rawToBytes(path), 0o700)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw refused(target.path, failureOf(error).reason, error)
  }
  const stat = lstatSync(rawToBytes(path))
  if (!stat.isDirectory() || !isMine(stat) || (stat.mode & 0o077) !== 0)
    throw refused(target.path, `its ${path.slice(path.lastIndexOf('/') + 1)} is not a private directory of ours`)
  dropAcls(path)
  // In a setgid target it has the target's group, and some mounts hand that down to the files.
  chownSync(rawToBytes(path), process.geteuid?.() ?? -1, process.getegid?.() ?? -1)
  clear(path, (owner) => owner === '' || isOwnerGone(owner))
  return path
}

/** Names of staged files of one placer: a number, the process that owns it, and what tells two placers of a process apart. */
export function stagingNames(path: Raw, owner: string): Staging {
  const mark = `${Buffer.from(owner).toString('base64url')}.${randomBytes(6).toString('hex')}`
  let number = 0
  const next = () => `${++number}.${mark}` as Raw
  return {
    path,
    next: () => joinRaw(path, next()),
    nextBeside: (directory) => joinRaw(directory, `${path.slice(path.lastIndexOf('/') + 1)}.${next()}` as Raw),
  }
}

/** Removes the staging directory when the retrieval is over, for everybody; another process may have done so already. */
export function removeStaging(path: Raw): void {
  try {
    clear(path, () => true)
    unlinkSync(rawToBytes(joinRaw(path, JOURNAL)))
    rmdirSync(rawToBytes(path))
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

/** Only files, and only by name: nothing here is ever removed recursively. */
function clear(path: Raw, isOver: (owner: string) => boolean): void {
  for (const bytes of readdirSync(rawToBytes(path), { encoding: 'buffer' })) {
    const name = rawFromBytes(bytes)
    if (name === JOURNAL || !isOver(ownerOf(name))) continue
    try {
      unlinkSync(rawToBytes(joinRaw(path, name)))
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw refused(path, failureOf(error).reason, error)
    }
  }
}

const ownerOf = (name: Raw): string => Buffer.from(name.split('.')[1] ?? '', 'base64url').toString()
