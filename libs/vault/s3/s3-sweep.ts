/** Uploads that were begun and never ended: billed, and invisible in listings. Only ours, below our prefix, are looked at. */
import { AbortMultipartUploadCommand, ListMultipartUploadsCommand } from '@aws-sdk/client-s3'
import { statusOf } from '../service-error.js'
import type { S3Door } from './s3-door.js'
import type { Signalled } from './send.js'

/** Begun and ended at once, to find out whether the vault can be written. One whose answer was lost means nothing to anybody. */
export const PROBE = '.firn-probe-'

interface UnfinishedUpload {
  /** Without the vault's prefix. */
  readonly key: string
  readonly uploadId: string
  readonly begunAt: Date | undefined
}

async function* unfinishedUploads(door: S3Door, start: string, options: Signalled): AsyncGenerator<UnfinishedUpload> {
  const { client, send, place } = door
  let marker: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } = {}
  for (;;) {
    const command = new ListMultipartUploadsCommand({ Bucket: place.bucket, Prefix: place.prefix + start, ...marker })
    const page = await send((call) => client.send(command, call), options)
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      // Some services take the prefix for a hint.
      if (!Key?.startsWith(place.prefix + start) || UploadId === undefined) continue
      yield { key: Key.slice(place.prefix.length), uploadId: UploadId, begunAt: Initiated }
    }
    if (!page.IsTruncated || page.NextKeyMarker === undefined) return
    marker = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
  }
}

/** Somebody else may have swept it already. */
export async function abortUpload(
  door: S3Door,
  { key, uploadId }: Pick<UnfinishedUpload, 'key' | 'uploadId'>,
  options: Signalled,
): Promise<void> {
  const { client, send, place } = door
  const command = new AbortMultipartUploadCommand({ Bucket: place.bucket, Key: place.prefix + key, UploadId: uploadId })
  try {
    await send((call) => client.send(command, call), options)
  } catch (error) {
    if (statusOf(error) !== 404) throw error
  }
}

/** Every unfinished upload of one key. */
export async function abortUploadsOf(door: S3Door, key: string, options: Signalled = {}): Promise<void> {
  for await (const upload of unfinishedUploads(door, key, options)) {
    if (upload.key === key) await abortUpload(door, upload, options)
  }
}

/** See `Vault.sweep`. Each key is asked for once, however many uploads it has. */
export async function sweepUploads(
  door: S3Door,
  isDead: (key: string) => boolean | Promise<boolean>,
  options: Signalled,
): Promise<string[]> {
  const dead = new Map<string, boolean>()
  for await (const upload of unfinishedUploads(door, '', options)) {
    options.signal?.throwIfAborted()
    if (upload.key.startsWith(PROBE)) {
      await abortUpload(door, upload, options)
      continue
    }
    let isIt = dead.get(upload.key)
    if (isIt === undefined) {
      isIt = await isDead(upload.key)
      dead.set(upload.key, isIt)
    }
    if (isIt) await abortUpload(door, upload, options)
  }
  return [...dead].filter(([, isIt]) => isIt).map(([key]) => key)
}
