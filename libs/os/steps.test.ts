import { channel } from 'node:diagnostics_channel'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { STEPS, step, withSteps } from './steps.js'

const port = {
  id: 'here',
  answer: async (n: number) => n + 1,
  refuse: async (): Promise<never> => {
    throw new Error('no')
  },
  plain: (): string => port.id,
  async *pieces() {
    yield 1
    yield 2
  },
}

test('without a subscriber a port is itself, and a step is nothing', () => {
  step('nobody.listens')
  expect(withSteps('port', port)).toBe(port)
})

describe('with a subscriber', () => {
  let seen: unknown[] = []
  const note = (name: unknown) => void seen.push(name)
  beforeEach(() => {
    seen = []
    channel(STEPS).subscribe(note)
  })
  afterEach(() => {
    channel(STEPS).unsubscribe(note)
  })

  test('a step is told in its moment', () => {
    step('disk.synced')
    expect(seen).toEqual(['disk.synced'])
  })

  test('operations of a port are told before and after, and answer as ever', async () => {
    const watched = withSteps('port', port)
    expect(watched.id).toBe('here')
    expect(watched.plain()).toBe('here')
    expect(await watched.answer(1)).toBe(2)
    await expect(watched.refuse()).rejects.toThrow('no')
    const pieces: number[] = []
    for await (const piece of watched.pieces()) pieces.push(piece)
    expect(pieces).toEqual([1, 2])
    expect(seen).toEqual([
      'port.plain:before',
      'port.plain:after',
      'port.answer:before',
      'port.answer:after',
      'port.refuse:before',
      'port.refuse:failed',
      'port.pieces:before',
      'port.pieces:after',
    ])
  })

  test('what an operation gives can be watched too', async () => {
    const answer = async (n: number) => {
      step('within')
      return n
    }
    const watched = withSteps('port', port, { answer })
    expect(await watched.answer(5)).toBe(5)
    expect(seen).toEqual(['port.answer:before', 'within', 'port.answer:after'])
  })
})
