import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { QuoteRequest, ThawTier } from '../vault.js'
import { type PriceList, readPrices } from './price-list.js'
import { type Priced, quoteFor } from './quote.js'
import { SHIPPED_PRICES } from './shipped-prices.js'

let list: PriceList
let directory: string
beforeAll(async () => {
  list = await readPrices()
  directory = mkdtempSync(join(tmpdir(), 'firn-prices-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

const GB = 2 ** 30
/** 2,000 objects of 100 GB, read whole, their copies kept for 15 days. */
const request = (tier: ThawTier, more: Partial<QuoteRequest> = {}): QuoteRequest => ({
  objects: 2000,
  thawBytes: 100 * GB,
  readBytes: 100 * GB,
  tier,
  days: 15,
  ...more,
})
const s3 = (storageClass: string, region = 'us-east-1'): Priced => ({ service: 's3', storageClass, region })
const priceOf = (where: Priced, asked: QuoteRequest) => quoteFor(list, where, asked)

describe('a price', () => {
  test.each([
    // thaw, its requests, reading requests, copy for half a month, transfer
    [s3('DEEP_ARCHIVE'), 'standard', 2 + 0.2 + 0.0008 + 1.15 + 9, [9, 12]],
    [s3('DEEP_ARCHIVE'), 'bulk', 0.25 + 0.05 + 0.0008 + 1.15 + 9, [24, 48]],
    [s3('GLACIER'), 'expedited', 3 + 20 + 0.0008 + 1.15 + 9, [0.02, 0.09]],
    [s3('GLACIER'), 'standard', 1 + 0.1 + 0.0008 + 1.15 + 9, [3, 5]],
    [s3('GLACIER'), 'bulk', 0.0008 + 1.15 + 9, [5, 12]],
    [s3('GLACIER_IR'), 'standard', 0.02 + 3 + 9, [0, 0]],
    [s3('STANDARD'), 'expedited', 0.0008 + 9, [0, 0]],
    [{ service: 'glacier', region: 'us-east-1' }, 'standard', 1 + 0.1 + 9, [3, 5]],
  ] as const)('of %j by %s', (where, tier, usd, hours) => {
    const quote = priceOf(where, request(tier))
    expect(quote?.usd).toBeCloseTo(usd, 9)
    expect(quote?.parts.reduce((sum, part) => sum + part.usd, 0)).toBeCloseTo(usd, 9)
    expect(quote).toMatchObject({ hours, pricesOf: list.date, region: 'us-east-1' })
    expect(quote).not.toHaveProperty('insteadOf')
  })

  test('of what is thawed already is that of reading alone', () => {
    const quote = priceOf(s3('GLACIER'), request('expedited', { thawBytes: 0 }))
    expect(quote?.parts.map(({ what }) => what)).toEqual(['requests', 'transfer'])
    expect(quote?.hours).toEqual([0, 0])
  })

  test('of nothing is none', () => {
    expect(priceOf(s3('STANDARD'), request('bulk', { objects: 0, thawBytes: 0, readBytes: 0 }))).toBeUndefined()
  })

  test('of a region that the list lacks is the usual one, and says so', () => {
    expect(priceOf(s3('GLACIER', 'eu-moon-1'), request('bulk'))).toMatchObject({ region: 'us-east-1', insteadOf: 'eu-moon-1' })
  })

  test('of a region that the list has is its own', () => {
    const mine = { ...list, regions: { ...list.regions, 'eu-1': { s3: { X: { get_per_1000: 1, egress_per_gb: 0 } } } } }
    expect(quoteFor(mine, s3('X', 'eu-1'), request('bulk'))).toMatchObject({ usd: 2, region: 'eu-1' })
  })

  test.each([
    [s3('DEEP_ARCHIVE'), 'expedited', /DEEP_ARCHIVE offers no expedited thaw: choose --tier standard or bulk\./],
    [s3('SNOW'), 'bulk', /has no prices of the S3 class SNOW: .*FIRN_PRICES_FILE/],
    [s3('toString'), 'bulk', /has no prices of the S3 class toString/],
  ] as const)('of %j by %s is refused', (where, tier, message) => {
    expect(() => priceOf(where, request(tier))).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) }),
    )
  })
})

describe('a price list', () => {
  const written = (text: string) => {
    const path = join(directory, 'prices.json')
    writeFileSync(path, text)
    return path
  }
  const change = (edit: (json: Record<string, never>) => void) => {
    const json = JSON.parse(readFileSync(SHIPPED_PRICES, 'utf8')) as Record<string, never>
    edit(json)
    return written(JSON.stringify(json))
  }

  const glacierOf = (json: Record<string, never>): object => json['regions']!['us-east-1']['s3']['GLACIER']

  test('of the user is read in place of the shipped one', async () => {
    const path = change((json) => Object.assign(json, { date: '2030-01-02' }))
    expect((await readPrices(path)).date).toBe('2030-01-02')
  })

  test.each([
    ['not there', () => join(directory, 'none.json'), /none\.json cannot be read \(ENOENT\)/],
    ['no JSON', () => written('prices: 1'), /prices\.json is not JSON/],
    ['of another format', () => change((json) => Object.assign(json, { format: 'x' })), /at format/],
    ['without a date', () => change((json) => Object.assign(json, { date: 'today' })), /at date: is no day such as/],
    ['without regions', () => change((json) => Object.assign(json, { regions: {} })), /at regions: names no region/],
    [
      'with a price that is none',
      () => change((json) => Object.assign(glacierOf(json), { egress_per_gb: -1 })),
      /at regions\.us-east-1\.s3\.GLACIER\.egress_per_gb/,
    ],
    [
      'with a key that is misspelt',
      () => change((json) => Object.assign(glacierOf(json), { get_per_100: 1 })),
      /GLACIER.*get_per_100/,
    ],
  ])('that is %s is refused in one sentence', async (_, path, message) => {
    await expect(readPrices(path())).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(message) })
  })
})
