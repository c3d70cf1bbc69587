/**
 * How large each part of an upload is. The size of a bundle is not known when its upload begins, and an upload has 10,000 parts at most:
 * so parts begin small and grow with their number, until the memory that parts may take sets the end.
 */

const MIB = 2 ** 20
/** S3's own limits: of a part but the last, of a part, of an object. */
const SMALLEST_PART = 5 * MIB
const LARGEST_PART = 5 * 1024 * MIB
const LARGEST_OBJECT = 5 * 2 ** 40
const MOST_PARTS = 10_000
/** A part is twice as large as that of so many numbers before. */
const STEP = 250
export const FIRST_PART = 8 * MIB

export interface PartSizes {
  /** Numbers count from 1. */
  sizeOf(part: number): number
  /** The largest object that fits. */
  readonly mostBytes: number
}

/** `memory`: for all parts in flight; two of the largest fit, so that one is gathered while another is sent. */
export function partSizes(memory: number): PartSizes {
  const largest = Math.min(LARGEST_PART, Math.max(SMALLEST_PART, Math.floor(memory / 2 / MIB) * MIB))
  const sizeOf = (part: number) => Math.min(largest, FIRST_PART * 2 ** Math.floor((part - 1) / STEP))
  let all = 0
  for (let part = 1; part <= MOST_PARTS; part++) all += sizeOf(part)
  return { sizeOf, mostBytes: Math.min(all, LARGEST_OBJECT) }
}
