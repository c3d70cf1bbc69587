import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { bundleKey, manifestKey, parseKey } from './key.js'

const names = {
  startedAt: new Date('2026-12-31T23:59:59.999Z'),
  setId: '0b0b0b0b-0000-4000-8000-00000000000a',
  bundleId: 'c0ffee00-0000-4000-8000-00000000000b',
  attempt: 3,
}

describe('the keys of a bundle', () => {
  test('say the month of the set in UTC, the set, the bundle and the attempt', () => {
    const stem = `2026/12/${names.setId}/${names.bundleId}.3`
    expect(bundleKey(names)).toBe(`${stem}.tar`)
    expect(manifestKey(names)).toBe(`${stem}.manifest.ndjson.gz`)
  })

  test('are read back, and what is read makes the same keys again', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('1000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }),
        fc.uuid(),
        fc.uuid(),
        fc.integer({ min: 1, max: 999_999_999 }),
        (startedAt, setId, bundleId, attempt) => {
          const made = { startedAt, setId, bundleId, attempt }
          for (const keyOf of [bundleKey, manifestKey]) {
            const parsed = parseKey(keyOf(made))
            expect(parsed).toMatchObject({ setId, bundleId, attempt })
            expect(parsed && keyOf(parsed)).toBe(keyOf(made))
          }
        },
      ),
    )
  })

  test('of others are not taken for ours', () => {
    const good = bundleKey(names)
    for (const bad of [
      'firn-vault.json',
      `x/${good}`,
      `${good}x`,
      good.replace('.3.', '.03.'),
      good.replace('.3.', '.0.'),
      good.replace('.3.', '.'),
      good.replace('12', '1'),
      good.toUpperCase(),
      good.replace('.tar', '.tar.tmp'),
      `${good}\n`,
    ])
      expect(parseKey(bad)).toBeUndefined()
  })
})
