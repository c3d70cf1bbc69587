import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { roomFor } from './room.js'

const never = new AbortController().signal
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('as many full bundles as there are workers, those larger than the limit among them', async () => {
  const room = roomFor(2)
  const leave = await room.enter({ bytes: 10, limit: 10 }, never)
  await room.enter({ bytes: 5_000, limit: 10 }, never)
  let entered = false
  const third = room.enter({ bytes: 1, limit: 10 }, never).then(() => {
    entered = true
  })
  await settled()
  expect(entered).toBe(false)
  leave()
  await third
})

test('one who waits is called off by its signal', async () => {
  const room = roomFor(1)
  await room.enter({ bytes: 10, limit: 10 }, never)
  await expect(room.enter({ bytes: 1, limit: 10 }, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough')
})

test('small ones share it: their bytes are never more than the limit for each worker, and all come in', () =>
  fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.integer({ min: 0, max: 150 }), { maxLength: 60 }),
      async (workers, sizes) => {
        const room = roomFor(workers)
        let inside = 0
        let most = 0
        const visits = sizes.map(async (bytes) => {
          const leave = await room.enter({ bytes, limit: 100 }, never)
          inside += Math.min(bytes, 100)
          most = Math.max(most, inside)
          await settled()
          inside -= Math.min(bytes, 100)
          leave()
        })
        await Promise.all(visits)
        expect(most).toBeLessThanOrEqual(100 * workers)
      },
    ),
  ))
