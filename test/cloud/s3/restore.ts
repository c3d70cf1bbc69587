/** Thaws of the cold classes: asked for, on their way, readable for some days, and cold again. All by the virtual clock. */
import { DAY_MS, HOUR_MS } from '../clock.js'
import { Refusal } from '../refusal.js'
import type { Answer } from '../service.js'
import { child, childText, parseXml } from '../xml.js'
import { bucketOf, type S3Request } from './request.js'
import { COLD_CLASSES, objectOf, type Restore, type StoredObject } from './store.js'

/** The longest that Amazon names, by class and tier; Deep Archive has no Expedited. Slowest first. */
const HOURS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  GLACIER: { Bulk: 12, Standard: 5, Expedited: 5 / 60 },
  DEEP_ARCHIVE: { Bulk: 48, Standard: 12 },
}
const TIERS = ['Bulk', 'Standard', 'Expedited']

export async function restoreObject(request: S3Request): Promise<Answer> {
  const { key, payload, s3 } = request
  const bucket = bucketOf(request)
  const body = parseXml(await payload.text())
  const object = objectOf(bucket, key)
  const now = s3.clock.now()
  const days = Number(childText(body, 'Days') ?? Number.NaN)
  const tier = childText(child(body, 'GlacierJobParameters'), 'Tier') ?? childText(body, 'Tier') ?? 'Standard'
  if (body?.name !== 'RestoreRequest' || !TIERS.includes(tier) || !Number.isInteger(days)) {
    throw new Refusal(
      400,
      'MalformedXML',
      'The XML you provided was not well-formed or did not validate against our published schema',
    )
  }
  if (days < 1) throw new Refusal(400, 'InvalidArgument', 'restoration days should be at least 1')
  if (!COLD_CLASSES.has(object.storageClass)) {
    throw new Refusal(403, 'InvalidObjectState', "Restore is not allowed for the object's current storage class", {
      details: { StorageClass: object.storageClass },
    })
  }
  const usual = HOURS[object.storageClass]?.[tier]
  if (usual === undefined) {
    throw new Refusal(
      400,
      'InvalidArgument',
      `Retrieval option is not supported by this storage class: ${tier}, ${object.storageClass}`,
    )
  }
  const running = currentRestore(object, now)
  if (running && running.readyAt <= now) {
    object.restore = { ...running, expiresAt: endOfDay(now, days) } // counts from now, also where that is sooner
    return { status: 200 }
  }
  if (running && TIERS.indexOf(tier) <= TIERS.indexOf(running.tier)) {
    throw new Refusal(409, 'RestoreAlreadyInProgress', 'Object restore is already in progress')
  }
  const target = `${bucket.name}/${key}`
  const hours = s3.options.thawHours(object.storageClass, tier, target) ?? usual
  const soonest = Math.min(now.getTime() + hours * HOUR_MS, running?.readyAt.getTime() ?? Number.POSITIVE_INFINITY)
  const readyAt = new Date(soonest)
  object.restore = { tier, readyAt, expiresAt: endOfDay(readyAt, days) }
  s3.book.pay({ at: now, service: 's3', operation: 'RestoreObject', target, tier, bytes: object.bytes, days })
  return { status: 202 }
}

/** Days are counted from the moment the copy is there, and rounded up to the next midnight UTC. */
const endOfDay = (from: Date, days: number): Date => new Date(Math.ceil((from.getTime() + days * DAY_MS) / DAY_MS) * DAY_MS)

/** undefined also when it was, and has expired. */
export function currentRestore(object: StoredObject, now: Date): Restore | undefined {
  return object.restore && object.restore.expiresAt > now ? object.restore : undefined
}

export function isReadable(object: StoredObject, now: Date): boolean {
  if (!COLD_CLASSES.has(object.storageClass)) return true
  const restore = currentRestore(object, now)
  return restore !== undefined && restore.readyAt <= now
}

/** As HEAD and GET say it. */
export function restoreHeader(object: StoredObject, now: Date): string | undefined {
  const restore = currentRestore(object, now)
  if (!restore) return undefined
  return restore.readyAt > now
    ? 'ongoing-request="true"'
    : `ongoing-request="false", expiry-date="${restore.expiresAt.toUTCString()}"`
}
