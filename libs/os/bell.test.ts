import { expect, test } from '@jest/globals'
import { createBell } from './bell.js'

const LONG_MS = 600_000

test('a bell wakes who waits, each time anew, and nobody who waits later', async () => {
  const bell = createBell()
  for (let round = 0; round < 3; round++) {
    const waiting = bell.wait(LONG_MS)
    bell.ring()
    await waiting
  }
  bell.ring()
  let over = false
  const waiting = bell.wait(LONG_MS).then(() => {
    over = true
  })
  await new Promise(setImmediate)
  expect(over).toBe(false)
  bell.ring()
  await waiting
})

test('it is not waited for longer than was said', async () => {
  await createBell().wait(1)
})

test('a wait ends with the reason of its signal', async () => {
  const stopped = new AbortController()
  const waiting = createBell().wait(LONG_MS, stopped.signal)
  stopped.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await expect(createBell().wait(LONG_MS, stopped.signal)).rejects.toThrow('enough')
})
