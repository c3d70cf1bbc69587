/** The hashes that go with what is sent, and what the service must answer to them. */
import { createHash, webcrypto } from 'node:crypto'
import { FirnError } from '#libs/errors/errors.js'
import type { ChecksumMode } from './s3-url.js'

/** Of one body: a part, or a small object. */
export interface Digest {
  /** What a Put or UploadPart takes. */
  readonly fields: { readonly ChecksumSHA256?: string; readonly ChecksumAlgorithm?: 'SHA256'; readonly ContentMD5?: string }
  readonly raw: Uint8Array
}

/** What a Put, an UploadPart, a Complete or a HEAD says of an object. */
export interface Answered {
  readonly ChecksumSHA256?: string | undefined
  readonly ETag?: string | undefined
}

export interface Checksums {
  readonly mode: ChecksumMode
  digest(body: Uint8Array): Promise<Digest>
  /** Throws where the service's answer to one body is not its digest. */
  check(what: string, digest: Digest, answer: Answered): void
  /** Of an object in parts: the hash of the parts' hashes, as the service is to name it. */
  ofParts(digests: readonly Digest[]): Composite
  /** Is that the object? undefined where the service does not say enough. */
  agrees(expected: Composite, answer: Answered): boolean | undefined
}

export interface Composite {
  readonly sha256?: string
  readonly etag?: string
}

export function checksumsOf(mode: ChecksumMode): Checksums {
  return {
    mode,
    async digest(body) {
      if (mode === 'none') return { fields: {}, raw: new Uint8Array() }
      if (mode === 'md5') {
        const raw = createHash('md5').update(body).digest()
        return { fields: { ContentMD5: raw.toString('base64') }, raw }
      }
      // Web Crypto hashes in a thread of its own; the event loop goes on.
      const raw = Buffer.from(await webcrypto.subtle.digest('SHA-256', body as Uint8Array<ArrayBuffer>))
      // Amazon needs no more than the hash itself; some answer it only where its algorithm is named too.
      return { fields: { ChecksumSHA256: raw.toString('base64'), ChecksumAlgorithm: 'SHA256' }, raw }
    },
    check(what, digest, answer) {
      if (mode === 'sha256') {
        if (answer.ChecksumSHA256 === undefined) {
          throw new FirnError(
            'vault-refused',
            `${what} was taken without a SHA-256 in the answer, so nothing shows that it arrived whole: add checksum=md5 to the URL of the vault (or checksum=none).`,
          )
        }
        if (answer.ChecksumSHA256 !== digest.fields.ChecksumSHA256) throw spoilt(what, 'SHA-256')
      }
      // With a key of KMS's the ETag is no MD5, and says nothing.
      if (mode === 'md5' && isMd5(answer.ETag) && unquoted(answer.ETag) !== hex(digest)) throw spoilt(what, 'MD5')
    },
    ofParts(digests) {
      const of = (algorithm: string) => {
        const hash = createHash(algorithm)
        for (const { raw } of digests) hash.update(raw)
        return hash.digest()
      }
      if (mode === 'sha256') return { sha256: `${of('sha256').toString('base64')}-${digests.length}` }
      return mode === 'md5' ? { etag: `${of('md5').toString('hex')}-${digests.length}` } : {}
    },
    agrees(expected, answer) {
      if (expected.sha256 !== undefined && answer.ChecksumSHA256 !== undefined) {
        // Some answer the hash without the number of parts.
        return answer.ChecksumSHA256 === expected.sha256 || answer.ChecksumSHA256 === expected.sha256.replace(/-\d+$/, '')
      }
      if (expected.etag !== undefined && isMd5(answer.ETag)) return unquoted(answer.ETag) === expected.etag
      return undefined
    },
  }
}

/** Of one body that is a whole object. */
export const wholeOf = ({ fields, raw }: Digest): Composite => ({
  ...(fields.ChecksumSHA256 !== undefined && { sha256: fields.ChecksumSHA256 }),
  ...(fields.ContentMD5 !== undefined && { etag: Buffer.from(raw).toString('hex') }),
})

/** As the catalog and the manifest keep it: `sha256:<base64>-<parts>`, `etag:<hex>-<parts>`. */
export const compositeText = ({ sha256, etag }: Composite): string | undefined =>
  sha256 !== undefined ? `sha256:${sha256}` : etag !== undefined ? `etag:${etag}` : undefined

/** The reverse; undefined for what is not one. */
export function compositeFrom(text: string | undefined): Composite | undefined {
  const [, kind, value] = /^(sha256|etag):([A-Za-z0-9+/=]+-\d+)$/.exec(text ?? '') ?? []
  if (value === undefined) return undefined
  return kind === 'sha256' ? { sha256: value } : { etag: value }
}

const hex = ({ raw }: Digest): string => Buffer.from(raw).toString('hex')
const unquoted = (etag: string | undefined): string => (etag ?? '').replace(/"/g, '')
const isMd5 = (etag: string | undefined): boolean => /^[0-9a-f]{32}(-\d+)?$/.test(unquoted(etag))
/** May pass: what was spoilt on the way is sent once more. */
const spoilt = (what: string, hash: string) =>
  new FirnError('vault-failed', `${what} arrived with another ${hash} than it was sent with.`)
