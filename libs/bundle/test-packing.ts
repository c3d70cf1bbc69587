/** For tests: plans of what is there now, packings taken whole, and tars looked into. */
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Raw } from '#libs/os/raw.js'
import type { Entry, EntryType, PlannedEntry } from './entry.js'
import { type ManifestHeader, parseManifest } from './manifest.js'
import type { Packed, Packer, PackRequest } from './pack.js'
import { encodePlan } from './plan.js'

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')

/** What a crawler sees of one path; `more` says what it saw differently. */
export function planned(path: string, more: Partial<PlannedEntry> = {}): PlannedEntry {
  const stat = lstatSync(Buffer.from(path, 'latin1'), { bigint: true })
  const type: EntryType = stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'file'
  return {
    path: path as Raw,
    type,
    size: type === 'file' ? Number(stat.size) : 0,
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    atimeNs: stat.atimeNs,
    dev: stat.dev,
    ino: stat.ino,
    nlink: Number(stat.nlink),
    mode: Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    ...more,
  }
}

/** Everything at and below a directory, in byte order; later names of an inode as hard links. */
export function plannedTree(root: string): PlannedEntry[] {
  const first = new Map<string, Raw>()
  const entries: PlannedEntry[] = []
  const visit = (path: string) => {
    const entry = planned(path)
    const inode = `${entry.dev}:${entry.ino}`
    const link = entry.type === 'file' && entry.nlink > 1 ? first.get(inode) : undefined
    if (entry.type === 'file' && link === undefined) first.set(inode, entry.path)
    entries.push(link === undefined ? entry : { ...entry, type: 'hardlink', link })
    if (entry.type !== 'directory') return
    for (const name of readdirSync(Buffer.from(path, 'latin1'), { encoding: 'latin1' }).sort()) visit(join(path, name))
  }
  visit(root)
  return entries
}

export const BUNDLE = 'b0000000-0000-4000-8000-000000000001'

export const headerOf = (roots: readonly string[], more: Partial<ManifestHeader> = {}): ManifestHeader => ({
  bundle: BUNDLE,
  attempt: 1,
  set: '50000000-0000-4000-8000-000000000002',
  setStartedAt: new Date('2026-11-20T10:00:00.000Z'),
  host: 'test-host',
  roots: roots as Raw[],
  createdAt: new Date('2026-11-20T10:01:02.345Z'),
  description: 'a test',
  tags: ['one', 'two'],
  vault: 'local:/vault',
  ...more,
})

export const requestOf = (entries: readonly PlannedEntry[], more: Partial<PackRequest> = {}): PackRequest => ({
  header: headerOf(['/']),
  plan: encodePlan(entries),
  keep: { xattrs: 'none', cifs: false },
  ...more,
})

export interface Whole extends Packed {
  readonly tar: Buffer
  readonly entries: readonly Entry[]
  /** By path; of an attempt that is void and one that is not, the latter. */
  entry(path: string): Entry
  /** The bytes that the manifest points at. */
  data(path: string): Buffer
}

export async function packWhole(packer: Packer, request: PackRequest): Promise<Whole> {
  const packing = packer.pack(request)
  const chunks: Buffer[] = []
  for await (const chunk of packing.chunks) chunks.push(Buffer.from(chunk))
  const packed = await packing.result
  const tar = Buffer.concat(chunks)
  const { entries } = parseManifest(packed.manifest)
  const entry = (path: string): Entry => {
    const found = entries.find((one) => one.path === path && one.state !== 'void')
    if (found === undefined) throw new Error(`the manifest has no ${path}`)
    return found
  }
  const data = (path: string): Buffer => {
    const { offset = 0, size } = entry(path)
    return tar.subarray(offset, offset + size)
  }
  return { ...packed, tar, entries, entry, data }
}

export interface Member {
  readonly name: string
  readonly flag: string
  readonly size: number
  readonly offset: number
}

/** The members of a tar, as plainly as can be; throws where a checksum is wrong or the end is not two blocks of zeros. */
export function membersOf(tar: Buffer): Member[] {
  const members: Member[] = []
  for (let at = 0; ; ) {
    const block = tar.subarray(at, at + 512)
    if (block.every((byte) => byte === 0)) {
      if (!tar.subarray(at).every((byte) => byte === 0) || tar.length - at < 1024)
        throw new Error('the tar does not end as tars do')
      return members
    }
    const text = (from: number, length: number) => block.toString('latin1', from, from + length).replace(/\0.*/s, '')
    let sum = 0
    block.forEach((byte, i) => {
      sum += i >= 148 && i < 156 ? 0x20 : byte
    })
    if (sum !== Number.parseInt(text(148, 8), 8)) throw new Error(`no header at ${at}`)
    const size = Number.parseInt(text(124, 12), 8)
    const prefix = text(345, 155)
    members.push({ name: prefix ? `${prefix}/${text(0, 100)}` : text(0, 100), flag: text(156, 1), size, offset: at + 512 })
    at += 512 + Math.ceil(size / 512) * 512
  }
}
