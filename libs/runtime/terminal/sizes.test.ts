import { describe, expect, test } from '@jest/globals'
import { formatBytes, formatCount, formatDuration, formatUsd, parseSize, plural } from './sizes.js'

describe('sizes', () => {
  test.each([
    ['500MB', 500_000_000],
    ['512MiB', 536_870_912],
    ['1.5GB', 1_500_000_000],
    ['10kB', 10_000],
    ['10 kb', 10_000],
    ['4096', 4096],
    ['1', 1],
    ['2TiB', 2_199_023_255_552],
  ])('%s is %d bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes))

  test.each(['0', '0MB', '-1', '-5MB', 'NaN', 'Infinity', '', 'MB', '5 M B', '1e9', '1,5GB', '5XB', '99999999TB', '0.1'])(
    '%j is refused with a sentence',
    (text) => expect(() => parseSize(text)).toThrow(/is no size|at least one byte/),
  )

  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [618_000_000, '618 MB'],
    [999_999, '1.00 MB'],
    [12_345_678, '12.3 MB'],
    [5e18, '5000 PB'],
  ])('%d bytes are written %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))

  test.each([
    [0, '0.0 s'],
    [9.94, '9.9 s'],
    [59.6, '1 min 0 s'],
    [185, '3 min 5 s'],
    [3599.7, '1 h 0 min'],
    [7800, '2 h 10 min'],
    [86_399, '1 d 0 h'],
    [273_600, '3 d 4 h'],
  ])('%d seconds are written %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text))

  test('counts have commas, and one is one', () => {
    expect([formatCount(7), formatCount(1234), formatCount(1_234_567)]).toEqual(['7', '1,234', '1,234,567'])
    expect([plural(1, 'file'), plural(2000, 'file'), plural(2, 'entry', 'entries')]).toEqual([
      '1 file',
      '2,000 files',
      '2 entries',
    ])
  })
})

test.each([
  [0, '$0.00'],
  [1234.5, '$1234.50'],
  [0.01, '$0.01'],
  [0.00947, '$0.0095'],
  [0.0000304, '$0.000030'],
])('%d dollars are %s', (usd, text) => expect(formatUsd(usd)).toBe(text))
