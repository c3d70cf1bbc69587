/**
 * The ledger of truth: what a tree is, written down outside Firn, byte by byte, before Firn sees it. What was archived, what the catalog
 * says, and what came back are held against it.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

export type TrueType = 'file' | 'directory' | 'symlink' | 'other'

export interface Truth {
  readonly type: TrueType
  readonly size: number
  readonly mode: number
  /** Undefined: it may be what it likes. */
  readonly mtimeNs: bigint | undefined
  readonly sha256?: string
  /** Where a symlink leads, latin1 for its bytes. */
  readonly link?: string
  /** The first name, in order, of an inode that has several in this tree. */
  readonly sameAs?: string
  /** `user.color=0x...` as getfattr says it. */
  readonly xattrs?: string
}

/** By path below the root; latin1, so that every byte of a name counts. */
export type Ledger = ReadonlyMap<string, Truth>

const hasGetfattr = spawnSync('getfattr', ['--version']).error === undefined

/** Reads a tree with nothing of Firn's. `root`: a path as bytes. */
export function writeLedger(root: string | Buffer, options: { xattrs?: boolean } = {}): Map<string, Truth> {
  const ledger = new Map<string, Truth>()
  const firstNames = new Map<string, string>()
  const walk = (directory: Buffer, above: string) => {
    const names = (readdirSync(directory, { encoding: 'buffer' }) as unknown as Buffer[]).sort(Buffer.compare)
    for (const name of names) {
      const path = Buffer.concat([directory, Buffer.from('/'), name])
      const at = above + name.toString('latin1')
      const stat = lstatSync(path, { bigint: true })
      const common = { mode: Number(stat.mode & 0o7777n), mtimeNs: stat.mtimeNs }
      if (stat.isDirectory()) {
        ledger.set(at, { type: 'directory', size: 0, ...common })
        walk(path, `${at}/`)
      } else if (stat.isSymbolicLink()) {
        ledger.set(at, {
          type: 'symlink',
          size: 0,
          ...common,
          link: readlinkSync(path, { encoding: 'buffer' }).toString('latin1'),
        })
      } else if (stat.isFile()) {
        const inode = `${stat.dev}:${stat.ino}`
        const first = firstNames.get(inode)
        if (stat.nlink > 1n && first === undefined) firstNames.set(inode, at)
        const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex')
        const xattrs = options.xattrs ? xattrsOf(path) : undefined
        ledger.set(at, {
          type: 'file',
          size: Number(stat.size),
          ...common,
          sha256,
          ...(first !== undefined && { sameAs: first }),
          ...(xattrs && { xattrs }),
        })
      } else ledger.set(at, { type: 'other', size: 0, ...common })
    }
  }
  walk(Buffer.from(root), '')
  return ledger
}

function xattrsOf(path: Buffer): string | undefined {
  if (!hasGetfattr) return undefined
  // A name that is no text would not survive as an argument of Node's.
  if (Buffer.from(path.toString('utf8'), 'utf8').compare(path) !== 0) return undefined
  const said = execFileSync('getfattr', ['--absolute-names', '-h', '-d', '-m', '^user\\.', '-e', 'hex', path.toString('utf8')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return said
    .split('\n')
    .filter((line) => line.startsWith('user.'))
    .sort()
    .join(' ')
}

/** What differs, a line each, as people read it. `but`: facts that may differ. */
export function differences(
  expected: Ledger,
  found: Ledger,
  but: { mode?: boolean; setuid?: boolean; times?: boolean; directories?: boolean; hardlinks?: boolean; more?: boolean } = {},
): string[] {
  const lines: string[] = []
  const told = (path: string) => JSON.stringify(path)
  for (const [path, truth] of expected) {
    if (truth.type === 'other' || (but.directories && truth.type === 'directory')) continue
    const there = found.get(path)
    if (there === undefined) {
      lines.push(`${told(path)} is not there`)
      continue
    }
    const facts: [string, unknown, unknown][] = [
      ['type', truth.type, there.type],
      ['size', truth.size, there.size],
      ['sha256', truth.sha256, there.sha256],
      ['link', truth.link, there.link],
    ]
    const mask = but.setuid ? 0o1777 : 0o7777
    if (!but.mode && truth.type !== 'symlink')
      facts.push(['mode', (truth.mode & mask).toString(8), (there.mode & mask).toString(8)])
    if (!but.times && truth.mtimeNs !== undefined) facts.push(['mtime', truth.mtimeNs, there.mtimeNs])
    if (!but.hardlinks) facts.push(['the same inode as', truth.sameAs, there.sameAs])
    if (truth.xattrs !== undefined && there.xattrs !== undefined) facts.push(['xattrs', truth.xattrs, there.xattrs])
    for (const [what, was, is] of facts) if (was !== is) lines.push(`${told(path)}: ${what} was ${was}, is ${is}`)
  }
  for (const [path, { type }] of found) {
    if (!but.more && !expected.has(path) && !(but.directories && type === 'directory'))
      lines.push(`${told(path)} was not there before`)
  }
  return lines
}

/** The same tree after files were taken out of it: its directories have other times. */
export const withoutDirectoryTimes = (ledger: Ledger): Ledger =>
  new Map([...ledger].map(([path, truth]) => [path, truth.type === 'directory' ? { ...truth, mtimeNs: undefined } : truth]))

/** How many of each the tree has, in Firn's way of counting: hard links and symlinks are files. */
export function counts(ledger: Ledger): { files: number; specials: number; bytes: number } {
  const all = [...ledger.values()]
  return {
    files: all.filter(({ type }) => type === 'file' || type === 'symlink').length,
    specials: all.filter(({ type }) => type === 'other').length,
    bytes: all.reduce((sum, { size, sameAs }) => sum + (sameAs === undefined ? size : 0), 0),
  }
}
