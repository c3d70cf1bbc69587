import { setImmediate as turnOfLoop } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { severalAtOnce } from './several-at-once.js'

const numbers = Array.from({ length: 10 }, (_, i) => i)

test('each is done once, in their order, and never more than a few at a time', async () => {
  const begun: number[] = []
  let underWay = 0
  let most = 0
  await severalAtOnce(numbers, 3, async (one) => {
    begun.push(one)
    most = Math.max(most, ++underWay)
    await turnOfLoop()
    underWay--
  })
  expect(begun).toEqual(numbers)
  expect(most).toBe(3)
  await severalAtOnce([], 3, () => Promise.reject(new Error('there is none')))
})

test('after a failure none begins, those under way end, and the first error is thrown', async () => {
  const ended: number[] = []
  const work = severalAtOnce(numbers, 3, async (one) => {
    await turnOfLoop()
    if (one === 1) throw new Error('the first')
    await turnOfLoop()
    ended.push(one)
    if (one === 2) throw new Error('the second')
  })
  await expect(work).rejects.toThrow('the first')
  expect(ended).toEqual([0, 2])
})
