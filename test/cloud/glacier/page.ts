/** Listings come in pages: `limit` at most, and never more than the service gives; the marker names the first of the next page. */
import type { Call } from '../service.js'
import type { GlacierLimits } from './vaults.js'
import { invalid } from './vaults.js'

export function pageOf<T>(
  all: readonly T[],
  { call, limits }: { readonly call: Call; readonly limits: GlacierLimits },
  nameOf: (item: T) => string,
): { items: T[]; marker: string | null } {
  const asked = call.query.get('limit')
  const limit = asked === undefined ? limits.page : Number(asked)
  if (!Number.isInteger(limit) || limit < 1 || limit > limits.page) throw invalid(`Invalid limit: ${asked}`)
  const marker = call.query.get('marker')
  const start = marker === undefined ? 0 : all.findIndex((item) => nameOf(item) === marker)
  if (start < 0) throw invalid(`Invalid marker: ${marker}`)
  const next = all[start + limit]
  return { items: all.slice(start, start + limit), marker: next === undefined ? null : nameOf(next) }
}
