/** Extended attributes as a bundle keeps them: raw in the manifest, and in the tar under the names that other tars use. */
import { type Raw, rawFromBytes, rawFromText } from '#libs/os/raw.js'
import type { HeldEntry } from '#libs/os/tree-access.js'

const CIFS_ACL = 'system.cifs_acl'
/** POSIX ACLs have records of their own, as text, which GNU tar and bsdtar put back with `--acls`. */
const POSIX_ACLS: ReadonlyMap<string, string> = new Map([
  ['system.posix_acl_access', 'SCHILY.acl.access'],
  ['system.posix_acl_default', 'SCHILY.acl.default'],
])

/** By name, base64; undefined where there is none or none is asked for. */
export function readXattrs(
  entry: Pick<HeldEntry, 'listXattrs' | 'getXattr'>,
  keep: { xattrs: boolean; cifs: boolean },
): Record<string, string> | undefined {
  if (!keep.xattrs && !keep.cifs) return undefined
  // CIFS lists its descriptor on no mount: it must be asked for by name.
  const names = new Set(keep.xattrs ? entry.listXattrs() : [])
  names.delete(CIFS_ACL)
  if (keep.cifs) names.add(CIFS_ACL)
  const xattrs: Record<string, string> = {}
  for (const name of [...names].sort()) {
    const value = entry.getXattr(name)
    if (value !== undefined) xattrs[name] = value.toString('base64')
  }
  return Object.keys(xattrs).length > 0 ? xattrs : undefined
}

/** The pax records for them. */
export function xattrRecords(xattrs: Readonly<Record<string, string>>): Map<Raw, Raw> {
  const records = new Map<Raw, Raw>()
  for (const [name, base64] of Object.entries(xattrs)) {
    const value = Buffer.from(base64, 'base64')
    const key = POSIX_ACLS.get(name)
    const text = key && aclText(value)
    if (key && text) records.set(rawFromText(key), rawFromText(text))
    // A key with '=' in it could not be told from its value.
    else if (!name.includes('=')) records.set(rawFromText(`SCHILY.xattr.${name}`), rawFromBytes(value))
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
