/**
 * What its owner once said on a command line of this home and commands must know later: vaults (`--vault`, `--from`) and targets of
 * `--detach --to`. It counts as configuration: rows of the catalog may name a place, they never permit one. Of embedded homes only; a
 * fleet is configured.
 */
import { constants } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import type { FileLock } from '#libs/os/file-lock.js'
import { flock } from '#libs/os/libc.js'
import { isWithin, jsonName, nameFromJson, type Raw } from '#libs/os/raw.js'
import { whyNotTrusted } from '#libs/os/trusted-path.js'
import { prepareHome, reasonOf } from './home.js'

export interface RememberedTarget {
  readonly path: Raw
  readonly overwrite: boolean
  readonly setuid: boolean
}

export interface Remembered {
  /** URLs with their options. */
  readonly vaults: readonly string[]
  readonly targets: readonly RememberedTarget[]
}

const NAME = 'remembered.json'
const MOST_BYTES = 10 * 2 ** 20
/** Of targets, the latest: whoever detaches each night to a directory of its own must not make the file grow for ever. */
const MOST_TARGETS = 1_000

const NOTHING: Remembered = { vaults: [], targets: [] }

/** Nothing in a home that has no such file. Throws `usage` for a file that others could have written, or that cannot be read. */
export async function readRemembered(home: string): Promise<Remembered> {
  const path = join(home, NAME)
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const stat = await handle.stat()
      const why = whyNotTrusted(stat) ?? (stat.size > MOST_BYTES ? 'is too large' : undefined)
      if (why !== undefined) throw new FirnError('usage', `${path} cannot be trusted: it ${why}. Remove it.`)
      return fromJson(JSON.parse(await handle.readFile('utf8')))
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return NOTHING
    if (error instanceof FirnError) throw error
    throw new FirnError('usage', `${path} cannot be read: ${error instanceof Error ? error.message : error}. Remove it.`, {
      cause: error,
    })
  }
}

/** A vault of the same place takes the place of the one before: its options are the newer ones. */
export const rememberVault = (home: string, url: string): Promise<void> =>
  change(home, (known) => {
    if (known.vaults.includes(url)) return known
    return { ...known, vaults: [...known.vaults.filter((one) => placeOf(one) !== placeOf(url)), url] }
  })

export const rememberTarget = (home: string, target: RememberedTarget): Promise<void> =>
  change(home, (known) => ({
    ...known,
    targets: [...known.targets.filter(({ path }) => path !== target.path), target].slice(-MOST_TARGETS),
  }))

/** What names a vault, without its options and a slash at its end. */
export const placeOf = (url: string): string => url.replace(/\?.*$/s, '').replace(/(?<=[^/:])\/+$/, '')

/** The target that permits a directory; a path with `.` or `..` in it lies below nothing. */
export function permitting<T extends { readonly path: Raw }>(targets: readonly T[], path: Raw): T | undefined {
  if (/\/(?:\.{0,2})(?:\/|$)/.test(path)) return undefined
  return targets.find((target) => isWithin(path, target.path))
}

async function change(home: string, next: (known: Remembered) => Remembered): Promise<void> {
  // What is known already needs no writing: a home may be read-only by now.
  const before = await readRemembered(home)
  if (next(before) === before) return
  await prepareHome(home)
  const path = join(home, NAME)
  let lock: FileLock | undefined
  try {
    lock = await flock(join(home, '.remembered.lock'))
    const known = await readRemembered(home)
    const changed = next(known)
    if (changed === known) return
    const temporary = `${path}.new`
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW
    const handle = await open(temporary, flags, 0o600)
    try {
      await handle.writeFile(`${JSON.stringify(toJson(changed), undefined, 2)}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    if (error instanceof FirnError || errnoOf(error) === undefined) throw error
    throw new FirnError('usage', `${path} cannot be written: ${reasonOf(error)}.`, { cause: error })
  } finally {
    lock?.release()
  }
}

const toJson = ({ vaults, targets }: Remembered) => ({
  vaults,
  targets: targets.map(({ path, overwrite, setuid }) => ({ ...jsonName('path', path), overwrite, setuid })),
})

function fromJson(json: unknown): Remembered {
  const { vaults, targets } = json as { vaults?: unknown; targets?: unknown }
  if (!Array.isArray(vaults) || !Array.isArray(targets)) throw new Error('it does not hold vaults and targets')
  return {
    vaults: vaults.map(String),
    targets: targets.flatMap((target: Record<string, unknown>) => {
      const path = nameFromJson('path', target)
      return path === undefined ? [] : { path, overwrite: target['overwrite'] === true, setuid: target['setuid'] === true }
    }),
  }
}
