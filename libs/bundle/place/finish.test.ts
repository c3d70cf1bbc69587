/** A directory whose finishing was cut off is finished by whoever comes next. */
import { lstatSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { getXattr, setXattr } from '#libs/os/libc.js'
import { openChain } from './chain.js'
import { type Dress, openDresser } from './dress.js'
import { finishDirectory } from './finish.js'
import { openJournal } from './journal.js'
import { openTarget } from './target.js'
import { raw, scratch } from './test-tar.js'

const dress = {
  mode: 0o755,
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  atimeNs: 1n,
  mtimeNs: 123_456_789n,
} as const
const crash = () => {
  throw new Error('killed')
}

function made() {
  const at = scratch()
  const journal = openJournal(raw(at.path))
  const chain = openChain(openTarget(raw(at.path)), journal)
  chain.enter(raw('d'))
  return {
    path: at.path,
    chain,
    seen: () => lstatSync(join(at.path, 'd'), { bigint: true }),
    [Symbol.dispose]() {
      journal.close()
      at[Symbol.dispose]()
    },
  }
}

test('after a crash behind the mode the times are there', () => {
  using at = made()
  const dresser = openDresser({ setuid: false })
  const dying = {
    ...dresser,
    dress(fd: number, path: Parameters<typeof dresser.dress>[1], what: Dress) {
      dresser.dress(fd, path, what)
      return crash()
    },
  }
  finishDirectory({ chain: at.chain, dresser: dying }, raw('d'), dress)
  finishDirectory({ chain: at.chain, dresser }, raw('d'), dress)
  expect([at.seen().mtimeNs, at.seen().mode & 0o7777n]).toEqual([dress.mtimeNs, 0o755n])
})

const asRoot = process.getuid?.() === 0 ? test : test.skip
asRoot('after a crash between the owner and the mode, which only root can come between', () => {
  using at = made()
  const dresser = openDresser({ setuid: false })
  const another = { ...dress, uid: 12_345 }
  const dying = {
    ...dresser,
    dress(fd: number, path: Parameters<typeof dresser.dress>[1]) {
      // The mark stays: everything but the owner is as it was.
      dresser.dress(fd, path, { ...another, mode: 0o1700 })
      return crash()
    },
  }
  finishDirectory({ chain: at.chain, dresser: dying }, raw('d'), another)
  expect(Number(at.seen().uid)).toBe(12_345)
  finishDirectory({ chain: at.chain, dresser }, raw('d'), another)
  expect([at.seen().mtimeNs, at.seen().mode & 0o7777n]).toEqual([dress.mtimeNs, 0o755n])
})

const hex = '0200000001000700ffffffff020005000c00000004000500ffffffff10000500ffffffff20000500ffffffff'
const acl = Buffer.from(hex, 'hex')

test('an attribute that the file system refuses keeps no access list away', () => {
  using at = made()
  const path = raw(join(at.path, 'd'))
  // An attribute of no namespace is refused everywhere.
  const xattrs = { 'nowhere.color': acl.toString('base64'), 'system.posix_acl_access': acl.toString('base64') }
  const outcome = finishDirectory({ chain: at.chain, dresser: openDresser({ setuid: false }) }, raw('d'), { ...dress, xattrs })
  expect(outcome).toContain('nowhere.color')
  const restored = getXattr(path, 'system.posix_acl_access')
  if (!hasNoAcls(path, acl)) expect(restored).toEqual(acl)
})

test('after a crash between the mode and the access list the list is there, and of what others did since nothing is touched', () => {
  using at = made()
  const listed = { ...dress, xattrs: { 'system.posix_acl_access': acl.toString('base64') } }
  const path = raw(join(at.path, 'd'))
  const aclOf = () => getXattr(path, 'system.posix_acl_access')
  const dresser = openDresser({ setuid: false })
  const { xattrs: _, ...withoutAcl } = listed
  finishDirectory({ chain: at.chain, dresser }, raw('d'), withoutAcl)
  expect(aclOf()).toBeUndefined()
  finishDirectory({ chain: at.chain, dresser }, raw('d'), listed)
  const restored = aclOf()
  if (hasNoAcls(path, acl)) return
  expect(restored).toEqual(acl)
  expect([at.seen().mtimeNs, at.seen().mode & 0o7777n]).toEqual([dress.mtimeNs, 0o755n])
  // Somebody has worked in it since.
  setXattr(path, 'system.posix_acl_access', Buffer.from([2, 0, 0, 0]))
  writeFileSync(join(at.path, 'd', 'new'), '')
  finishDirectory({ chain: at.chain, dresser }, raw('d'), listed)
  expect(aclOf()).toBeUndefined()
})

function hasNoAcls(path: Parameters<typeof setXattr>[0], acl: Buffer): boolean {
  try {
    setXattr(path, 'system.posix_acl_access', acl)
    return false
  } catch {
    return true
  }
}
