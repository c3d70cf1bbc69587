/** S3's checksums: which a request brings, what the bytes say, and the sum of an upload, whole (FULL_OBJECT) or of its parts' (COMPOSITE). */
import { createHash } from 'node:crypto'
import { type CrcName, combineCrcs, openCrc } from '../crc.js'
import { Refusal } from '../refusal.js'

export const ALGORITHMS = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const
export type Algorithm = (typeof ALGORITHMS)[number]
export type ChecksumType = 'COMPOSITE' | 'FULL_OBJECT'

/** `value` in base64; `-N` behind it where it is composed of N parts'. */
export interface Checksum {
  readonly algorithm: Algorithm
  readonly type: ChecksumType
  readonly value: string
}

type Header = (name: string) => string | undefined

export const headerOf = (algorithm: Algorithm): string => `x-amz-checksum-${algorithm.toLowerCase()}`
export const elementOf = (algorithm: Algorithm): string => `Checksum${algorithm}`
export const isCrc = (algorithm: Algorithm): algorithm is CrcName => algorithm.startsWith('CRC')

export function algorithmNamed(name: string): Algorithm {
  const algorithm = ALGORITHMS.find((one) => one === name.toUpperCase())
  if (!algorithm) {
    throw new Refusal(
      400,
      'InvalidRequest',
      `Checksum algorithm provided is unsupported. Please try again with any of the valid types: [${ALGORITHMS.join(', ')}]`,
    )
  }
  return algorithm
}

/** The algorithm that a request's headers, or the trailers that they announce, name. */
export function announcedAlgorithm(header: Header): Algorithm | undefined {
  const trailers = (header('x-amz-trailer') ?? '').toLowerCase().split(/\s*,\s*/)
  const found = ALGORITHMS.filter((one) => header(headerOf(one)) !== undefined || trailers.includes(headerOf(one)))
  if (found.length > 1)
    throw new Refusal(
      400,
      'InvalidRequest',
      'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
    )
  return found[0]
}

export interface Digester {
  update(chunk: Buffer): void
  /** Base64, as S3 writes them. */
  digest(): ReadonlyMap<Algorithm | 'MD5', string>
}

export function openDigester(wanted: Iterable<Algorithm | 'MD5'>): Digester {
  const hashes = [...new Set(wanted)].map((name) => {
    const hash = name === 'MD5' || !isCrc(name) ? createHash(name.toLowerCase()) : openCrc(name)
    return [name, hash] as const
  })
  return {
    update(chunk) {
      for (const [, hash] of hashes) hash.update(chunk)
    },
    digest: () => new Map(hashes.map(([name, hash]) => [name, hash.digest().toString('base64')])),
  }
}

/** Does the request say of its bytes what they say of themselves? */
export function judgeDigests(digests: ReadonlyMap<Algorithm | 'MD5', string>, header: Header): void {
  const md5 = header('content-md5')
  if (md5 !== undefined) {
    if (Buffer.from(md5, 'base64').length !== 16)
      throw new Refusal(400, 'InvalidDigest', 'The Content-MD5 you specified was invalid.')
    if (md5 !== digests.get('MD5'))
      throw new Refusal(400, 'BadDigest', 'The Content-MD5 you specified did not match what we received.')
  }
  const algorithm = announcedAlgorithm(header)
  if (algorithm === undefined) return
  const given = header(headerOf(algorithm))
  if (given === undefined)
    throw new Refusal(400, 'MalformedTrailerError', 'The request contained trailing data that was not well-formed.')
  if (given !== digests.get(algorithm)) {
    throw new Refusal(400, 'BadDigest', `The ${algorithm} you specified did not match the calculated checksum.`)
  }
}

/** The checksum of an upload from those of its parts. */
export function wholeChecksum(
  algorithm: Algorithm,
  type: ChecksumType,
  parts: readonly { readonly value: string; readonly bytes: number }[],
): Checksum {
  const sums = parts.map(({ value, bytes }) => ({ sum: Buffer.from(value, 'base64'), bytes }))
  if (type === 'FULL_OBJECT' && isCrc(algorithm))
    return { algorithm, type, value: combineCrcs(algorithm, sums).toString('base64') }
  const joined = openDigester([algorithm])
  joined.update(Buffer.concat(sums.map(({ sum }) => sum)))
  return { algorithm, type, value: `${joined.digest().get(algorithm)}-${parts.length}` }
}

export const checksumHeaders = ({ algorithm, type, value }: Checksum): Record<string, string> => ({
  [headerOf(algorithm)]: value,
  'x-amz-checksum-type': type,
})
