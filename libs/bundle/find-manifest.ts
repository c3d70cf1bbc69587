/** The manifest out of the tar itself, for when the one beside it is lost: the whole tar goes by, none of it is kept. */
import { MANIFEST_NAME } from './manifest.js'
import { collectManifest, type ManifestBytes } from './manifest-bytes.js'
import { readMembers } from './tar-members.js'

/** The bytes of the last member of that name; undefined where there is none. Throws `damaged` for what is no tar. */
export async function findManifest(tar: AsyncIterable<Uint8Array>): Promise<Buffer | undefined> {
  let manifest: ManifestBytes | undefined
  await readMembers(tar, ({ name, isFile }) => {
    if (!isFile || name !== MANIFEST_NAME) return undefined
    manifest = collectManifest()
    return manifest.add
  })
  return manifest?.all()
}
