/** A small file beside the data (lock, log, notes). Never opened through a symlink, never waited for: the database's user may write beside some. */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants

const FLAGS = { 'a+': O_RDWR | O_CREAT | O_APPEND, w: O_WRONLY | O_CREAT | O_TRUNC, r: O_RDONLY } as const

export const openKept = (path: string, flags: keyof typeof FLAGS): Promise<FileHandle> =>
  open(path, FLAGS[flags] | O_NOFOLLOW | O_NONBLOCK, 0o600)

export async function writeKept(path: string, text: string): Promise<void> {
  const handle = await openKept(path, 'w')
  await handle.writeFile(text).finally(() => handle.close())
}

/** Notes are of a line or some; more is not one of ours. */
const MOST_BYTES = 4096

/** The beginning of the file; empty if it is not there or cannot be read. */
export async function readKept(path: string): Promise<string> {
  const handle = await openKept(path, 'r').catch(() => undefined)
  if (handle === undefined) return ''
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(MOST_BYTES), 0, MOST_BYTES, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } catch {
    return ''
  } finally {
    await handle.close()
  }
}
