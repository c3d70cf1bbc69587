/**
 * What the services take for thawing and reading: a dated file, never code, because prices change while archives stay. The file that
 * comes with Firn lies beside this one's source; FIRN_PRICES_FILE names another in the same format.
 */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { z as types } from 'zod'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { SHIPPED_PRICES } from './shipped-prices.js'

/**
 * Loaded as CommonJS, whose files are opened one after the other: as modules Node opens all fifty of its languages at once, and where a
 * process may have 64 open files it does not even start.
 */
const { z } = createRequire(import.meta.url)('zod') as typeof import('zod')

const usd = z.number().nonnegative()

const thawPrice = z.strictObject({
  per_gb: usd,
  per_1000: usd,
  /** At least and at most. */
  hours: z
    .tuple([z.number().nonnegative(), z.number().nonnegative()])
    .refine(([least, most]) => least <= most, 'are in the wrong order'),
})

const classPrices = z.strictObject({
  get_per_1000: usd,
  /** What the class takes for reading, beside the request. */
  read_per_gb: usd.optional(),
  egress_per_gb: usd,
  /** Of the readable copy that a thaw makes. */
  copy_per_gb_month: usd.optional(),
  /** Only of cold classes; a tier that is not there is not offered. */
  thaw: z
    .strictObject({ expedited: thawPrice.optional(), standard: thawPrice.optional(), bulk: thawPrice.optional() })
    .optional(),
})

const regionPrices = z.strictObject({
  s3: z.record(z.string(), classPrices).optional(),
  glacier: z.record(z.string(), classPrices).optional(),
})

const priceList = z.strictObject({
  format: z.literal('firn-prices/1'),
  date: z.string().regex(/^\d{4}-\d{2}-\d{2}$/, 'is no day such as 2026-11-01'),
  about: z.string().optional(),
  sources: z.array(z.string()).optional(),
  regions: z.record(z.string(), regionPrices).refine((regions) => Object.keys(regions).length > 0, 'names no region'),
})

export type PriceList = Readonly<types.infer<typeof priceList>>
export type ClassPrices = Readonly<types.infer<typeof classPrices>>

/** Throws `usage` with one sentence for a file that is not there or not in order. */
export async function readPrices(file: string = SHIPPED_PRICES): Promise<PriceList> {
  const wrong = (what: string) => new FirnError('usage', `The price file ${file} ${what}.`)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw wrong(`cannot be read (${errnoOf(error) ?? error})`)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw wrong(`is not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
  const parsed = priceList.safeParse(json)
  if (parsed.success) return parsed.data
  const { path, message } = parsed.error.issues[0]!
  throw wrong(`is not in order at ${path.length > 0 ? path.join('.') : 'its top'}: ${message.replace(/\.$/, '')}`)
}
