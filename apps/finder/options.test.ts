import { describe, expect, test } from '@jest/globals'
import { daysFrom, type FindFlags, maxCostFrom, requestFrom } from './options.js'

const usage = expect.objectContaining({ code: 'usage' })
const flags = (more: Partial<FindFlags>): FindFlags => ({ tier: 'standard', days: '7', progress: true, ...more })

describe('what is asked for', () => {
  test('must be named: everything only by --all (G-12)', () => {
    expect(() => requestFrom(flags({}))).toThrow(usage)
    expect(() => requestFrom(flags({ host: 'a', asOf: '2026-01-01' }))).toThrow(usage)
    expect(requestFrom(flags({ all: true }))).toEqual({ selection: {} })
  })

  test('combines', () => {
    const set = '0190c0de-0000-4000-8000-00000000ABCD'
    expect(
      requestFrom(flags({ search: 'a b', archiveid: ['x'], path: ['/a/../b'], set: [set], host: 'h', allVersions: true })),
    ).toEqual({
      query: 'a b',
      selection: { archiveIds: ['x'], paths: ['/b'], setIds: [set.toLowerCase()], host: 'h', allVersions: true },
    })
  })

  test('is refused where it cannot be read', () => {
    for (const more of [
      { search: '' },
      { search: '-only' },
      { search: '"open' },
      { set: ['nope'] },
      { all: true, asOf: 'yesterday-ish' },
      { all: true, asOf: '2026-13-29' },
      { all: true, asOf: '2026-02-30' },
      { all: true, asOf: '2026-02-30T12:00Z' },
      { all: true, asOf: '2026-11-21Tnoon' },
    ]) {
      expect(() => requestFrom(flags(more))).toThrow(usage)
    }
  })

  test('a day means its end', () => {
    expect(requestFrom(flags({ all: true, asOf: '2026-11-21' })).selection.asOf).toEqual(new Date(2026, 10, 21, 23, 59, 59, 999))
    expect(requestFrom(flags({ all: true, asOf: '2026-11-21T12:00Z' })).selection.asOf).toEqual(new Date('2026-11-21T12:00:00Z'))
  })
})

test('days and costs are numbers', () => {
  expect(daysFrom('30')).toBe(30)
  expect(maxCostFrom('0.5')).toBe(0.5)
  expect(maxCostFrom(undefined)).toBeUndefined()
  for (const text of ['0', '1.5', 'x', '-1', '99999']) expect(() => daysFrom(text)).toThrow(usage)
  for (const text of ['', 'x', '-1', 'Infinity']) expect(() => maxCostFrom(text)).toThrow(usage)
})
