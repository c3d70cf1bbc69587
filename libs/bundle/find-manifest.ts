/** Where the manifest is inside the tar, for when the one beside it is lost: the whole tar goes by, none of it is kept. */
import { MANIFEST_NAME } from './manifest.js'
import { readMembers } from './tar-members.js'

/** Offset and size of the last member of that name; undefined if there is none. Throws `damaged` for what is not a tar. */
export async function findManifest(tar: AsyncIterable<Uint8Array>): Promise<{ offset: number; size: number } | undefined> {
  let found: { offset: number; size: number } | undefined
  await readMembers(tar, ({ name, isFile, offset, size }) => {
    if (isFile && name === MANIFEST_NAME) found = { offset, size }
  })
  return found
}
