/** The tree hash as the service's documentation says it, level by level: written apart from Firn's own, so that one can judge the other. */
import { createHash } from 'node:crypto'

export const MIB = 1 << 20

/** Takes bytes in chunks of any size; `leaves` is the SHA-256 of each MiB. */
export function leafHasher(): { update(chunk: Uint8Array): void; leaves(): Buffer[] } {
  const done: Buffer[] = []
  let hash = createHash('sha256')
  let filled = 0
  return {
    update(chunk) {
      for (let rest = chunk; rest.length > 0; ) {
        const part = rest.subarray(0, MIB - filled)
        hash.update(part)
        filled += part.length
        rest = rest.subarray(part.length)
        if (filled < MIB) continue
        done.push(hash.digest())
        hash = createHash('sha256')
        filled = 0
      }
    },
    leaves: () => (filled > 0 || done.length === 0 ? [...done, hash.copy().digest()] : [...done]),
  }
}

export function rootOf(leaves: readonly Buffer[]): string {
  let level = leaves
  while (level.length > 1) {
    const above: Buffer[] = []
    for (let i = 0; i < level.length; i += 2) {
      const [left, right] = [level[i] as Buffer, level[i + 1]]
      above.push(right ? createHash('sha256').update(left).update(right).digest() : left)
    }
    level = above
  }
  return (level[0] as Buffer).toString('hex')
}

/**
 * Whether the bytes from `first` up to and with `last` are one node of the tree of an archive: all of it, one MiB, or what lies below
 * one node of any level.
 */
export function isTreeAligned(first: number, last: number, archiveBytes: number): boolean {
  let nodes: [number, number][] = []
  for (let start = 0; start < archiveBytes; start += MIB) nodes.push([start, Math.min(start + MIB, archiveBytes) - 1])
  for (;;) {
    if (nodes.some(([from, to]) => from === first && to === last)) return true
    if (nodes.length <= 1) return false
    const above: [number, number][] = []
    for (let i = 0; i < nodes.length; i += 2) {
      const [left, right] = [nodes[i] as [number, number], nodes[i + 1]]
      above.push(right ? [left[0], right[1]] : left)
    }
    nodes = above
  }
}
