/**
 * Cold storage, played by a directory (`local:/srv/vault?thaw=5`): each cold object has a small file beside it that says until when
 * it can be read, so that several processes and restarts agree. An object without that file is warm.
 */
import { readFile, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '#libs/errors/errors.js'
import type { Thaw, ThawRequest } from '../vault.js'
import { publish } from './durable.js'
import { temporaryName, thawName } from './hidden-name.js'
import { createFile } from './owned.js'

const DAY_MS = 86_400_000

export interface ThawStates {
  /** To be called before the object gets its name: from then on it is cold, never readable for a moment. */
  makeCold(path: string): Promise<void>
  /** Takes `makeCold` back, where the object did not come to be. */
  forget(path: string): Promise<void>
  stateOf(path: string): Promise<Thaw>
  /** Asks for a copy. While it is on its way only the days may grow; while it is ready it is kept for `days` from now. */
  ask(path: string, request: ThawRequest): Promise<Thaw>
}

interface Copy {
  readyAt: number
  expiresAt: number
}

/** `seconds`: how long a thaw takes; 0 is at once. `now`: milliseconds since 1970. */
export function thawStates(seconds: number, now: () => number): ThawStates {
  async function stateOf(path: string): Promise<Thaw> {
    const copy = await readCopy(path)
    return copy === 'warm' ? { state: 'ready' } : said(copy, now())
  }

  return {
    stateOf,

    async makeCold(path) {
      const temporary = await writeBeside(path, {})
      try {
        // Never over an existing one: that would freeze an object of that name that somebody has thawed.
        await publish(temporary, stateFileOf(path))
      } catch (error) {
        await unlink(temporary).catch(() => {})
        if (errnoOf(error) !== 'EEXIST') throw error
      }
    },

    async forget(path) {
      const taken = await stat(path).then(
        () => true,
        () => false,
      )
      if (!taken) await unlink(stateFileOf(path)).catch(() => {})
    },

    async ask(path, { days }) {
      const copy = await readCopy(path)
      if (copy === 'warm') return { state: 'ready' }
      const at = now()
      const keptMs = days * DAY_MS
      const alive = copy !== undefined && at < copy.expiresAt
      const readyAt = alive ? copy.readyAt : at + seconds * 1000
      const expiresAt = Math.max(alive ? copy.expiresAt : 0, Math.max(readyAt, at) + keptMs)
      if (!alive || expiresAt !== copy.expiresAt) {
        const next = { readyAt, expiresAt }
        const temporary = await writeBeside(path, next)
        await rename(temporary, stateFileOf(path))
        return said(next, at)
      }
      return said(copy, at)
    },
  }
}

const stateFileOf = (path: string): string => join(dirname(path), thawName(basename(path)))

function said(copy: Copy | undefined, at: number): Thaw {
  if (!copy || at >= copy.expiresAt) return { state: 'cold' }
  if (at < copy.readyAt) return { state: 'thawing', readyAt: new Date(copy.readyAt) }
  return { state: 'ready', expiresAt: new Date(copy.expiresAt) }
}

/** undefined: cold and not asked for. What cannot be understood counts as that: the worst is to ask once more. */
async function readCopy(path: string): Promise<Copy | undefined | 'warm'> {
  let text: string
  try {
    text = await readFile(stateFileOf(path), 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'warm'
    throw error
  }
  try {
    const { readyAt, expiresAt } = JSON.parse(text) as Partial<Record<keyof Copy, string>>
    const copy = { readyAt: Date.parse(readyAt ?? ''), expiresAt: Date.parse(expiresAt ?? '') }
    return Number.isNaN(copy.readyAt) || Number.isNaN(copy.expiresAt) ? undefined : copy
  } catch {
    return undefined
  }
}

/** A synced temporary with the state, to be linked or renamed into place. */
async function writeBeside(path: string, copy: Partial<Copy>): Promise<string> {
  const dates = Object.fromEntries(Object.entries(copy).map(([key, ms]) => [key, new Date(ms).toISOString()]))
  const temporary = join(dirname(path), temporaryName(basename(path)))
  const handle = await createFile(temporary)
  try {
    await handle.writeFile(`${JSON.stringify(dates)}\n`)
    await handle.datasync()
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw error
  } finally {
    await handle.close()
  }
  return temporary
}
