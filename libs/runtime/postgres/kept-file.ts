/** A small file beside the data (lock, log, notes). Belongs to the directory's owner also when root makes it, so that he can go on. */
import { type FileHandle, open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

export async function openKept(path: string, flags: 'a+' | 'w'): Promise<FileHandle> {
  const handle = await open(path, flags, 0o600)
  if (process.getuid?.() === 0) {
    const { uid, gid } = await stat(dirname(path))
    await handle.chown(uid, gid)
  }
  return handle
}

export async function writeKept(path: string, text: string): Promise<void> {
  const handle = await openKept(path, 'w')
  await handle.writeFile(text).finally(() => handle.close())
}
