/** A map that forgets what was not used for long, so that memory does not grow with the number of things looked up. */

export interface BoundedMap<K, V> {
  get(key: K): V | undefined
  set(key: K, value: V): void
}

/** At least `most` entries are kept, at most twice as many: two generations, the older dropped whole. */
export function boundedMap<K, V>(most: number): BoundedMap<K, V> {
  let young = new Map<K, V>()
  let old = new Map<K, V>()
  const set = (key: K, value: V) => {
    young.set(key, value)
    if (young.size >= most) {
      old = young
      young = new Map()
    }
  }
  return {
    get(key) {
      const value = young.get(key)
      if (value !== undefined) return value
      const aged = old.get(key)
      if (aged !== undefined) set(key, aged)
      return aged
    },
    set,
  }
}
