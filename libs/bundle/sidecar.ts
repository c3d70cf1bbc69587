/** The manifest beside the tar: gzipped, with one more last line that says what the tar must be. Read without a thaw. */
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGunzip, gzip } from 'node:zlib'
import { FirnError } from '#libs/errors/errors.js'
import { type Manifest, parseManifest } from './manifest.js'
import { collectManifest } from './manifest-bytes.js'

export interface Sidecar extends Manifest {
  readonly tarBytes: number
  readonly tarSha256: string
}

/** How much is unpacked at a time. */
const CHUNK_BYTES = 256 * 1024

export async function encodeSidecar(manifest: Uint8Array, tarBytes: number, tarSha256: string): Promise<Buffer> {
  const last = Buffer.from(`${JSON.stringify({ tar_bytes: tarBytes, tar_sha256: tarSha256 })}\n`)
  // Names compress well at any level; the time goes into the tars.
  return promisify<Buffer, { level: number }, Buffer>(gzip)(Buffer.concat([manifest, last]), { level: 1 })
}

/** Throws `damaged` for what `encodeSidecar` did not make. `maxBytes`: of the manifest, unpacked. */
export async function decodeSidecar(gzipped: Uint8Array, { maxBytes }: { maxBytes?: number } = {}): Promise<Sidecar> {
  const manifest = collectManifest(maxBytes)
  try {
    const unpacked: AsyncIterable<Uint8Array> = Readable.from([gzipped]).pipe(createGunzip({ chunkSize: CHUNK_BYTES }))
    for await (const chunk of unpacked) manifest.add(chunk)
  } catch (error) {
    throw new FirnError('damaged', 'a manifest cannot be unpacked', { cause: error })
  }
  const bytes = manifest.all()
  const lastLine = bytes.subarray(0, -1).lastIndexOf('\n') + 1
  const { tarBytes, tarSha256 } = parseLast(bytes.toString('utf8', lastLine))
  return { ...parseManifest(bytes.subarray(0, lastLine)), tarBytes, tarSha256 }
}

function parseLast(line: string): { tarBytes: number; tarSha256: string } {
  try {
    const { tar_bytes: tarBytes, tar_sha256: tarSha256 } = JSON.parse(line) as Record<string, unknown>
    if (
      Number.isSafeInteger(tarBytes) &&
      (tarBytes as number) >= 0 &&
      typeof tarSha256 === 'string' &&
      /^[0-9a-f]{64}$/.test(tarSha256)
    ) {
      return { tarBytes: tarBytes as number, tarSha256 }
    }
  } catch {
    // said below
  }
  throw new FirnError('damaged', 'a manifest has no last line with tar_bytes and tar_sha256')
}
