/** The whole story in a Glacier class of S3: hours of waiting on the emulated service's clock, and copies that expire while they are read. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { rawFromText } from '#libs/os/raw.js'
import { openScratchVault, type ScratchCloud, scratchCloud } from '#libs/vault/s3/scratch-s3.js'
import { HOUR_MS } from '../../test/cloud/clock.js'
import { lookAt } from '../../test/tree.js'
import { consentTo, offerFor } from './offer.js'
import { OWNER_KEY } from './own-vault.js'
import { agree, openRetrieval } from './retrieve.js'
import { openStory, REQUEST, type RetrieveWish, type ScratchStory, smallFiles } from './scratch-story.js'
import { lookAtThaws } from './watch-retrievals.js'

let at: ScratchStory
let s3: ScratchCloud
let root: string
beforeAll(async () => {
  s3 = await scratchCloud()
  const url = `s3://cold/${s3.newPrefix()}?class=DEEP_ARCHIVE&endpoint=${s3.cloud.url}`
  at = await openStory({ vault: await openScratchVault(s3, url) })
  root = at.tree('tree', smallFiles(20, 2_000))
  await at.archive(at.request([root]))
})
afterEach(() => {
  s3.cloud.faults.clear()
  s3.cloud.clock.pass(60 * 24 * HOUR_MS) // every copy is gone
})
afterAll(async () => {
  await at?.[Symbol.asyncDispose]()
  await s3?.stop()
})

const paid = () => s3.cloud.requests.paid().length

/** Each time that the service is asked to thaw, its hours pass. */
async function retrieveThrough(wish: RetrieveWish, thaws: number, reports: Parameters<typeof at.retrieve>[1] = {}) {
  const before = paid()
  const going = at.retrieve(wish, reports)
  let over = false
  const ended = going.finally(() => {
    over = true
  })
  ended.catch(() => {}) // awaited below
  for (let asked = 1; asked <= thaws && !over; asked++) {
    while (!over && paid() < before + asked) await sleep(20)
    s3.cloud.clock.pass(13 * HOUR_MS)
  }
  return { retrieval: await ended, thaws: paid() - before }
}

test('a tree comes back as it was, after its hours, for one thaw', async () => {
  const to = at.path('all')
  const { retrieval, thaws } = await retrieveThrough({ to, selection: { paths: [rawFromText(root)] } }, 1)
  expect(retrieval).toMatchObject({ state: 'done', filesRestored: 20 })
  expect(lookAt(join(to, root))).toEqual(lookAt(root))
  expect(thaws).toBe(1)
})

test('a copy that expires while it is read is thawed again, where that much was agreed to', async () => {
  s3.cloud.faults.add({ kind: 'expire-copy', operation: 'GetObject' })
  const wish = { to: at.path('twice'), selection: { paths: [rawFromText(root)] }, maxUsd: 10 }
  const { retrieval, thaws } = await retrieveThrough(wish, 2)
  expect(retrieval).toMatchObject({ state: 'done', filesFailed: 0 })
  expect(lookAt(join(wish.to, root))).toEqual(lookAt(root))
  expect(thaws).toBe(2)
})

test('and not where it was not: what was not read is expired, with the reason, and nothing more was paid', async () => {
  s3.cloud.faults.add({ kind: 'expire-copy', operation: 'GetObject' })
  const reasons: string[] = []
  const wish = { to: at.path('once'), selection: { paths: [rawFromText(root)] } }
  const { retrieval, thaws } = await retrieveThrough(wish, 1, { onItemFailed: (_, reason) => reasons.push(reason) })
  expect(retrieval.state).not.toBe('done')
  expect(reasons.join()).toMatch(/expired, and to thaw it again would cost more than was agreed to/)
  expect(thaws).toBe(1)
})

test('several who want other files of one bundle, by other tiers, share one thaw; it is expected within its hours', async () => {
  const before = paid()
  const ids: string[] = []
  for (const [i, tier] of (['bulk', 'standard'] as const).entries()) {
    const selection = { paths: [rawFromText(join(root, `d0/file-${i}.txt`))] }
    const opened = await openRetrieval(at.parts, { ...REQUEST, selection, tier, target: rawFromText(at.path(`share-${i}`)) })
    const retrieval = opened!
    ids.push((await agree(at.parts, retrieval.id, consentTo(await offerFor(at.parts, retrieval)))).id)
  }
  await lookAtThaws(at.parts, { signal: new AbortController().signal })
  expect(paid() - before).toBe(1)
  for (const id of ids) expect((await at.catalog.retrieval(id))?.expectedAt?.getTime()).toBeGreaterThan(Date.now() + 40 * HOUR_MS)
})

test('a prefix without its note is a vault that is away: nothing is sent there', async () => {
  const [, bucket, prefix] = /^s3:\/\/([^/]+)\/(.+)$/.exec(at.vault.id) as unknown as [string, string, string]
  await s3.cloud.s3.remove(bucket, `${prefix}/${OWNER_KEY}`)
  const held = () => [s3.cloud.s3.objects(bucket).map(({ key }) => key), s3.cloud.s3.uploads(bucket).length]
  const before = held()
  const another = at.request([at.tree('another', smallFiles(3))])
  await expect(at.archive(another)).rejects.toMatchObject({ code: 'vault-away' })
  expect(held()).toEqual(before)
})
