import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { setXattr } from '#libs/os/libc.js'
import type { Raw } from '#libs/os/raw.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { TreeAccess } from '#libs/os/tree-access.js'
import { describeWith } from '../../test/tools.js'
import {
  bitsOf,
  hasMoreThan,
  type Keep,
  keepOf,
  readXattrs as readXattrsOf,
  type Xattrs,
  xattrRecords,
  xattrsFromJson,
  xattrsToJson,
} from './xattrs.js'

const scratch = scratchDirectory()
const all: Keep = { xattrs: 'all', cifs: true }
function readXattrs(path: Raw, keep: Keep) {
  using tree = new TreeAccess([path])
  using entry = tree.hold(path)
  return readXattrsOf(entry, keep)
}
const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64')

describe('extended attributes', () => {
  const path = join(scratch, 'file') as Raw
  let supported = true
  beforeAll(() => {
    writeFileSync(path, '')
    try {
      setXattr(path, 'user.b', Buffer.from([0, 255, 10]))
      setXattr(path, 'user.a', Buffer.alloc(0))
    } catch {
      supported = false // by this file system
    }
  })

  test('are read by name, in the order of their names, also empty ones', () => {
    if (!supported) return
    const kept = readXattrs(path, { xattrs: 'all', cifs: false })
    expect(kept).toEqual({ 'user.a': '', 'user.b': 'AP8K' })
    expect(Object.keys(kept ?? {})).toEqual(['user.a', 'user.b'])
  })

  test('are not read where they are not asked for, and are nothing where there are none', () => {
    const plain = join(scratch, 'plain') as Raw
    writeFileSync(plain, '')
    expect(readXattrs(path, { xattrs: 'none', cifs: false })).toBeUndefined()
    expect(readXattrs(path, { xattrs: 'none', cifs: true })).toBeUndefined()
    expect(readXattrs(plain, all)).toBeUndefined()
  })

  test('are read as bytes, whatever their names', () => {
    if (!supported) return
    const odd = join(scratch, 'odd') as Raw
    writeFileSync(odd, '')
    setXattr(odd, 'user.caf\xe9', Buffer.from('1'))
    setXattr(odd, 'user.caf\xc3\xa9', Buffer.from('2'))
    const kept = readXattrs(odd, all) as Xattrs
    expect(kept).toEqual({ 'user.caf\xe9': base64('1'), 'user.caf\xc3\xa9': base64('2') })
    const json = xattrsToJson(kept)
    expect(json).toEqual({ xattrs: { 'user.café': base64('2') }, xattrs_b64: { [base64('user.caf\xe9')]: base64('1') } })
    expect(xattrsFromJson(json)).toEqual(kept)
    expect([...xattrRecords(kept).keys()].sort()).toEqual(['SCHILY.xattr.user.caf\xc3\xa9', 'SCHILY.xattr.user.caf\xe9'])
  })

  test('are by default those of users, ACLs and capabilities; what was not kept is told', () => {
    const names = ['user.x', 'security.capability', 'security.selinux', 'system.posix_acl_access', 'system.nfs4_acl', 'trusted.x']
    const entry = { listXattrs: () => names as Raw[], getXattr: () => Buffer.from('v') }
    const usual = ['security.capability', 'system.posix_acl_access', 'user.x']
    expect(Object.keys(readXattrsOf(entry, { xattrs: 'usual', cifs: false }) ?? {})).toEqual(usual)
    expect(Object.keys(readXattrsOf(entry, { xattrs: 'all', cifs: false }) ?? {})).toEqual([...names].sort())
    const more = (had: Keep['xattrs'], asked: Keep['xattrs'], given = names) =>
      hasMoreThan({ xattrs: had, cifs: false }, { xattrs: asked, cifs: false }, { ...entry, listXattrs: () => given as Raw[] })
    expect([
      more('none', 'usual'),
      more('usual', 'all'),
      more('all', 'all'),
      more('usual', 'usual'),
      more('all', 'usual'),
    ]).toEqual([true, true, false, false, false])
    expect([more('none', 'usual', ['security.selinux']), more('usual', 'all', ['user.x']), more('none', 'none')]).toEqual([
      false,
      false,
      false,
    ])
    for (const xattrs of ['none', 'usual', 'all'] as const) {
      for (const cifs of [true, false]) expect(keepOf(bitsOf({ xattrs, cifs }))).toEqual({ xattrs, cifs })
    }
  })

  test('of a symlink are its own', () => {
    const link = join(scratch, 'link') as Raw
    symlinkSync(path, link)
    expect(readXattrs(link, all)).toBeUndefined()
  })

  test('become pax records under the names that other tars use, raw', () => {
    const records = xattrRecords({ 'user.b': base64('\x00\xff\n'), 'security.capability': base64('x') })
    expect([...records]).toEqual([
      ['SCHILY.xattr.user.b', '\x00\xff\n'],
      ['SCHILY.xattr.security.capability', 'x'],
    ])
  })

  test('with a = in their name are in the manifest alone', () => {
    expect([...xattrRecords({ 'user.a=b': base64('x') }).keys()]).toEqual([])
  })

  test('that are called like an ACL and are none stay what they are', () => {
    for (const value of [
      '',
      'abc',
      '\x03\x00\x00\x00',
      '\x02\x00\x00\x00abc',
      '\x02\x00\x00\x00\x77\x00\x07\x00\xff\xff\xff\xff',
    ])
      expect([...xattrRecords({ 'system.posix_acl_access': base64(value) })]).toEqual([
        ['SCHILY.xattr.system.posix_acl_access', value],
      ])
  })
})

describeWith(['setfacl', 'getfacl'], 'POSIX ACLs', () => {
  test('become the text that getfacl writes', () => {
    const path = join(scratch, 'with-acl')
    mkdirSync(path)
    try {
      execFileSync('setfacl', ['-m', 'u:1234:rw-,u:0:r-x,g:4321:--x,d:u:1234:rwx,d:g:7:r--', path], { stdio: 'ignore' })
    } catch {
      return // this file system has none
    }
    const records = xattrRecords(readXattrs(path as Raw, all) ?? {})
    const texts = (flag: string) =>
      execFileSync('getfacl', ['-n', '-c', '-E', flag, '--absolute-names', path], { encoding: 'utf8' })
        .trim()
        .replace(/\n+/g, ',')
        .replace(/default:/g, '')
    expect(records.get('SCHILY.acl.access' as Raw)).toBe(texts('-a'))
    expect(records.get('SCHILY.acl.default' as Raw)).toBe(texts('-d'))
  })
})
