/** Keys in the order of S3's listings, which is that of their UTF-8 bytes. Sorted when somebody looks, not when somebody writes. */

export interface SortedKeys {
  add(key: string): void
  remove(key: string): void
  /** From the first key that is not less than `start`. */
  from(start: string): Iterable<string>
}

export function sortedKeys(): SortedKeys {
  let keys: string[] = []
  const added = new Set<string>()
  const removed = new Set<string>()
  const settle = () => {
    if (removed.size > 0) keys = keys.filter((key) => !removed.has(key))
    if (added.size > 0) keys = [...keys, ...added].sort(byUtf8)
    added.clear()
    removed.clear()
  }
  return {
    add(key) {
      if (!removed.delete(key)) added.add(key)
    },
    remove(key) {
      if (!added.delete(key)) removed.add(key)
    },
    *from(start) {
      settle()
      const settled = keys
      let [low, high] = [0, settled.length]
      while (low < high) {
        const middle = (low + high) >>> 1
        if (byUtf8(settled[middle]!, start) < 0) low = middle + 1
        else high = middle
      }
      for (let at = low; at < settled.length; at++) yield settled[at]!
    },
  }
}

/** As comparing the bytes would, without making them: surrogates stand for what is beyond U+FFFF, and so come last. */
export function byUtf8(a: string, b: string): number {
  const end = Math.min(a.length, b.length)
  for (let at = 0; at < end; at++) {
    const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)]
    if (x !== y) return rank(x) - rank(y)
  }
  return a.length - b.length
}

const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit)
