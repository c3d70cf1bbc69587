/**
 * What root makes in an ordinary user's directory belongs to that user, who could not read or sweep his own vault otherwise. Owner and
 * place are those of one opened directory: its owner may exchange it for a symlink meanwhile, and must not be given a file elsewhere.
 */
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants

/** A new, empty file of mode 0600 for writing. Throws as `open`; EEXIST if the name is taken. */
export const createFile = (path: string): Promise<FileHandle> =>
  inDirectoryOf(path, async (place, give) => {
    const handle = await open(place, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    await give(handle)
    return handle
  })

/** A new directory of mode 0700. Throws as `mkdir`; EEXIST if the name is taken. */
export const createDirectory = (path: string): Promise<void> =>
  inDirectoryOf(path, async (place, give) => {
    await mkdir(place, { mode: 0o700 })
    if (!isRoot()) return
    const handle = await open(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    try {
      await give(handle)
    } finally {
      await handle.close()
    }
  })

const isRoot = (): boolean => process.platform === 'linux' && process.getuid?.() === 0

async function inDirectoryOf<T>(
  path: string,
  make: (place: string, give: (made: FileHandle) => Promise<void>) => Promise<T>,
): Promise<T> {
  if (!isRoot()) return make(path, async () => {})
  const directory = await open(dirname(path), O_RDONLY | O_DIRECTORY)
  try {
    return await make(`/proc/self/fd/${directory.fd}/${basename(path)}`, async (made) => {
      const [owner, own] = [await directory.stat(), await made.stat()]
      if (owner.uid !== 0 && own.uid === 0) await made.chown(owner.uid, owner.gid)
    })
  } finally {
    await directory.close()
  }
}
