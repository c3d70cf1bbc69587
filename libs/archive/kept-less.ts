/** Entries of which less was kept than a run keeps: they are looked at once, and those that have more get a new version. */
import { hasMoreThan, type Keep } from '#libs/bundle/xattrs.js'
import { errnoOf } from '#libs/errors/errors.js'
import type { Raw } from '#libs/os/raw.js'
import type { TreeAccess } from '#libs/os/tree-access.js'
import type { WalkPage } from '#libs/walk/source.js'
import type { HasMore } from './compare.js'

/** What cannot be looked at now tells so when it is packed, if it ever is. */
export function moreThanKept(tree: TreeAccess, keep: Keep): HasMore {
  return ({ path }, kept) => {
    try {
      using held = tree.hold(path)
      return hasMoreThan(kept, keep, held)
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      return false
    }
  }
}

/** Directories in which everything was looked at and nothing had more than was kept: nobody need look again. */
export function lookedDirectories(): { done(page: WalkPage, looked: ReadonlyMap<Raw, boolean>): Raw[] } {
  /** Those that go over several pages: whether it may still be said of them. */
  const begun = new Map<Raw, boolean>()
  return {
    done({ listings }, looked) {
      const done: Raw[] = []
      for (const { directory, last, names } of listings) {
        const before = begun.get(directory)
        const now = looked.get(directory)
        // What a filter passes over was not looked at.
        const clean = !names?.some(({ isEntry }) => !isEntry) && before !== false && now !== false
        if (last !== undefined) {
          if (!clean || now !== undefined || before !== undefined) begun.set(directory, clean)
          continue
        }
        begun.delete(directory)
        if (clean && (now ?? before) !== undefined) done.push(directory)
      }
      return done
    },
  }
}
