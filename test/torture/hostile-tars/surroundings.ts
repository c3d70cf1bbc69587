/** What lies around a target, and whether anything of it changed: also an inode's times and the number of its names. */
import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Surroundings {
  readonly target: string
  /** What changed outside the target; and what is in it that must not be. */
  faults(): string[]
}

/** A target with a symlink in it that leads out, in the middle of files that nobody may touch. */
export function plantSurroundings(base: string): Surroundings {
  rmSync(base, { recursive: true, force: true })
  for (const name of ['', 'out', 'out/sub', 'in', 'in/there', 'etc'])
    mkdirSync(join(base, name), { mode: 0o755, recursive: true })
  for (const name of ['f', 'out/f', 'out/sub/f', 'etc/passwd', 'sentinel', 'l', 'in/there/f'])
    writeFileSync(join(base, name), `I was ${name}`)
  const target = join(base, 'in')
  symlinkSync('../out', join(target, 'gate'))
  const before = seen(base, target)
  return {
    target,
    faults() {
      const after = seen(base, target)
      const faults: string[] = []
      for (const [path, what] of before) if (after.get(path) !== what) faults.push(`${path} was ${what}, is ${after.get(path)}`)
      for (const [path] of after) if (!before.has(path)) faults.push(`${path} was made outside the target`)
      faults.push(...strangers(target))
      return faults
    },
  }
}

function seen(base: string, target: string): Map<string, string> {
  const all = new Map<string, string>()
  const visit = (path: string) => {
    if (path === target) return
    const { mode, uid, gid, size, nlink, ino, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true })
    const kind = Number(mode) & 0o170000
    const what =
      kind === 0o100000
        ? createHash('sha256').update(readFileSync(path)).digest('hex')
        : kind === 0o120000
          ? readlinkSync(path)
          : 'no bytes'
    all.set(path, [mode.toString(8), uid, gid, size, nlink, ino, mtimeNs, ctimeNs, what].join(' '))
    if (kind === 0o040000) for (const name of readdirSync(path)) visit(join(path, name))
  }
  visit(base)
  return all
}

/** Nothing in a target is a device or a FIFO, nothing sets its user, and no name leads to an inode outside. */
function strangers(target: string): string[] {
  const faults: string[] = []
  const inodes = new Map<bigint, { names: number; nlink: bigint; path: string }>()
  const visit = (path: Buffer) => {
    const stat = lstatSync(path, { bigint: true })
    const told = JSON.stringify(path.toString())
    if (!stat.isFile() && !stat.isDirectory() && !stat.isSymbolicLink())
      faults.push(`${told} is neither file, directory nor symlink`)
    if (!stat.isSymbolicLink() && (stat.mode & 0o6000n) !== 0n) faults.push(`${told} has the mode ${stat.mode.toString(8)}`)
    if (stat.isFile()) {
      const inode = inodes.get(stat.ino) ?? { names: 0, nlink: stat.nlink, path: told }
      inode.names++
      inodes.set(stat.ino, inode)
    }
    if (stat.isDirectory())
      for (const name of readdirSync(path, { encoding: 'buffer' }) as unknown as Buffer[])
        visit(Buffer.concat([path, Buffer.from('/'), name]))
  }
  visit(Buffer.from(target))
  for (const { names, nlink, path } of inodes.values())
    if (BigInt(names) !== nlink) faults.push(`${path} has a name outside the target`)
  return faults
}
