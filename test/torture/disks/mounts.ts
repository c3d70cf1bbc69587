/**
 * Small disks to fill, to close and to break: tmpfs mounts. The cases that need them run in a process of their own whose mounts nobody
 * else sees (unshare(1)), so that nothing is left on the machine whatever becomes of it; that also works for an ordinary user where the
 * kernel lets users have namespaces.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Case, CaseContext } from '../case.js'

const PRIVATE = 'TORTURE_PRIVATE_MOUNTS'
const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))

const children = new Set<ChildProcess>()
const mounted: Disk[] = []
process.once('exit', () => {
  for (const child of children) child.kill('SIGTERM')
  unmountAll()
})

export interface Disk {
  readonly path: string
  used(): Room
  /** What is there already counts; less than that is refused. Undefined: as much as one likes. */
  limit(room: Partial<Room>): void
  /** False: busy, since somebody has a file open for writing. */
  readOnly(yes: boolean): boolean
  unmount(): void
}

export interface Room {
  readonly bytes: number
  readonly inodes: number
}

/** The unit in which a tmpfs counts. */
export const PAGE = 4096
const PLENTY: Room = { bytes: 1024 ** 3, inodes: 1_000_000 }

/** `path`: an empty directory of the case's own. */
export function mountDisk(path: string): Disk {
  if (process.env[PRIVATE] === undefined) throw new Error('a disk is mounted where others would see it')
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${PLENTY.bytes},nr_inodes=${PLENTY.inodes},mode=0711`, 'torture', path])
  const remount = (options: string) => spawnSync('mount', ['-o', `remount,${options}`, path], { encoding: 'utf8' })
  const disk: Disk = {
    path,
    used() {
      const { blocks, bfree, bsize, files, ffree } = statfsSync(path)
      return { bytes: (blocks - bfree) * bsize, inodes: files - ffree }
    },
    limit(room) {
      const { bytes, inodes } = { ...PLENTY, ...room }
      // Not 0, which a tmpfs takes for no limit, and keeps.
      const { status, stderr } = remount(`size=${Math.max(bytes, PAGE)},nr_inodes=${inodes}`)
      if (status !== 0) throw new Error(`${path} cannot have ${bytes} bytes and ${inodes} inodes: ${stderr}`)
    },
    readOnly: (yes) => remount(yes ? 'ro' : 'rw').status === 0,
    unmount() {
      const at = mounted.indexOf(disk)
      if (at < 0) return
      mounted.splice(at, 1)
      // Lazily: what a process still has open goes when it closes it.
      if (spawnSync('umount', [path]).status !== 0) spawnSync('umount', ['-l', path])
    },
  }
  mounted.push(disk)
  return disk
}

function unmountAll(): void {
  for (const disk of [...mounted].reverse()) disk.unmount()
}

/** The same case, run again in a process with mounts of its own. */
export function withPrivateMounts(one: Case): Case {
  return {
    ...one,
    async run(context) {
      try {
        if (process.env[PRIVATE] !== undefined) await one.run(context)
        else await runApart(one.name, context)
      } finally {
        unmountAll()
      }
    },
  }
}

async function runApart(name: string, { seed, profile, directory, count, note }: CaseContext): Promise<void> {
  const unshare = unshareArgs(directory)
  if (unshare === undefined) {
    if (process.getuid?.() === 0)
      throw new Error('this root may not mount a tmpfs: run where it may (CAP_SYS_ADMIN), or as an ordinary user')
    return note(`skipped ${name}: neither root nor allowed to have a user namespace, so no disk can be mounted`)
  }
  const main = [process.execPath, MAIN, '--profile', profile, '--seed', String(seed), '--only', name]
  const child = spawn('unshare', [...unshare, ...main], {
    env: { ...process.env, [PRIVATE]: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.add(child)
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  children.delete(child)
  if (code !== 0) throw new Error(`apart, with mounts of its own:\n${said}`)
  for (const line of said.split('\n')) {
    const counted = /^(\S.*): (\d+)$/.exec(line)
    if (counted) count(counted[1] as string, Number(counted[2]))
    else if (line.startsWith('        ')) note(line.trim())
  }
}

/** An ordinary user keeps his number, since Firn and Postgres look at it, and is given the capabilities of his own namespace. */
function unshareArgs(empty: string): string[] | undefined {
  const shared = ['--mount', '--propagation', 'private']
  const args = process.getuid?.() === 0 ? shared : ['--user', '--map-current-user', '--keep-caps', ...shared]
  const tried = spawnSync('unshare', [...args, 'mount', '-t', 'tmpfs', '-o', 'size=4k', 'torture', empty])
  return tried.status === 0 ? args : undefined
}
