/** Thaws: asked for by RestoreObject, looked up in listings, which tell of a thousand objects at once. */
import { HeadObjectCommand, type HeadObjectCommandOutput, ListObjectsV2Command, RestoreObjectCommand } from '@aws-sdk/client-s3'
import { FirnError } from '#libs/errors/errors.js'
import { severalAtOnce } from '#libs/os/several-at-once.js'
import { nameOf, statusOf } from '../service-error.js'
import type { Thaw, ThawRequest, ThawTier } from '../vault.js'
import type { S3Door } from './s3-door.js'
import { checkBucket, headOf } from './s3-head.js'
import { COLD_CLASSES } from './s3-url.js'
import type { Signalled } from './send.js'

const TIERS = { expedited: 'Expedited', standard: 'Standard', bulk: 'Bulk' } as const satisfies Record<ThawTier, string>
/** Heads of single objects under way at once. */
const HEADS_AT_ONCE = 16
/** A look at one object costs less than a page of a listing: for so few the listing is not opened. */
const FEW = 3
/** Where a page told of one key only, so many of the next are asked for one by one, and the more the longer that goes on. */
const FIRST_APART = 4
const MOST_APART = 32

export async function askForThaw(door: S3Door, key: string, request: ThawRequest, options: Signalled): Promise<Thaw> {
  const { client, send, place } = door
  const head = await headOf(door, key, options)
  if (head === undefined) throw new FirnError('vault-missing', `The vault ${place.id} has no object ${key}.`)
  if (!isCold(head)) return { state: 'ready' }
  // Asked for already: to ask again, by a faster tier, would be paid too.
  if (thawOfHead(head).state === 'thawing') return { state: 'thawing' }
  if (request.tier === 'expedited' && head.StorageClass === 'DEEP_ARCHIVE') {
    throw new FirnError('usage', 'DEEP_ARCHIVE offers no expedited thaw: choose --tier standard or bulk.')
  }
  const command = new RestoreObjectCommand({
    ...door.at(key),
    RestoreRequest: { Days: Math.max(1, Math.ceil(request.days)), GlacierJobParameters: { Tier: TIERS[request.tier] } },
  })
  try {
    // 202: asked for. 200: there is a copy already, and its days count from now.
    const { $metadata } = await send((call) => client.send(command, call), options)
    if ($metadata.httpStatusCode !== 200) return { state: 'thawing' }
  } catch (error) {
    if (nameOf(error) === 'RestoreAlreadyInProgress' || statusOf(error) === 409) return { state: 'thawing' }
    throw error
  }
  const now = await headOf(door, key, options)
  return now === undefined ? { state: 'thawing' } : thawOfHead(now)
}

/** Whether the object must be thawed: by its class, or because Intelligent-Tiering has put it to sleep. */
const isCold = (head: Pick<HeadObjectCommandOutput, 'StorageClass' | 'ArchiveStatus'>): boolean =>
  COLD_CLASSES.has(head.StorageClass ?? '') || head.ArchiveStatus !== undefined

function thawOfHead(head: HeadObjectCommandOutput): Thaw {
  if (!isCold(head)) return { state: 'ready' }
  // The class stays what it was after a thaw; only this header tells.
  const [, ongoing] = /ongoing-request="(true|false)"/.exec(head.Restore ?? '') ?? []
  if (ongoing === 'true') return { state: 'thawing' }
  if (ongoing === undefined) return { state: 'cold' }
  const expiry = /expiry-date="([^"]+)"/.exec(head.Restore ?? '')?.[1]
  const expiresAt = expiry === undefined ? undefined : new Date(expiry)
  return { state: 'ready', ...(expiresAt && !Number.isNaN(expiresAt.getTime()) && { expiresAt }) }
}

export type ThawStates = (keys: readonly string[], options: Signalled) => Promise<Map<string, Thaw>>

