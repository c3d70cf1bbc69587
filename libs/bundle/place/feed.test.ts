/** Whatever the pieces, the buffers and the chunks of the vault: every piece reaches one thread, whole and in order. */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { Raw } from '#libs/os/raw.js'
import { type Fed, workOf } from './feed.js'
import type { Piece, Run } from './plan.js'

const TAR = Uint8Array.from({ length: 4_000 }, (_, i) => (i * 31 + (i >> 7)) & 0xff)
const BUFFER_BYTES = 64

const dress = { mode: 0o600, uid: 0, gid: 0, mtimeNs: 0n, atimeNs: 0n }
const pieceAt = (offset: number, size: number, index: number): Piece => ({
  offset,
  size,
  sha256: '',
  inodes: [{ dress, names: [{ index, at: `d${index % 3}/${index}` as Raw }] }],
})

/** Pieces with gaps between them; some are empty, some larger than a buffer. */
const somePieces = fc.array(fc.tuple(fc.nat(40), fc.oneof(fc.nat(50), fc.nat(300))), { maxLength: 20 }).map((all) => {
  let end = 0
  return all.map(([gap, size], index) => {
    const piece = pieceAt(end + gap, size, index)
    end += gap + size
    return piece
  })
})

/** What each thread got of each piece. */
async function bytesByThread(pieces: readonly Piece[], chunkBytes: number, readable: number): Promise<Map<Piece, number[][]>> {
  const bytesOf = async function* ({ offset, length }: Run) {
    const end = Math.min(offset + length, readable)
    for (let at = offset; at < end; at += chunkBytes) yield TAR.subarray(at, Math.min(end, at + chunkBytes))
  }
  const got = new Map<Piece, number[][]>()
  /** By lane: the piece that goes on there. */
  const open = new Map<number, Piece>()
  const take = (piece: Piece, bytes: Uint8Array) => got.get(piece)?.push([...bytes])
  for await (const { request, lane } of workOf(
    { refused: [], directories: [], pieces, symlinks: [] },
    { job: 1, bytesOf, buffer: () => new ArrayBuffer(BUFFER_BYTES) },
  )) {
    if (request.kind !== 'work') throw new Error(`a ${request.kind}`)
    const { bytes, pieces: begun = [] } = request
    const from = bytes?.offset ?? 0
    const end = from + (bytes?.length ?? 0)
    const view = bytes ? new Uint8Array(bytes.buffer, 0, bytes.length) : new Uint8Array()
    const before = lane === undefined ? undefined : open.get(lane)
    if (before) take(before, view.subarray(0, Math.min(view.length, before.offset + before.size - from)))
    if (before && before.offset + before.size <= end) open.delete(lane as number)
    for (const piece of begun) {
      expect(got.has(piece)).toBe(false)
      got.set(piece, [])
      const isWhole = piece.offset + piece.size <= end || piece.size === 0
      if (piece.size > 0 && piece.offset < end) take(piece, view.subarray(piece.offset - from, piece.offset - from + piece.size))
      if (isWhole || request.endOfRun) continue
      expect(lane).toBeDefined()
      open.set(lane as number, piece)
    }
  }
  return got
}

test('every piece comes to one thread, from its first byte to its last', async () => {
  await fc.assert(
    fc.asyncProperty(somePieces, fc.integer({ min: 1, max: 200 }), async (pieces, chunkBytes) => {
      const got = await bytesByThread(pieces, chunkBytes, TAR.length)
      expect(got.size).toBe(pieces.length)
      for (const piece of pieces)
        expect((got.get(piece) ?? []).flat()).toEqual([...TAR.subarray(piece.offset, piece.offset + piece.size)])
    }),
    { numRuns: 500 },
  )
})

test('a vault that gives fewer bytes is told of each piece all the same', async () => {
  await fc.assert(
    fc.asyncProperty(somePieces, fc.nat(4_000), async (pieces, readable) => {
      const got = await bytesByThread(pieces, 50, readable)
      expect(got.size).toBe(pieces.length)
      for (const piece of pieces)
        if (piece.offset + piece.size <= readable)
          expect((got.get(piece) ?? []).flat()).toEqual([...TAR.subarray(piece.offset, piece.offset + piece.size)])
    }),
    { numRuns: 300 },
  )
})

test('directories are made before any file, and symlinks come when all files are done', async () => {
  const pieces = [pieceAt(0, 10, 0), pieceAt(10, 0, 1)]
  const symlinks = [{ index: 2, at: 's' as Raw, link: 'x' as Raw, dress }]
  const directories = [{ index: 3, at: 'e' as Raw }]
  const fed: Fed[] = []
  const bytesOf = async function* () {
    yield TAR.subarray(0, 10)
  }
  const parts = { job: 1, bytesOf, buffer: () => new ArrayBuffer(BUFFER_BYTES) }
  for await (const one of workOf({ refused: [], directories, pieces, symlinks }, parts)) fed.push(one)
  const told = fed.map(({ request, lane, afterAll }) => [
    Object.keys(request).filter((key) => ['directories', 'parents', 'pieces', 'symlinks'].includes(key))[0],
    lane,
    afterAll ?? false,
  ])
  expect(told).toEqual([
    ['directories', 0, false],
    ['parents', 0, false],
    ['pieces', undefined, true],
    ['pieces', undefined, false],
    ['symlinks', 0, true],
  ])
})
