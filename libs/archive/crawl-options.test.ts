import { expect, test } from '@jest/globals'
import type { SetRequest } from '#libs/catalog/catalog.js'
import { rawFromText } from '#libs/os/raw.js'
import { type CrawlOptions, isSameRequest, optionsToJson } from './crawl-options.js'

const DAY_NS = 86_400_000_000_000n

function request(more: Partial<SetRequest> = {}, options: Partial<CrawlOptions> = {}): SetRequest {
  return {
    host: 'alpha',
    roots: ['/a', '/b'].map(rawFromText),
    description: 'words',
    tags: ['one', 'two'],
    options: optionsToJson({
      filesPerBundle: 1000,
      bundleBytes: 500,
      force: false,
      keep: { xattrs: 'none', cifs: false },
      walk: { recursive: true, oneFileSystem: false, include: [], exclude: ['*.tmp'] },
      ...options,
    }),
    vaultUrl: 'local:/vault',
    vaultId: 'local:/vault',
    ...more,
  }
}

const aged = (days: string, nowNs: bigint, time: 'atime' | 'mtime' = 'atime') =>
  request(
    {},
    {
      walk: {
        recursive: true,
        oneFileSystem: false,
        include: [],
        exclude: [],
        age: { time, olderThanNs: nowNs - BigInt(days) * DAY_NS },
      },
      ages: { olderThan: days, newerThan: undefined },
    },
  )

/** As a row of the catalog gives it: another order of keys. */
const kept = (one: SetRequest): SetRequest => ({
  ...one,
  options: Object.fromEntries(Object.entries(JSON.parse(JSON.stringify(one.options))).reverse()),
})

test('the same command is the same request, whatever the order of roots and tags, and however its row keeps it', () => {
  expect(isSameRequest(kept(request()), request())).toBe(true)
  expect(isSameRequest(request({ roots: ['/b', '/a'].map(rawFromText), tags: ['two', 'one'] }), request())).toBe(true)
  expect(isSameRequest(request({ vaultUrl: 'local:/vault?thaw=1' }), request())).toBe(true)
})

test('days are compared as typed, not by the moments that they became', () => {
  expect(isSameRequest(kept(aged('30', 5n * DAY_NS)), aged('30', 6n * DAY_NS))).toBe(true)
  expect(isSameRequest(aged('30', 5n * DAY_NS), aged('31', 5n * DAY_NS))).toBe(false)
  expect(isSameRequest(aged('30', 5n * DAY_NS), aged('30', 5n * DAY_NS, 'mtime'))).toBe(false)
})

test.each([
  ['roots', request({ roots: ['/a'].map(rawFromText) })],
  ['description', request({ description: 'other' })],
  ['tags', request({ tags: ['one'] })],
  ['vault', request({ vaultId: 'local:/other' })],
  ['host', request({ host: 'beta' })],
  ['what is excluded', request({}, { walk: { recursive: true, oneFileSystem: false, include: [], exclude: [] } })],
  ['limits', request({}, { filesPerBundle: 10 })],
  ['what is kept', request({}, { keep: { xattrs: 'all', cifs: false } })],
])('another %s is another request', (_what, other) => {
  expect(isSameRequest(kept(other), request())).toBe(false)
})
