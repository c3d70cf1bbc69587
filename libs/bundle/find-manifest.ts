/** The manifest out of the tar itself, for when the one beside it is lost: the whole tar goes by, none of it is kept. */

import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { extract } from 'tar-stream'
import { FirnError } from '#libs/errors/errors.js'
import { MANIFEST_NAME } from './manifest.js'

const MAX_MANIFEST_BYTES = 1024 * 2 ** 20

/** The bytes of the last member of that name; undefined where there is none. Throws `damaged` for what is no tar. */
export async function findManifest(tar: AsyncIterable<Uint8Array>): Promise<Buffer | undefined> {
  const members = extract()
  let manifest: Buffer | undefined
  members.on('entry', (header, body, next) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const wanted = header.name === MANIFEST_NAME
    body.on('data', (data: unknown) => {
      const chunk = data as Buffer
      if (!wanted) return
      bytes += chunk.length
      if (bytes > MAX_MANIFEST_BYTES) members.destroy(new FirnError('damaged', 'its manifest is larger than any manifest'))
      else chunks.push(chunk)
    })
    body.on('end', () => {
      if (wanted) manifest = Buffer.concat(chunks)
      next()
    })
    body.on('error', () => {}) // the pipeline tells
  })
  try {
    await pipeline(Readable.from(tar, { objectMode: false }), members)
  } catch (error) {
    if (error instanceof FirnError) throw error
    throw new FirnError('damaged', `it cannot be read as a tar: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    })
  }
  return manifest
}
