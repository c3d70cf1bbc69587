/** The command line of `archive-files`, and what it means. */
import { lstatSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { Command } from 'commander'
import { Option } from 'commander'
import type { CrawlOptions } from '#libs/archive/crawl-options.js'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { joinRaw, type Raw, rawFromBytes, rawFromText, rawToBytes, shown } from '#libs/os/raw.js'
import { absolutePath } from '#libs/runtime/typed-paths.js'
import { normaliseRoots } from '#libs/walk/tree/normalise-roots.js'

export interface ArchiveFlags {
  readonly recursive?: boolean
  readonly debug?: boolean
  readonly description?: string
  readonly tags?: string
  readonly olderThan?: string
  readonly newerThan?: string
  readonly time: 'atime' | 'mtime' | 'ctime'
  readonly dryRun?: boolean
  readonly cifs?: boolean
  readonly xattrs?: boolean
  readonly nfs4?: boolean
  readonly include?: string[]
  readonly exclude?: string[]
  readonly oneFileSystem?: boolean
  readonly filesPerBundle?: string
  readonly bundleSize?: string
  readonly vault?: string
  readonly force?: boolean
  readonly workers?: string
  readonly detach?: boolean
  readonly host?: string
  readonly deleteAfterArchive?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
  readonly progress: boolean
  readonly yes?: boolean
  readonly config?: string
}

/** Of an option that may be given several times. */
const collect = (value: string, before: string[] | undefined) => [...(before ?? []), value]

export function archiveOptions(command: Command): Command {
  return command
    .description('Archives files: walks the paths, bundles what is new, and stores it verified and catalogued.')
    .argument('<path...>', 'directories and files to archive')
    .option('-r, --recursive', 'descend (without it: the files directly in a directory)')
    .option('-d, --debug', 'debug log on stderr')
    .option('-s, --description <text>', 'short description of the set')
    .option('-t, --tags <a,b,c>', 'tags of the set, separated by commas')
    .option('-x, --older-than <days>', 'only files whose time is older than now - days')
    .option('-z, --newer-than <days>', 'only files whose time is newer than now - days (both: between)')
    .addOption(
      new Option('--time <which>', 'the time that -x and -z look at').choices(['atime', 'mtime', 'ctime']).default('atime'),
    )
    .option('-n, --dry-run', 'print each bundle that would be made, and the totals; write, send and record nothing')
    .option('-e, --cifs', 'keep CIFS security descriptors')
    .option('--no-xattrs', 'without user.* xattrs, POSIX ACLs and capabilities, which are kept by default')
    .option('-f, --nfs4', 'keep all other xattrs too: NFSv4 ACLs, trusted.*, labels')
    .option('--include <glob>', 'only files that match (repeatable)', collect)
    .option('--exclude <glob>', 'nothing that matches (repeatable)', collect)
    .option('--one-file-system', 'do not enter other file systems')
    .option('--files-per-bundle <n>', 'files in a bundle at most (default: 1000)')
    .option('--bundle-size <size>', 'file bytes in a bundle at most, such as 500MB or 1GiB (default: 500MB)')
    .option(
      '--vault <url>',
      'where bundles go: local:/directory, s3://bucket/prefix?class=DEEP_ARCHIVE, glacier://vault (default: local:$FIRN_HOME/vault)',
    )
    .option('--force', 'archive also what is archived already')
    .option('--workers <n>', 'bundles packed at a time by this command (default: the number of cores)')
    .option('--detach', 'return once everything is planned; workers elsewhere do the rest')
    .option('--host <name>', "whose tree it is (default: the machine's name)")
    .option('--delete-after-archive', 'remove each source that is stored, verified again and still unchanged')
    .option('--json', 'NDJSON messages on stdout')
    .option('--quiet', 'print only problems and errors')
    .option('--no-progress', 'no progress line')
    .option('--yes', 'do not ask')
    .option('--config <file>', 'configuration file (default: $XDG_CONFIG_HOME/firn/config.yaml)')
}

/**
 * The paths as roots: absolute, each tree once. A path that is not there is an error before anything begins. `link/` means what
 * the link points to, `link` the link itself, as it does to other tools.
 */
export function rootsFrom(paths: readonly Raw[], walk: CrawlOptions['walk']): Raw[] {
  const roots = paths.map((path) => {
    if (path === '') throw new FirnError('usage', 'a path is empty; nothing was archived')
    try {
      const absolute = followed(path)
      if (!lstatSync(rawToBytes(absolute)).isSymbolicLink() || !path.endsWith('/')) return absolute
      return rawFromBytes(realpathSync(rawToBytes(absolute), 'buffer'))
    } catch (error) {
      const code = errnoOf(error)
      const why = code === 'ENOENT' || code === 'ENOTDIR' ? 'there is no such file or directory' : String(code ?? error)
      throw new FirnError('usage', `${shown(path)}: ${why}; nothing was archived`)
    }
  })
  return normaliseRoots(roots, walk)
}

/** Behind a symlink `..` is not where the text says: then the way is followed as the kernel does, up to the last name. */
function followed(path: Raw): Raw {
  if (!path.split('/').includes('..')) return absolutePath(path)
  const name = basename(path)
  // Node's own, without `native`, resolves the text first.
  const real = (way: string) => rawFromBytes(realpathSync.native(rawToBytes(way as Raw), 'buffer'))
  return name === '..' || name === '.' ? real(path) : joinRaw(real(dirname(path)), name as Raw)
}

/** What Firn left out silently would be believed to be archived. */
export function refuseOwnPlaces(roots: readonly Raw[], own: readonly Raw[]): void {
  for (const root of roots) {
    if (!own.some((place) => place === root || isSameDirectory(place, root))) continue
    throw new FirnError(
      'usage',
      `${shown(root)} is where Firn keeps its own (FIRN_HOME, a vault or the restore directory), which is never archived; nothing was archived`,
    )
  }
}

function isSameDirectory(place: Raw, root: Raw): boolean {
  try {
    const [one, other] = [statSync(rawToBytes(place), { bigint: true }), lstatSync(rawToBytes(root), { bigint: true })]
    return one.isDirectory() && one.ino === other.ino && one.dev === other.dev
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false // a place that is not there yet
  }
}

const NS_PER_DAY = 86_400_000_000_000n

export function crawlOptionsFrom(
  flags: ArchiveFlags,
  limits: { filesPerBundle: number; bundleBytes: number },
  nowMs = Date.now(),
): CrawlOptions {
  if (flags.nfs4 && flags.xattrs === false)
    throw new FirnError('usage', '-f keeps all xattrs and --no-xattrs keeps none: give one of them')
  const before = (days: string | undefined, flag: string): bigint | undefined => {
    if (days === undefined) return undefined
    const number = Number(days)
    if (!/^\d+(\.\d+)?$/.test(days) || !Number.isFinite(number)) {
      throw new FirnError('usage', `${flag} takes a number of days, not ${JSON.stringify(days)}`)
    }
    return BigInt(nowMs) * 1_000_000n - BigInt(Math.round(number * 1e6)) * (NS_PER_DAY / 1_000_000n)
  }
  const olderThanNs = before(flags.olderThan, '--older-than')
  const newerThanNs = before(flags.newerThan, '--newer-than')
  if (olderThanNs !== undefined && newerThanNs !== undefined && olderThanNs <= newerThanNs) {
    throw new FirnError(
      'usage',
      `no file is older than ${flags.olderThan} days and newer than ${flags.newerThan} days; swap the two`,
    )
  }
  return {
    ...limits,
    force: flags.force ?? false,
    keep: { xattrs: flags.nfs4 ? 'all' : flags.xattrs === false ? 'none' : 'usual', cifs: flags.cifs ?? false },
    walk: {
      recursive: flags.recursive ?? false,
      oneFileSystem: flags.oneFileSystem ?? false,
      include: flags.include ?? [],
      exclude: flags.exclude ?? [],
      ...((olderThanNs ?? newerThanNs) !== undefined && {
        age: {
          time: flags.time,
          ...(olderThanNs !== undefined && { olderThanNs }),
          ...(newerThanNs !== undefined && { newerThanNs }),
        },
      }),
    },
    ...((olderThanNs ?? newerThanNs) !== undefined && { ages: { olderThan: flags.olderThan, newerThan: flags.newerThan } }),
  }
}

/** Trimmed, empty ones dropped, each once. */
export function tagsFrom(text: string | undefined): string[] {
  const tags = (text ?? '').split(',').flatMap((tag) => (tag.trim() === '' ? [] : [tag.trim()]))
  const unprintable = tags.find((tag) => /\p{Cc}/u.test(tag))
  if (unprintable !== undefined) {
    throw new FirnError('usage', `--tags: ${shown(rawFromText(unprintable))} holds a control character; a tag is printable text`)
  }
  return [...new Set(tags)]
}
