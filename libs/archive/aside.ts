/**
 * A source of which nobody can be kept from writing (its file system gives no lease, or it is another user's) is removed under another name:
 * who opens it by its own name meanwhile does not find it. The catalog knows the other name first, so that whatever ends in between leaves
 * a file that the next command puts back.
 */
import { randomBytes } from 'node:crypto'
import type { Aside, Catalog } from '#libs/catalog/catalog.js'
import { errnoOf } from '#libs/errors/errors.js'
import { joinRaw, nameOf, parentOf, type Raw } from '#libs/os/raw.js'
import { TreeAccess } from '#libs/os/tree-access.js'

/** Bytes of a name that stay: all of it may be 255. */
const KEPT_BYTES = 200
const ASIDE = /\.firn-[0-9a-f]{16}$/

const stemOf = (path: Raw): Raw => joinRaw(parentOf(path), nameOf(path).slice(0, KEPT_BYTES) as Raw)

export const asideOf = (path: Raw): Raw => `${stemOf(path)}.firn-${randomBytes(8).toString('hex')}` as Raw

/** Whether it is a name that `asideOf` gives: who can write rows must not have other files renamed by whoever runs the next command. */
const isAsideOf = ({ path, aside }: Aside): boolean => mayBeAside(aside) && aside.replace(ASIDE, '') === stemOf(path)

/** Whether a name may be one of those; the catalog knows. */
export const mayBeAside = (path: Raw): boolean => ASIDE.test(path)

export interface PutBackEvents {
  /** It has its name again. */
  readonly onPutBack?: (file: Aside) => void
  /** Its name is taken: it stays beside it, under the other one. */
  readonly onBeside?: (file: Aside) => void
}

/** Puts back what removals of this host left that were killed. What cannot be looked at from here is left to who can. */
export async function putBack(
  {
    catalog,
    host,
    isGone,
  }: { catalog: Pick<Catalog, 'asides' | 'forgetAside'>; host: string; isGone: (owner: string) => boolean },
  events: PutBackEvents = {},
): Promise<void> {
  for (const file of (await catalog.asides(host, isGone)).filter(isAsideOf)) {
    const outcome = putOneBack(file)
    if (outcome === 'unseen') continue
    // A login that may not change the catalog leaves the note: who may finds that it is done.
    await catalog.forgetAside(host, file.aside).catch(() => {})
    if (outcome === 'back') events.onPutBack?.(file)
    if (outcome === 'beside') events.onBeside?.(file)
  }
}

function putOneBack({ path, aside }: Aside): 'back' | 'beside' | 'done' | 'unseen' {
  try {
    using tree = new TreeAccess([parentOf(path)])
    tree.rename(aside, nameOf(path))
    return 'back'
  } catch (error) {
    const code = errnoOf(error)
    if (code === undefined) throw error
    if (code === 'EEXIST') return 'beside'
    return code === 'ENOENT' && isThere(parentOf(path)) ? 'done' : 'unseen'
  }
}

function isThere(directory: Raw): boolean {
  try {
    using tree = new TreeAccess([directory])
    tree.stat(directory)
    return true
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}
