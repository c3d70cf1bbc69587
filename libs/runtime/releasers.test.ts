import { expect, test } from '@jest/globals'
import { createReleasers } from './releasers.js'

test('what was opened last is released first, each once, and one failure does not spare the rest', async () => {
  const released: string[] = []
  const releasers = createReleasers()
  releasers.push(() => {
    released.push('first')
  })
  releasers.push(() => {
    throw new Error('second does not close')
  })
  releasers.push(async () => {
    released.push('third')
  })
  await expect(releasers[Symbol.asyncDispose]()).rejects.toThrow('second does not close')
  await releasers[Symbol.asyncDispose]()
  expect(released).toEqual(['third', 'first'])
})

test('several failures are told together', async () => {
  const releasers = createReleasers()
  for (const name of ['a', 'b']) {
    releasers.push(() => Promise.reject(new Error(name)))
  }
  await expect(releasers[Symbol.asyncDispose]()).rejects.toMatchObject({ errors: [{ message: 'b' }, { message: 'a' }] })
})