export function thawStatesOf(door: S3Door): ThawStates {
  const { client, send, place } = door
  /** Whether listings tell of thaws: known on Amazon's side, of other services once one has. */
  let listsTell = place.restoreStatus === 'list'

  async function byHeads(keys: readonly string[], states: Map<string, Thaw>, options: Signalled): Promise<void> {
    await severalAtOnce(keys, HEADS_AT_ONCE, async (key) => {
      const target = door.at(key)
      try {
        const head = await send((call) => client.send(new HeadObjectCommand(target), call), options)
        states.set(key, thawOfHead(head))
      } catch (error) {
        if (statusOf(error) !== 404) throw error
        states.set(key, notThere(key))
      }
    })
  }

  const notThere = (key: string): Thaw => ({ state: 'failed', reason: `The vault ${place.id} has no object ${key}.` })

  /**
   * Goes through the keys in their order, a page at a time, and leaps over what nobody asked for: keys that lie together cost a page
   * for a thousand objects. Where they lie further apart than that a page tells of one, and so does a head, which costs a twelfth and
   * need not wait for the one before: they are left to heads, with a page now and then to see whether it is still so. Returns those
   * that are to be asked for by heads.
   */
  async function byLists(sorted: readonly string[], states: Map<string, Thaw>, options: Signalled): Promise<string[]> {
    const silent: string[] = []
    let apart = FIRST_APART
    const prefix = commonBeginning(sorted[0]!, sorted.at(-1)!)
    for (let next = 0; next < sorted.length; ) {
      const first = sorted[next]!
      const command = new ListObjectsV2Command({
        Bucket: place.bucket,
        Prefix: place.prefix + prefix,
        // The listing begins behind it: a key without its last letter stands before the key.
        StartAfter: place.prefix + first.slice(0, -1),
        OptionalObjectAttributes: ['RestoreStatus'],
      })
      const page = await send((call) => client.send(command, call), options)
      const listed = page.Contents ?? []
      const found = new Map(listed.map((object) => [(object.Key ?? '').slice(place.prefix.length), object]))
      const last = page.IsTruncated ? (listed.at(-1)?.Key ?? '').slice(place.prefix.length) : undefined
      const behind = next
      for (; next < sorted.length; next++) {
        const key = sorted[next]!
        if (last !== undefined && key > last) break
        const object = found.get(key)
        if (object === undefined) {
          states.set(key, notThere(key))
        } else if (!COLD_CLASSES.has(object.StorageClass ?? '') && object.StorageClass !== 'INTELLIGENT_TIERING') {
          states.set(key, { state: 'ready' })
        } else if (object.StorageClass === 'INTELLIGENT_TIERING') {
          silent.push(key) // only its head tells whether it sleeps
        } else if (object.RestoreStatus) {
          listsTell = true
          const { IsRestoreInProgress, RestoreExpiryDate } = object.RestoreStatus
          if (IsRestoreInProgress) states.set(key, { state: 'thawing' })
          else states.set(key, { state: 'ready', ...(RestoreExpiryDate && { expiresAt: RestoreExpiryDate }) })
        } else if (listsTell) {
          states.set(key, { state: 'cold' })
        } else {
          silent.push(key)
        }
      }
      if (next === behind) {
        silent.push(sorted[next]!) // a page without an end that can be used
        next++
      }
      if (next > behind + 1) apart = FIRST_APART
      else {
        silent.push(...sorted.slice(next, next + apart))
        next += apart
        apart = Math.min(2 * apart, MOST_APART)
      }
    }
    return silent
  }

  return async (keys, options) => {
    const states = new Map<string, Thaw>()
    const sorted = [...new Set(keys)].sort()
    for (const key of sorted) door.at(key)
    if (sorted.length === 0) return states
    const byHead = place.restoreStatus === 'head' || sorted.length <= FEW ? sorted : await byLists(sorted, states, options)
    await byHeads(byHead, states, options)
    // All of them gone at once is more likely the bucket.
    if ([...states.values()].every(({ state }) => state === 'failed')) await checkBucket(door, options)
    return states
  }
}

function commonBeginning(a: string, b: string): string {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return a.slice(0, length)
}
