/** Extended attributes as a bundle keeps them: raw in the manifest, and in the tar under the names that other tars use. */
import { type Raw, rawFromBytes, rawFromText, rawToBytes, textOf } from '#libs/os/raw.js'
import type { HeldEntry } from '#libs/os/tree-access.js'

const CIFS_ACL = 'system.cifs_acl' as Raw
/** POSIX ACLs have records of their own, as text, which GNU tar and bsdtar put back with `--acls`. */
const POSIX_ACLS: ReadonlyMap<string, string> = new Map([
  ['system.posix_acl_access', 'SCHILY.acl.access'],
  ['system.posix_acl_default', 'SCHILY.acl.default'],
])

/**
 * Which of them are kept. `usual`: `user.*`, POSIX ACLs and file capabilities. `all`: whatever there is, NFSv4 ACLs, trusted.* and labels among
 * it, but for CIFS security descriptors, which are `cifs`.
 */
export interface Keep {
  readonly xattrs: 'none' | 'usual' | 'all'
  readonly cifs: boolean
}

/** By name, one character a byte as in `Raw`; the value in base64. */
export type Xattrs = Readonly<Record<string, string>>

const isUsual = (name: Raw): boolean => name.startsWith('user.') || POSIX_ACLS.has(name) || name === 'security.capability'

/** The names of an entry that are kept. CIFS lists its descriptor on no mount: it must be asked for by name. */
function namesOf(entry: Pick<HeldEntry, 'listXattrs'>, { xattrs, cifs }: Keep): Raw[] {
  const listed = xattrs === 'none' ? [] : entry.listXattrs()
  const names = listed.filter((name) => name !== CIFS_ACL && (xattrs === 'all' || isUsual(name)))
  return cifs ? [...names, CIFS_ACL] : names
}

/** Undefined where there is none or none is asked for. */
export function readXattrs(entry: Pick<HeldEntry, 'listXattrs' | 'getXattr'>, keep: Keep): Xattrs | undefined {
  const names = namesOf(entry, keep)
  if (names.length === 0) return undefined
  const xattrs: Record<string, string> = {}
  for (const name of names.sort()) {
    const value = entry.getXattr(name)
    if (value !== undefined) xattrs[name] = value.toString('base64')
  }
  return Object.keys(xattrs).length > 0 ? xattrs : undefined
}

/** Whether an entry has any that `keep` keeps and `kept` did not. */
export function hasMoreThan(kept: Keep, keep: Keep, entry: Pick<HeldEntry, 'listXattrs' | 'getXattr'>): boolean {
  const had = (name: Raw) => (name === CIFS_ACL ? kept.cifs : kept.xattrs === 'all' || (kept.xattrs === 'usual' && isUsual(name)))
  return namesOf(entry, keep).some((name) => !had(name) && entry.getXattr(name) !== undefined)
}

/** As numbers of bits, so that `asked & ~kept` says what lacks. */
export const bitsOf = ({ xattrs, cifs }: Keep): number => (xattrs === 'all' ? 3 : xattrs === 'usual' ? 1 : 0) + (cifs ? 4 : 0)
export const keepOf = (bits: number): Keep => ({ xattrs: bits & 2 ? 'all' : bits & 1 ? 'usual' : 'none', cifs: (bits & 4) !== 0 })

/** Names as JSON carries them: those that are UTF-8 as text, the others in base64. */
export function xattrsToJson(xattrs: Xattrs): { xattrs?: Record<string, string>; xattrs_b64?: Record<string, string> } {
  const text: Record<string, string> = {}
  const bytes: Record<string, string> = {}
  for (const [name, value] of Object.entries(xattrs)) {
    const known = textOf(name as Raw)
    if (known === undefined) bytes[rawToBytes(name as Raw).toString('base64')] = value
    else text[known] = value
  }
  return {
    ...(Object.keys(text).length > 0 && { xattrs: text }),
    ...(Object.keys(bytes).length > 0 && { xattrs_b64: bytes }),
  }
}

/** The reverse. */
export function xattrsFromJson(json: ReturnType<typeof xattrsToJson>): Xattrs | undefined {
  if (json.xattrs === undefined && json.xattrs_b64 === undefined) return undefined
  const xattrs: Record<string, string> = {}
  for (const [name, value] of Object.entries(json.xattrs ?? {})) xattrs[rawFromText(name)] = value
  for (const [name, value] of Object.entries(json.xattrs_b64 ?? {})) xattrs[rawFromBytes(Buffer.from(name, 'base64'))] = value
  return xattrs
}

/** The pax records for them. */
export function xattrRecords(xattrs: Xattrs): Map<Raw, Raw> {
  const records = new Map<Raw, Raw>()
  for (const [name, base64] of Object.entries(xattrs)) {
    const value = Buffer.from(base64, 'base64')
    const key = POSIX_ACLS.get(name)
    const text = key && aclText(value)
    if (key && text) records.set(rawFromText(key), rawFromText(text))
    // A key with '=' in it could not be told from its value.
    else if (!name.includes('=')) records.set(`SCHILY.xattr.${name}` as Raw, rawFromBytes(value))
  }
  return records
}

const ACL_VERSION = 2
const TAGS: ReadonlyMap<number, string> = new Map([
  [0x01, 'user'],
  [0x02, 'user'],
  [0x04, 'group'],
  [0x08, 'group'],
  [0x10, 'mask'],
  [0x20, 'other'],
])
const NAMED: ReadonlySet<number> = new Set([0x02, 0x08])

/** The kernel's form (`struct posix_acl_xattr_entry`: tag 2, permissions 2, id 4 bytes, little-endian) as `user::rw-,user:1000:r--,...`. */
function aclText(value: Buffer): string | undefined {
  if (value.length < 4 || value.readUInt32LE(0) !== ACL_VERSION || (value.length - 4) % 8 !== 0) return undefined
  const entries: string[] = []
  for (let at = 4; at < value.length; at += 8) {
    const tag = value.readUInt16LE(at)
    const permissions = value.readUInt16LE(at + 2)
    const kind = TAGS.get(tag)
    if (kind === undefined) return undefined
    const id = NAMED.has(tag) ? String(value.readUInt32LE(at + 4)) : ''
    const letters = `${permissions & 4 ? 'r' : '-'}${permissions & 2 ? 'w' : '-'}${permissions & 1 ? 'x' : '-'}`
    entries.push(`${kind}:${id}:${letters}`)
  }
  return entries.join(',')
}
