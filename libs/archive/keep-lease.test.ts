import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { FirnError } from '#libs/errors/errors.js'
import { keepLease } from './keep-lease.js'

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] })
})
afterEach(() => {
  jest.useRealTimers()
})
const pass = (seconds: number) => jest.advanceTimersByTimeAsync(seconds * 1000)

test('a lease is renewed while work goes on, and not after', async () => {
  let renewals = 0
  const lease = keepLease(async () => {
    renewals++
    return true
  })
  await pass(61)
  expect(renewals).toBe(4)
  await lease[Symbol.asyncDispose]()
  await pass(61)
  expect(renewals).toBe(4)
  expect(lease.signal.aborted).toBe(false)
})

test('a lease that another has ends the work, however that is said', async () => {
  const told = keepLease(async () => false)
  const thrown = keepLease(async () => {
    throw new FirnError('lease-lost', 'gone')
  })
  await pass(16)
  for (const lease of [told, thrown]) {
    expect(lease.signal.reason).toMatchObject({ code: 'lease-lost' })
    await lease[Symbol.asyncDispose]()
  }
})

test('a database that stumbles does not end the work, and a slow one is asked one thing at a time', async () => {
  let renewals = 0
  const lease = keepLease(async () => {
    renewals++
    if (renewals === 1) throw new FirnError('database', 'no answer')
    await new Promise((resolve) => setTimeout(resolve, 40_000))
    return true
  })
  await pass(16)
  expect(renewals).toBe(1)
  await pass(35)
  expect(renewals).toBe(2)
  expect(lease.signal.aborted).toBe(false)
  const disposed = lease[Symbol.asyncDispose]()
  await pass(60)
  await disposed
})

test('the caller stops the work too', async () => {
  const caller = new AbortController()
  await using lease = keepLease(async () => true, caller.signal)
  caller.abort(new Error('^C'))
  expect(lease.signal.reason).toMatchObject({ message: '^C' })
})
