/**
 * Which bytes of an archive a retrieval asks for. The service thaws whole MiB only, and gives a checksum only for a range that is one
 * node of the archive's hash tree.
 */
import type { ByteRange } from '../vault.js'
import { MIB } from './tree-hash.js'

/** A range grows to be a node of the tree where that costs no more than this much, or no more than it has itself. */
const CHEAP_GROWTH = 8 * MIB

/** The range to ask for, so that `wanted` lies in it; undefined for the whole archive. */
export function rangeToThaw(wanted: ByteRange | undefined, archiveBytes: number): ByteRange | undefined {
  if (wanted === undefined) return undefined
  const whole = wholeMib(wanted, archiveBytes)
  const node = nodeAround(whole, archiveBytes)
  const asked = node.length - whole.length <= Math.max(CHEAP_GROWTH, whole.length) ? node : whole
  return asked.offset === 0 && asked.length >= archiveBytes ? undefined : asked
}

/** At most so many bytes are thawed of `objects` of which `rangeBytes` are wanted: for the price that is told before. */
export const mostThawed = (rangeBytes: number, objects: number): number =>
  2 * (rangeBytes + 2 * MIB * objects) + CHEAP_GROWTH * objects

/** Grown to whole MiB on both sides; the last MiB of an archive may be shorter. */
export function wholeMib({ offset, length }: ByteRange, archiveBytes: number): ByteRange {
  const start = Math.floor(Math.min(offset, archiveBytes - 1) / MIB) * MIB
  const end = Math.min(Math.ceil(Math.max(offset + length, start + 1) / MIB) * MIB, archiveBytes)
  return { offset: start, length: end - start }
}

/** The smallest node of the tree that holds the range. */
function nodeAround({ offset, length }: ByteRange, archiveBytes: number): ByteRange {
  for (let size = MIB; ; size *= 2) {
    const start = Math.floor(offset / size) * size
    if (offset + length <= start + size) return { offset: start, length: Math.min(size, archiveBytes - start) }
  }
}

/** Whether a range is one node of the tree of an archive: only for such does the service give a checksum. */
export function isNode(range: ByteRange, archiveBytes: number): boolean {
  if (range.offset % MIB !== 0 || range.length <= 0) return false
  const node = nodeAround(range, archiveBytes)
  return node.offset === range.offset && node.length === range.length
}

export const holds = (outer: ByteRange, inner: ByteRange): boolean =>
  inner.offset >= outer.offset && inner.offset + inner.length <= outer.offset + outer.length

/** As the service writes ranges: both ends belong to it. */
export const rangeText = ({ offset, length }: ByteRange): string => `${offset}-${offset + length - 1}`

export function parseRange(text: string): ByteRange | undefined {
  const [, first, last] = /^(\d{1,15})-(\d{1,15})$/.exec(text) ?? []
  if (first === undefined || last === undefined || Number(last) < Number(first)) return undefined
  return { offset: Number(first), length: Number(last) - Number(first) + 1 }
}
