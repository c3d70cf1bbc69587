/** Chance that can be had again: every draw follows from the seed. */

export interface Random {
  /** 0 up to, and without, `below`. */
  below(below: number): number
  /** True in so many of a hundred draws. */
  percent(percent: number): boolean
  pick<T>(from: readonly T[]): T
  /** In another order. */
  shuffle<T>(all: readonly T[]): T[]
  bytes(length: number): Buffer
}

/** `salt`: draws of their own for another subject of the same seed. */
export function randomFrom(seed: number, salt = ''): Random {
  let state = seed >>> 0
  for (const character of salt) state = Math.imul(state ^ character.charCodeAt(0), 0x01000193) >>> 0
  // Mulberry32: short, and good enough to choose by.
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number): number => Math.floor(next() * limit)
  return {
    below,
    percent: (percent) => next() * 100 < percent,
    pick: (from) => {
      if (from.length === 0) throw new Error('nothing to pick from')
      return from[below(from.length)] as (typeof from)[number]
    },
    shuffle: (all) => {
      const order = [...all]
      for (let i = order.length - 1; i > 0; i--) {
        const other = below(i + 1)
        ;[order[i], order[other]] = [order[other]!, order[i]!]
      }
      return order
    },
    bytes: (length) => Buffer.from(Array.from({ length }, () => below(256))),
  }
}
