import { expect, test } from '@jest/globals'
import { shiftDate } from '../../../test/shifted-date.js'
import { openSender } from './send.js'

const throttled = () => Object.assign(new Error('slow down'), { name: 'SlowDown', $metadata: { httpStatusCode: 503 } })

test('a clock that steps back while requests are held back does not hold them back for an hour', async () => {
  const send = openSender({ renew: async () => {}, pauseMs: 1 })
  let setRight = () => {}
  let tries = 0
  const answer = send(
    async () => {
      if (++tries === 1) throw throttled()
      return 'done'
    },
    {
      onRetry() {
        setRight = shiftDate(() => -3_600_000)
      },
    },
  )
  try {
    expect(await answer).toBe('done')
  } finally {
    setRight()
  }
  expect(tries).toBe(2)
})
