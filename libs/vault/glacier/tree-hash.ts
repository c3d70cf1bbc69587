/**
 * The SHA-256 tree hash of Glacier vaults: the SHA-256 of each MiB, then of each pair of hashes, up to one; a hash without a partner
 * goes up as it is. Streaming: what is held is one hash for each level of the tree, not one for each MiB.
 */
import { createHash, type Hash } from 'node:crypto'

export const MIB = 1024 * 1024

export interface TreeHasher {
  update(bytes: Uint8Array): void
  /** Ends it. Of nothing at all: the SHA-256 of nothing. */
  digest(): Buffer
}

export function treeHasher(): TreeHasher {
  const nodes = nodeStack()
  let leaf: Hash | undefined
  let inLeaf = 0

  const endLeaf = () => {
    if (leaf) nodes.push(leaf.digest())
    leaf = undefined
    inLeaf = 0
  }

  return {
    update(bytes) {
      for (let offset = 0; offset < bytes.length; ) {
        leaf ??= createHash('sha256')
        const part = bytes.subarray(offset, offset + MIB - inLeaf)
        leaf.update(part)
        inLeaf += part.length
        offset += part.length
        if (inLeaf === MIB) endLeaf()
      }
    },
    digest() {
      endLeaf()
      return nodes.root()
    },
  }
}

export function treeHash(bytes: Uint8Array): Buffer {
  const hasher = treeHasher()
  hasher.update(bytes)
  return hasher.digest()
}

/** The hash of the whole from those of its parts: each of the same number of MiB, a power of two; only the last may be smaller. */
export function treeHashOfParts(parts: Iterable<Buffer>): Buffer {
  const nodes = nodeStack()
  for (const part of parts) nodes.push(part)
  return nodes.root()
}

/** Whole subtrees from the left, each smaller than the one before: as the bits of a counter. */
function nodeStack(): { push(hash: Buffer): void; root(): Buffer } {
  const stack: { hash: Buffer; height: number }[] = []

  return {
    push(hash) {
      let node = { hash, height: 0 }
      for (let left = stack.at(-1); left?.height === node.height; left = stack.at(-1)) {
        stack.pop()
        node = { hash: pair(left.hash, node.hash), height: node.height + 1 }
      }
      stack.push(node)
    },
    root() {
      let right = stack.at(-1)?.hash ?? createHash('sha256').digest()
      for (let i = stack.length - 2; i >= 0; i--) right = pair(stack[i]!.hash, right)
      return right
    },
  }
}

const pair = (left: Buffer, right: Buffer): Buffer => createHash('sha256').update(left).update(right).digest()
