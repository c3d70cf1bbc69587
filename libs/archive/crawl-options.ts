/** The options of a crawl as a set keeps them: JSON-safe, with absolute times, so that an interrupted crawl can be done again. */
import { isDeepStrictEqual } from 'node:util'
import type { Keep } from '#libs/bundle/xattrs.js'
import type { SetRequest } from '#libs/catalog/catalog.js'
import type { WalkRequest } from '#libs/walk/source.js'

export interface CrawlOptions {
  readonly filesPerBundle: number
  readonly bundleBytes: number
  /** Also what is archived already. */
  readonly force: boolean
  readonly keep: Keep
  readonly walk: Omit<WalkRequest, 'roots' | 'realRoots' | 'leaveOut'>
  /** The ages in days, as typed: the times made of them differ at each run of the same command. */
  readonly ages?: { readonly olderThan?: string | undefined; readonly newerThan?: string | undefined }
}

/** As it stands in the set's row. */
export function optionsToJson(options: CrawlOptions): Record<string, unknown> {
  const { age, ...walk } = options.walk
  const { olderThanNs, newerThanNs } = age ?? {}
  return {
    ...options,
    walk: {
      ...walk,
      ...(age && {
        age: {
          time: age.time,
          ...(olderThanNs !== undefined && { olderThanNs: String(olderThanNs) }),
          ...(newerThanNs !== undefined && { newerThanNs: String(newerThanNs) }),
        },
      }),
    },
  }
}

/** The reverse of `optionsToJson`. */
export function optionsFromJson(json: Readonly<Record<string, unknown>>): CrawlOptions {
  const { keep, ...rest } = json as unknown as CrawlOptions
  const options = { ...rest, keep: keepFrom(keep) }
  const age = options.walk.age as undefined | { time: 'atime' | 'mtime' | 'ctime'; olderThanNs?: string; newerThanNs?: string }
  if (age === undefined) return options
  const { olderThanNs, newerThanNs } = age
  return {
    ...options,
    walk: {
      ...options.walk,
      age: {
        time: age.time,
        ...(olderThanNs !== undefined && { olderThanNs: BigInt(olderThanNs) }),
        ...(newerThanNs !== undefined && { newerThanNs: BigInt(newerThanNs) }),
      },
    },
  }
}

/** Versions before kept either all xattrs or none. */
const keepFrom = (keep: { xattrs: Keep['xattrs'] | boolean; cifs: boolean } = { xattrs: false, cifs: false }): Keep => ({
  ...keep,
  xattrs: keep.xattrs === true ? 'all' : keep.xattrs === false ? 'none' : keep.xattrs,
})

/** Whether two requests are of the same command, given again: then the second goes on with what the first left. */
export const isSameRequest = (a: SetRequest, b: SetRequest): boolean => isDeepStrictEqual(asTyped(a), asTyped(b))

function asTyped({ host, roots, description, tags, options, vaultId }: SetRequest): unknown {
  const { walk, ages, keep, ...more } = options as unknown as CrawlOptions
  const { age, ...filters } = walk ?? {}
  const times = ages === undefined ? age : age && { time: age.time, ...ages }
  // As a row of the catalog gives it back.
  const json = JSON.parse(JSON.stringify({ ...more, keep: keepFrom(keep), filters, times }))
  return { host, roots: [...roots].sort(), description, tags: [...tags].sort(), vaultId, ...json }
}
