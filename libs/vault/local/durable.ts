/** What a file system must be told so that a file is whole, alone of its name, and still there after a power cut. */
import { constants } from 'node:fs'
import { link, lstat, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '#libs/errors/errors.js'
import { step } from '#libs/os/steps.js'
import { claimName } from './hidden-name.js'
import { createDirectory, createFile } from './owned.js'

/** A new name lives in its directory: without this the file may be safe on the disk and yet nameless. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } catch (error) {
    // Some network file systems know no fsync of directories; they write names through.
    if (!['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error
  } finally {
    await handle.close()
  }
}

/**
 * Makes `directory` below `root`, component by component: `root` itself is never made here, since an archive's disk that is not
 * mounted must be an error and not an empty directory. All parents are synced, also those that another process made just now.
 */
export async function makeDirectory(root: string, directory: string): Promise<void> {
  if (directory === root) return
  const parent = dirname(directory)
  await makeDirectory(root, parent)
  try {
    await createDirectory(directory)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
  }
  step('local-vault.directory-made')
  await syncDirectory(parent)
}

/** Gives a finished temporary its name, refusing (EEXIST) a name that is taken; a plain rename would overwrite in silence. */
export async function publish(temporary: string, path: string, hardLink: typeof link = link): Promise<void> {
  try {
    await hardLink(temporary, path)
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(errnoOf(error) ?? '')) throw error
    return publishByRename(temporary, path)
  }
  step('local-vault.linked')
  // Left behind it is only a second name, which a sweep removes: the object is there, and that is what the caller must hear.
  await unlink(temporary).catch(() => {})
}

/** Without hard links (FAT, some network shares) the check and the rename are two steps: whoever holds the claim does both. */
async function publishByRename(temporary: string, path: string): Promise<void> {
  const claim = join(dirname(path), claimName(basename(path)))
  await (await createFile(claim)).close()
  try {
    const taken = await lstat(path).then(
      () => true,
      (error) => {
        if (errnoOf(error) === 'ENOENT') return false
        throw error
      },
    )
    if (taken) throw Object.assign(new Error(`EEXIST: file already exists, ${path}`), { code: 'EEXIST', path })
    await rename(temporary, path)
  } finally {
    await unlink(claim).catch(() => {})
  }
}
