/**
 * The manifest beside the tar: gzipped, with one more last line that says what the tar must be, and proves who wrote it. Read without a
 * thaw.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { createGunzip, gzip } from 'node:zlib'
import { FirnError } from '#libs/errors/errors.js'
import { shown } from '#libs/os/raw.js'
import type { Entry } from './entry.js'
import type { ManifestHeader } from './manifest.js'
import { readManifest } from './manifest-stream.js'

/** What the last line says. */
export interface TarFacts {
  readonly tarBytes: number
  /** Hex. */
  readonly tarSha256: string
  /** How the vault names the bytes of a tar that was sent in parts (see Upload.checksum). */
  readonly checksum?: string | undefined
}

/** Whose attempt a sidecar is of: the secret of its bundle's row, which nobody has who can only add to the vault. */
export interface Attempt {
  readonly secret: Uint8Array
  readonly bundle: string
  readonly attempt: number
}

export interface SidecarEnd extends TarFacts {
  readonly kind: 'end'
  /** Of the manifest, as it is in the tar. Hex. */
  readonly manifestSha256: string
  /** Hex; undefined in sidecars of versions before it. */
  readonly hmac?: string
}

export type SidecarPart =
  | { readonly kind: 'header'; readonly header: ManifestHeader }
  | { readonly kind: 'entries'; readonly entries: readonly Entry[] }
  | SidecarEnd

/** How much is unpacked at a time. */
const CHUNK_BYTES = 256 * 1024

export async function encodeSidecar(manifest: Uint8Array, tar: TarFacts, attempt?: Attempt): Promise<Buffer> {
  const manifestSha256 = createHash('sha256').update(manifest).digest('hex')
  const last = {
    tar_bytes: tar.tarBytes,
    tar_sha256: tar.tarSha256,
    ...(tar.checksum !== undefined && { checksum: tar.checksum }),
    ...(attempt && { hmac: proofOf(attempt, manifestSha256, tar) }),
  }
  // Names compress well at any level; the time goes into the tars.
  return promisify<Buffer, { level: number }, Buffer>(gzip)(Buffer.concat([manifest, Buffer.from(`${JSON.stringify(last)}\n`)]), {
    level: 1,
  })
}

/** Over everything that a sidecar says; docs/bundle-format.md has it byte by byte. */
function proofOf(
  { secret, bundle, attempt }: Attempt,
  manifestSha256: string,
  { tarBytes, tarSha256, checksum = '' }: TarFacts,
): string {
  const said = ['firn-attempt/1', bundle, attempt, manifestSha256, tarBytes, tarSha256, checksum].join('\n')
  return createHmac('sha256', secret).update(said).digest('hex')
}

/** Whether a worker that had the secret of the attempt wrote this sidecar. */
export function isProved(end: SidecarEnd, attempt: Attempt): boolean {
  if (end.hmac === undefined) return false
  const expected = proofOf(attempt, end.manifestSha256, end)
  return timingSafeEqual(Buffer.from(end.hmac, 'hex'), Buffer.from(expected, 'hex'))
}

/**
 * The parts of a sidecar in their order; the end comes last. `tarBytes`: of the tar beside it, which holds the same manifest and the data of
 * its entries. Throws `damaged` for what `encodeSidecar` did not make, and what reading throws.
 */
export async function* readSidecar(gzipped: AsyncIterable<Uint8Array>, tarBytes: number): AsyncGenerator<SidecarPart> {
  for await (const part of readManifest(unpacked(gzipped), { maxBytes: tarBytes, hasLast: true })) {
    if (part.kind === 'entries') mustLieInside(part.entries, tarBytes)
    if (part.kind !== 'end') yield part
    else {
      const end = endOf(part.last ?? '', part.sha256)
      if (end.tarBytes !== tarBytes) {
        throw new FirnError('damaged', `its manifest is of a tar of ${end.tarBytes} bytes, and the tar has ${tarBytes}`)
      }
      yield end
    }
  }
}

/** Data in another bundle, and none, are not this tar's. */
export function mustLieInside(entries: readonly Entry[], tarBytes: number): void {
  for (const { path, type, size, offset, dataBundle } of entries) {
    if (offset === undefined || dataBundle !== undefined || type === 'directory' || type === 'symlink') continue
    if (offset + size > tarBytes) {
      throw new FirnError('damaged', `its manifest has an entry (${shown(path)}) whose data lie outside the tar`)
    }
  }
}

export async function* unpacked(gzipped: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES })
  const feeding = pipeline(gzipped, gunzip)
  feeding.catch(() => {}) // met below; keeps Node from calling it unhandled meanwhile
  try {
    yield* gunzip as AsyncIterable<Uint8Array>
    await feeding
  } catch (error) {
    if (error instanceof FirnError || !isOfZlib(error)) throw error
    throw new FirnError('damaged', 'a manifest cannot be unpacked', { cause: error })
  } finally {
    gunzip.destroy()
  }
}

const isOfZlib = (error: unknown): boolean => String((error as { code?: unknown }).code).startsWith('Z_')

const SHA256 = /^[0-9a-f]{64}$/

function endOf(line: string, manifestSha256: string): SidecarEnd {
  try {
    const { tar_bytes: tarBytes, tar_sha256: tarSha256, checksum, hmac } = JSON.parse(line) as Record<string, unknown>
    const isSum = typeof tarSha256 === 'string' && SHA256.test(tarSha256)
    if (isSum && Number.isSafeInteger(tarBytes) && (tarBytes as number) >= 0) {
      return {
        kind: 'end',
        manifestSha256,
        tarBytes: tarBytes as number,
        tarSha256,
        ...(typeof checksum === 'string' && { checksum }),
        ...(typeof hmac === 'string' && SHA256.test(hmac) && { hmac }),
      }
    }
  } catch {
    // said below
  }
  throw new FirnError('damaged', 'a manifest has no last line with tar_bytes and tar_sha256')
}
