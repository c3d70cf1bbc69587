import { chmodSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { ItemRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { type PriceList, readPrices } from '#libs/vault/prices/price-list.js'
import { quoteFor } from '#libs/vault/prices/quote.js'
import type { Thaw, ThawRequest, Vault } from '#libs/vault/vault.js'
import { counted } from '#libs/vault/wrappers/counted.js'
import { consentTo, offerFor } from './offer.js'
import { agree, openRetrieval, type RetrieveRequest, retrieve, untilNextLook } from './retrieve.js'
import { all, openStory, REQUEST, type ScratchStory, smallFiles } from './scratch-story.js'
import { thawItems } from './thaw-items.js'
import { lookAtThaws, watchRetrievals } from './watch-retrievals.js'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

let at: ScratchStory
let root: string
let prices: PriceList
let now = Date.now()
/** What the vault was asked, by the name of the operation. */
let asked: Record<string, number>
/** Each thaw that was asked for. */
let thaws: { key: string; request: ThawRequest }[]
/** Answers in place of the vault, where it gives something. */
let instead: Partial<Pick<Vault, 'thaw' | 'thawStates'>>

beforeAll(async () => {
  prices = await readPrices()
  at = await openStory({ thawSeconds: 3_600, now: () => now })
  root = at.tree('cold', smallFiles(40, 1_000))
  await at.archive(at.request([root], { filesPerBundle: 10 }))
})
afterAll(async () => at[Symbol.asyncDispose]())

beforeEach(() => {
  asked = {}
  thaws = []
  instead = {}
  at.wrap((vault) =>
    counted(priced(vault), ({ operation, begins }) => {
      if (begins) asked[operation] = (asked[operation] ?? 0) + 1
    }),
  )
})
afterEach(async () => {
  // Whatever a test thawed is cold again for the next one, and nobody waits any more.
  now += 30 * DAY_MS
  for (const { id } of await at.catalog.retrievals({ open: true })) {
    for (const { id: item } of await all(at.catalog.items(id))) await at.catalog.markItem(item, 'done')
    await at.catalog.finishRetrieval(id)
  }
})

/** The scratch vault at the prices of DEEP_ARCHIVE. */
const priced = (vault: Vault): Vault => ({
  ...vault,
  quote: (request) => quoteFor(prices, { service: 's3', storageClass: 'DEEP_ARCHIVE', region: 'us-east-1' }, request),
  thaw: async (key, request, options) => {
    thaws.push({ key, request })
    return (instead.thaw ?? vault.thaw)(key, request, options)
  },
  thawStates: (keys, options) => (instead.thawStates ?? vault.thawStates)(keys, options),
})

let targets = 0
const request = (more: Partial<RetrieveRequest> = {}): RetrieveRequest => ({
  ...REQUEST,
  selection: { paths: [rawFromText(root)] },
  target: rawFromText(at.path(`back-${++targets}`)),
  ...more,
})
const open = async (more: Partial<RetrieveRequest> = {}): Promise<RetrievalRow> => {
  const retrieval = await openRetrieval(at.parts, request(more))
  if (retrieval === undefined) throw new Error('nothing matches')
  return retrieval
}
const openAgreed = async (more: Partial<RetrieveRequest> = {}, maxUsd?: number): Promise<RetrievalRow> => {
  const retrieval = await open(more)
  return agree(at.parts, retrieval.id, consentTo(await offerFor(at.parts, retrieval), maxUsd))
}
const signal = new AbortController().signal
const look = (more: object = {}) => lookAtThaws(at.parts, { signal, ...more })
const itemsOf = ({ id }: RetrievalRow): Promise<ItemRow[]> => all(at.catalog.items(id))
const statesOf = async (retrieval: RetrievalRow) => (await itemsOf(retrieval)).map(({ state }) => state)

describe('an offer', () => {
  test('says archives, bytes, requests, and the price by each tier that there is; it asks for nothing that costs', async () => {
    const offer = await offerFor(at.parts, await open())
    expect(offer).toMatchObject({ archives: 4, cold: 4, readBytes: 40_000, requests: 8, tier: 'standard', days: 1 })
    expect([...(offer?.prices.keys() ?? [])]).toEqual(['standard', 'bulk'])
    const { usd = 0, thawUsd = 0, parts = [], hours } = offer?.prices.get('standard') ?? {}
    expect(parts.reduce((sum, part) => sum + part.usd, 0)).toBeCloseTo(usd, 12)
    expect(usd - thawUsd).toBeCloseTo((0.09 * 40_000) / 2 ** 30, 12)
    expect(hours).toEqual([9, 12])
    expect(offer?.priceLists).toEqual([`us-east-1, ${prices.date}`])
    expect(asked).toEqual({ read: 1, thawStates: 1 }) // whether it is there, and how things stand
  })

  test('counts what thaws already for nobody a second time', async () => {
    await openAgreed()
    await look()
    expect(thaws).toHaveLength(4)
    const offer = await offerFor(at.parts, await open())
    expect(offer).toMatchObject({ archives: 4, cold: 0, thawing: 4, thawBytes: 0 })
    expect(offer?.prices.get('standard')?.thawUsd).toBe(0)
    expect([...(offer?.prices.values() ?? [])].map(({ hours }) => hours)).toContainEqual([0, 0])
  })

  test('of a tier that is not there is refused', async () => {
    await expect(offerFor(at.parts, await open({ tier: 'expedited' }))).rejects.toMatchObject({ code: 'usage' })
  })

  test('of a vault that takes nothing is none', async () => {
    at.wrap((vault) => vault)
    expect(await offerFor(at.parts, await open())).toBeUndefined()
  })
})

describe('a retrieval that nobody agreed to', () => {
  test('is touched by nobody, and asked for again it is offered again', async () => {
    const first = await open({ target: rawFromText(at.path('same')) })
    expect(await look()).toMatchObject({ open: 0 })
    const again = await open({ target: rawFromText(at.path('same')) })
    expect(again.id).not.toBe(first.id)
    expect(asked).toEqual({})
  })
})

describe('a thaw', () => {
  test('is asked for once, however many retrievals want the bundle and however many look at once', async () => {
    const wanting = await Promise.all([openAgreed(), openAgreed(), openAgreed()])
    const direct = async (retrieval: RetrievalRow) =>
      thawItems(at.parts, () => retrieval, await itemsOf(retrieval), { asksAgain: () => true })
    await Promise.all([look(), look(), ...wanting.map(direct)])
    await look()
    expect(thaws.map(({ key }) => key).sort()).toEqual([...new Set(thaws.map(({ key }) => key))].sort())
    expect(thaws).toHaveLength(4)
    for (const retrieval of wanting) expect(await statesOf(retrieval)).toEqual(Array(4).fill('thawing'))
    const spent = (await Promise.all(wanting.map(({ id }) => at.catalog.retrieval(id)))).map((row) => row?.thawSpentUsd ?? 0)
    const whole = consentTo(await offerFor(at.parts, await open())).thawLimitUsd
    expect(whole).toBe(0)
    expect(spent.filter((usd) => usd > 0).length).toBeGreaterThan(0)
  })

  test('of a whole object is shared by who wants other files of it, by another tier', async () => {
    const below = (name: string) => ({ selection: { paths: [rawFromText(join(root, name))] } })
    const wanting = [await openAgreed({ ...below('d0/file-7.txt'), tier: 'bulk' }), await openAgreed(below('d0/file-8.txt'))]
    await look()
    expect(thaws).toHaveLength(1)
    const rows = await Promise.all(wanting.map(({ id }) => at.catalog.retrieval(id)))
    expect(rows.filter((row) => (row?.thawSpentUsd ?? 0) > 0)).toHaveLength(1)
    for (const retrieval of wanting) expect(await statesOf(retrieval)).toEqual(['thawing'])
  })

  test('of ranges is asked for once for each', async () => {
    at.wrap((vault) => ({ ...priced(vault), thawsRanges: true }))
    const below = (name: string) => ({ selection: { paths: [rawFromText(join(root, name))] } })
    await openAgreed(below('d0/file-7.txt'))
    await openAgreed(below('d0/file-8.txt'))
    await look()
    expect(thaws).toHaveLength(2)
  })

  test('whose vault names no time is expected when its tier is over at the latest, and is looked at as often as ever', async () => {
    instead.thaw = async () => ({ state: 'thawing' })
    const before = Date.now()
    const retrieval = await openAgreed({ tier: 'bulk' })
    const { nextAt } = await look()
    const [least, most] = (await offerFor(at.parts, await open()))?.prices.get('bulk')?.hours ?? []
    expect(most).toBe(48)
    expect(least).toBeLessThan(48)
    const expectedAt = (await at.catalog.retrieval(retrieval.id))?.expectedAt?.getTime() ?? 0
    expect(expectedAt).toBeGreaterThanOrEqual(before + 48 * 3_600_000)
    expect(untilNextLook(nextAt, before, 600_000)).toBe(600_000)
    expect(untilNextLook(new Date(before - 1), before, 600_000)).toBe(600_000) // late
    expect(untilNextLook(new Date(before + 1), before, 600_000)).toBeLessThan(100) // passed since the look
  })

  test('names the bytes that are needed, and no more', async () => {
    const path = join(root, 'd0/file-7.txt')
    const [row] = await at.select({ paths: [rawFromText(path)] })
    await openAgreed({ selection: { paths: [rawFromText(path)] } })
    await look()
    expect(thaws.map(({ request }) => request)).toEqual([
      { tier: 'standard', days: 1, range: { offset: row?.offset, length: row?.size } },
    ])
  })

  test('whose answer was lost is found, and not asked for again', async () => {
    const retrieval = await openAgreed()
    const real = at.vault.thaw
    instead.thaw = async (...call) => {
      await real(...call)
      throw new FirnError('vault-failed', 'the answer was lost')
    }
    const troubles: string[] = []
    await look({ onTrouble: (_: string, reason: string) => troubles.push(reason) })
    expect(troubles).toEqual(['the answer was lost'])
    const first = thaws.length
    delete instead.thaw
    await look()
    expect(new Set(thaws.map(({ key }) => key)).size).toBe(thaws.length)
    expect(thaws).toHaveLength(4)
    expect(first).toBeLessThanOrEqual(4)
    expect(await statesOf(retrieval)).toEqual(Array(4).fill('thawing'))
  })
})

test('one that was killed after it charged for a thaw, and before it asked, is followed by one that asks', async () => {
  const retrieval = await openAgreed()
  for (const { id } of await itemsOf(retrieval)) await at.catalog.charge(id, (retrieval.thawLimitUsd ?? 0) / 4)
  await look()
  expect(await statesOf(retrieval)).toEqual(Array(4).fill('thawing'))
  expect((await at.catalog.retrieval(retrieval.id))?.thawSpentUsd).toBeCloseTo(retrieval.thawLimitUsd, 12)
})

describe('a copy that expired before it was fetched', () => {
  const thawAndExpire = async (retrieval: RetrievalRow) => {
    await look()
    now += 5 * DAY_MS
    thaws = []
    return retrieval
  }

  test('is asked for again where that was agreed to, and only so often', async () => {
    const offer = await offerFor(at.parts, await open())
    const price = offer?.prices.get('standard')
    const retrieval = await thawAndExpire(await openAgreed({ detached: true }, (price?.usd ?? 0) + (price?.thawUsd ?? 0)))
    await look() // sees that it is cold
    await look() // and asks
    expect(thaws).toHaveLength(4)
    now += 5 * DAY_MS
    const reasons: string[] = []
    await look()
    await look({ onItemFailed: (_: ItemRow, reason: string) => reasons.push(reason) })
    expect(thaws).toHaveLength(4)
    expect(await statesOf(retrieval)).toEqual(Array(4).fill('expired'))
    expect(reasons[0]).toMatch(/more than was agreed to/)
    const row = await at.catalog.retrieval(retrieval.id)
    expect(row?.thawSpentUsd).toBeCloseTo(2 * (price?.thawUsd ?? 0), 9)
  })

  test('is not asked for again at that price', async () => {
    const retrieval = await thawAndExpire(await openAgreed({ detached: true }))
    await look()
    await look()
    expect(thaws).toEqual([])
    expect(await statesOf(retrieval)).toEqual(Array(4).fill('expired'))
  })

  test('is never asked for again by the retriever for somebody who may have left', async () => {
    const retrieval = await thawAndExpire(await openAgreed({}, 100))
    await look()
    expect(thaws).toEqual([])
    expect(await statesOf(retrieval)).toEqual(Array(4).fill('expired'))
    expect((await at.catalog.retrieval(retrieval.id))?.finishedAt).toBeInstanceOf(Date)
  })
})

describe('trouble', () => {
  test.each(['vault-failed', 'try-again'] as const)('of a whole vault (%s) fails nothing: it is tried again', async (code) => {
    const retrieval = await openAgreed()
    instead.thawStates = async () => {
      throw new FirnError(code, 'the vault does not answer')
    }
    const troubles: string[] = []
    expect(await look({ onTrouble: (of: string, reason: string) => troubles.push(`${of}: ${reason}`) })).toMatchObject({
      open: 4,
    })
    expect(troubles).toEqual([`${at.vault.id}: the vault does not answer`])
    instead = {}
    await look()
    expect(await statesOf(retrieval)).toEqual(Array(4).fill('thawing'))
  })

  test('of a vault that refuses waits with the retriever, and ends the command that asked', async () => {
    const retrieval = await openAgreed()
    instead.thawStates = async () => {
      throw new FirnError('vault-refused', 'no permission')
    }
    expect(await look()).toMatchObject({ open: 4 })
    const reasons: string[] = []
    const ended = await retrieve(at.parts, retrieval.id, {
      target: retrieval.target,
      checkSeconds: 1,
      onItemFailed: (_, reason) => reasons.push(reason),
    })
    expect(ended).toMatchObject({ state: 'failed', filesFailed: 40 })
    expect(reasons).toEqual(Array(4).fill('no permission'))
  })

  test('of one item does not stop the others', async () => {
    const retrieval = await openAgreed()
    const [first] = await itemsOf(retrieval)
    const real = at.vault.thaw
    instead.thaw = async (key, ...rest): Promise<Thaw> => {
      if (key === first?.bundle.key) throw new FirnError('vault-missing', 'it is gone')
      return real(key, ...rest)
    }
    await look()
    expect(await statesOf(retrieval)).toEqual(['failed', 'thawing', 'thawing', 'thawing'])
    const row = await at.catalog.retrieval(retrieval.id)
    const offer = await offerFor(at.parts, await open())
    expect(offer?.cold).toBe(1)
    // What was not to be had was not charged.
    expect(row?.thawSpentUsd).toBeLessThan(row?.thawLimitUsd as number)
  })

  test('of the target of one detached retrieval does not stop another', async () => {
    const bad = at.path('not-mine')
    at.tree('not-mine', { x: 'x' })
    chmodSync(bad, 0o777)
    const hurt = await openAgreed({ detached: true, target: rawFromText(bad) })
    const well = await openAgreed({ detached: true })
    const troubles: string[] = []
    const watch = () =>
      watchRetrievals(at.parts, {
        signal,
        restoreDir: rawFromText(at.path('restored')),
        permits: async () => ({ overwrite: true, setuid: true }),
        onTrouble: (of: string) => troubles.push(of),
      })
    await watch()
    now += 2 * HOUR_MS
    await watch()
    expect((await at.catalog.retrieval(well.id))?.state).toBe('done')
    expect(troubles).toEqual([`retrieval ${hurt.id}`])
    rmSync(bad, { recursive: true })
  })
})

test('ten thousand open items cost tens of requests a look', async () => {
  const retrieval = await openAgreed()
  const items = await itemsOf(retrieval)
  let largest = 0
  // Each as if of a bundle of its own, in pages as the catalog gives them.
  const many = Array.from({ length: 10_000 }, (_, i) => {
    const item = items[i % items.length] as ItemRow
    const key = `2026/11/s/${i}.1.tar`
    return { ...item, id: `${i}`, state: 'thawing' as const, bundle: { ...item.bundle, key, number: BigInt(i) } }
  })
  instead.thawStates = async (keys) => {
    largest = Math.max(largest, keys.length)
    return new Map(keys.map((key) => [key, { state: 'thawing' } as const]))
  }
  async function* pages() {
    for (let start = 0; start < many.length; start += 1_000) yield many.slice(start, start + 1_000)
  }
  const catalog = { ...at.catalog, openItems: pages }
  asked = {}
  const { open: count } = await lookAtThaws({ ...at.parts, catalog }, { signal })
  expect(count).toBe(10_000)
  expect(largest).toBe(1_000)
  expect({ read: 1, ...asked }).toEqual({ read: 1, thawStates: 10 })
})
