import { describe, expect, test } from '@jest/globals'
import { type PartMemory, uploadMemory } from './upload-memory.js'

/** What was taken, as it comes. */
function taker(bytes: number) {
  const memory = uploadMemory(bytes)
  const got: { name: string; held: PartMemory }[] = []
  const take = (name: string, size: number, signal?: AbortSignal) =>
    memory.take(size, signal).then((held) => {
      got.push({ name, held })
      return held
    })
  return { take, names: () => got.map(({ name }) => name), settle: () => new Promise((resolve) => setImmediate(resolve)) }
}

describe('the memory of the parts in flight', () => {
  test('is given in turn, a large part before the small ones behind it', async () => {
    const { take, names, settle } = taker(10)
    const a = await take('a', 6)
    void take('b', 8)
    void take('c', 2)
    await settle()
    expect(names()).toEqual(['a'])
    a.give()
    a.give()
    await settle()
    expect(names()).toEqual(['a', 'b', 'c'])
  })

  test('is given to one who asks for more than there is, alone', async () => {
    const { take, names, settle } = taker(4)
    const a = await take('a', 1)
    const large = take('large', 100)
    void take('b', 1)
    await settle()
    expect(names()).toEqual(['a'])
    a.give()
    const held = await large
    expect(held.buffer).toHaveLength(100)
    await settle()
    expect(names()).toEqual(['a', 'large'])
    held.give()
    await settle()
    expect(names()).toEqual(['a', 'large', 'b'])
  })

  test('lets those behind go on when one who waits is called off', async () => {
    const { take, names, settle } = taker(4)
    await take('a', 3)
    const stop = new AbortController()
    const reason = new Error('enough')
    const waits = take('large', 4, stop.signal)
    void take('b', 1)
    stop.abort(reason)
    await expect(waits).rejects.toBe(reason)
    await settle()
    expect(names()).toEqual(['a', 'b'])
    await expect(take('late', 1, stop.signal)).rejects.toBe(reason)
  })

  test('carries many uploads that each take a part at a time, however little there is', async () => {
    const memory = uploadMemory(3)
    let held = 0
    let most = 0
    const upload = async () => {
      for (let part = 0; part < 20; part++) {
        const mine = await memory.take(1 + (part % 3))
        held += mine.buffer.length
        most = Math.max(most, held)
        await new Promise((resolve) => setImmediate(resolve))
        held -= mine.buffer.length
        mine.give()
      }
    }
    await Promise.all(Array.from({ length: 8 }, upload))
    expect(most).toBeLessThanOrEqual(3)
  })
})
