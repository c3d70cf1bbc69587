/**
 * The body of a request, unwrapped and judged while it is read: the SHA-256 that was signed, or the chunks of an `aws-chunked` stream,
 * each with its signature where it has one, and the trailers behind them. Whoever reads it to its end has verified bytes.
 */
import { createHash } from 'node:crypto'
import { Refusal } from './refusal.js'
import type { Call } from './service.js'
import { nextSignature, type Signed } from './signature.js'

export interface Payload {
  /** Of the unwrapped bytes, as the caller announced it. */
  readonly announced: number | undefined
  /** Once only. Throws at the end if the bytes are not what was signed. */
  chunks(): AsyncIterable<Buffer>
  /** The whole of a small one. */
  text(): Promise<string>
  /** Headers and, after the last chunk, trailers; names in lower case. */
  header(name: string): string | undefined
}

const TEXT_LIMIT = 4 << 20

export function openPayload(call: Call, signed: Signed, raw: AsyncIterable<Buffer>): Payload {
  const kind = call.headers['x-amz-content-sha256']!
  const trailers: Record<string, string> = {}
  const wrapped = kind.startsWith('STREAMING-')
  const length = call.headers[wrapped ? 'x-amz-decoded-content-length' : 'content-length']
  const announced = length === undefined ? undefined : Number(length)
  const unwrapped = (): AsyncIterable<Buffer> => {
    if (kind === 'UNSIGNED-PAYLOAD') return raw
    if (!wrapped) return hashed(raw, kind)
    const signedChunks = kind.startsWith('STREAMING-AWS4-HMAC-SHA256-PAYLOAD')
    if (!signedChunks && kind !== 'STREAMING-UNSIGNED-PAYLOAD-TRAILER')
      throw new Refusal(501, 'NotImplemented', `This emulator does not know the payload ${kind}.`)
    return unchunked(raw, trailers, signedChunks ? signed.chain : undefined)
  }
  async function* counted(): AsyncIterable<Buffer> {
    let bytes = 0
    for await (const chunk of unwrapped()) {
      bytes += chunk.length
      yield chunk
    }
    if (announced !== undefined && bytes !== announced) {
      throw new Refusal(400, 'IncompleteBody', 'The request body terminated unexpectedly')
    }
  }
  return {
    announced,
    chunks: counted,
    async text() {
      const chunks: Buffer[] = []
      let bytes = 0
      for await (const chunk of counted()) {
        bytes += chunk.length
        if (bytes > TEXT_LIMIT) throw new Refusal(400, 'MaxMessageLengthExceeded', 'Your request was too big.')
        chunks.push(chunk)
      }
      return Buffer.concat(chunks).toString()
    },
    header: (name) => trailers[name] ?? call.headers[name],
  }
}

async function* hashed(raw: AsyncIterable<Buffer>, expected: string): AsyncIterable<Buffer> {
  const hash = createHash('sha256')
  for await (const chunk of raw) {
    hash.update(chunk)
    yield chunk
  }
  if (hash.digest('hex') !== expected) {
    throw new Refusal(
      400,
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
  }
}

/** `<hex size>[;chunk-signature=...]\r\n<bytes>\r\n`, a chunk of size 0, then `name:value\r\n` trailers and an empty line. */
async function* unchunked(
  raw: AsyncIterable<Buffer>,
  trailers: Record<string, string>,
  chain: Signed['chain'] | undefined,
): AsyncIterable<Buffer> {
  const reader = lineReader(raw)
  let previous = chain?.signature ?? ''
  for (;;) {
    const head = await reader.line()
    const [, hex, signature] = /^([0-9a-f]+)(?:;chunk-signature=([0-9a-f]{64}))?$/i.exec(head ?? '') ?? []
    if (hex === undefined) throw new Refusal(400, 'IncompleteBody', 'The request body terminated unexpectedly')
    const size = Number.parseInt(hex, 16)
    const hash = createHash('sha256')
    for await (const piece of reader.bytes(size)) {
      if (chain) hash.update(piece)
      yield piece
    }
    if (chain) previous = judge(signature, nextSignature(chain, 'PAYLOAD', previous, hash.digest('hex')))
    if (size === 0) break
    if ((await reader.line()) !== '') throw new Refusal(400, 'InvalidChunkSizeError', 'Chunk does not end where it says')
  }
  let signedText = ''
  for (let line = await reader.line(); line; line = await reader.line()) {
    const colon = line.indexOf(':')
    const [name, value] = [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()]
    if (name === 'x-amz-trailer-signature') judge(value, nextSignature(chain!, 'TRAILER', previous, sha256(signedText)))
    else {
      trailers[name] = value
      signedText += `${name}:${value}\n`
    }
  }
}

function judge(given: string | undefined, expected: string): string {
  if (given === expected) return expected
  throw new Refusal(403, 'SignatureDoesNotMatch', 'The signature of a chunk does not match.')
}

function lineReader(raw: AsyncIterable<Buffer>) {
  const source = raw[Symbol.asyncIterator]()
  let held: Buffer = Buffer.alloc(0)
  const more = async (): Promise<boolean> => {
    const { value, done } = await source.next()
    if (done) return false
    held = held.length === 0 ? value : Buffer.concat([held, value])
    return true
  }
  return {
    /** Without its end; undefined where the body ends. */
    async line(): Promise<string | undefined> {
      for (;;) {
        const end = held.indexOf('\r\n')
        if (end >= 0) {
          const line = held.toString('latin1', 0, end)
          held = held.subarray(end + 2)
          return line
        }
        if (held.length > 16_384 || !(await more())) return undefined
      }
    },
    async *bytes(count: number): AsyncIterable<Buffer> {
      for (let left = count; left > 0; ) {
        if (held.length === 0 && !(await more())) {
          throw new Refusal(400, 'IncompleteBody', 'The request body terminated unexpectedly')
        }
        const piece = held.subarray(0, left)
        held = held.subarray(piece.length)
        left -= piece.length
        yield piece
      }
    },
  }
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
