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

/** What is kept of the wanted, and the rest as it is asked for, which is kept then. What `ask` does not answer is missing. */
export async function keptOrAsked<K, V>(
  kept: BoundedMap<K, V>,
  wanted: Iterable<K>,
  ask: (unknown: K[]) => Promise<readonly (readonly [K, V])[]>,
): Promise<Map<K, V>> {
  const found = new Map<K, V>()
  const unknown: K[] = []
  for (const key of wanted) {
    const known = kept.get(key)
    if (known === undefined) unknown.push(key)
    else found.set(key, known)
  }
  if (unknown.length > 0) {
    for (const [key, value] of await ask(unknown)) {
      kept.set(key, value)
      found.set(key, value)
    }
  }
  return found
}
