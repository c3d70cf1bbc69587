/** ListObjectsV2, with what each object's restore is at, where that is asked for. */
import { Refusal } from '../refusal.js'
import type { Answer } from '../service.js'
import { document, type Node } from '../xml.js'
import { bucketOf, numberOf, type S3Request } from './request.js'
import { currentRestore } from './restore.js'
import { byUtf8 } from './sorted-keys.js'
import type { StoredObject } from './store.js'

export async function listObjectsV2(request: S3Request): Promise<Answer> {
  const { call, s3 } = request
  const bucket = bucketOf(request)
  const { query } = call
  const prefix = query.get('prefix') ?? ''
  const delimiter = query.get('delimiter') ?? ''
  const token = query.get('continuation-token')
  const startAfter = query.get('start-after')
  const asked = numberOf(call, 'max-keys', 1000)
  const limit = Math.min(s3.options.pageKeys, asked)
  const written = keyWriter(query.get('encoding-type'))
  const optional = (call.headers['x-amz-optional-object-attributes'] ?? '').split(',').map((one) => one.trim())
  const withRestore = optional.includes('RestoreStatus')
  const now = s3.clock.now()

  const after =
    token === undefined ? (startAfter === undefined ? undefined : { last: startAfter, group: false }) : readToken(token)
  const rows: Node[] = []
  const common = new Set<string>()
  let end: Place | undefined
  let truncated = false
  const start = after !== undefined && byUtf8(after.last, prefix) > 0 ? after.last : prefix
  for (const key of limit === 0 ? [] : bucket.keys.from(start)) {
    if (after !== undefined && (after.group ? key.startsWith(after.last) : key === after.last)) continue
    if (!key.startsWith(prefix)) break
    const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    const group = cut < 0 ? undefined : key.slice(0, cut + delimiter.length)
    if (group !== undefined && common.has(group)) continue
    if (rows.length + common.size >= limit) {
      truncated = true
      break
    }
    if (group !== undefined) {
      common.add(group)
      end = { last: group, group: true }
    } else {
      rows.push(['Contents', contents(bucket.objects.get(key)!)])
      end = { last: key, group: false }
    }
  }
  return {
    status: 200,
    body: document('ListBucketResult', [
      ['Name', bucket.name],
      ['Prefix', written(prefix)],
      ['Delimiter', delimiter === '' ? undefined : written(delimiter)],
      ['StartAfter', startAfter === undefined ? undefined : written(startAfter)],
      ['ContinuationToken', token],
      ['NextContinuationToken', truncated && end ? makeToken(end) : undefined],
      ['KeyCount', rows.length + common.size],
      ['MaxKeys', limit],
      ['EncodingType', query.get('encoding-type')],
      ['IsTruncated', truncated],
      ...rows,
      ...[...common].map((group): Node => ['CommonPrefixes', [['Prefix', written(group)]]]),
    ]),
  }

  function contents(object: StoredObject): Node[] {
    const restore = withRestore ? currentRestore(object, now) : undefined
    const ongoing = restore !== undefined && restore.readyAt > now
    const status: Node[] = [
      ['IsRestoreInProgress', ongoing],
      ['RestoreExpiryDate', ongoing ? undefined : restore?.expiresAt.toISOString()],
    ]
    return [
      ['Key', written(object.key)],
      ['LastModified', object.modifiedAt.toISOString()],
      ['ETag', `"${object.etag}"`],
      ['ChecksumAlgorithm', object.checksum?.algorithm],
      ['ChecksumType', object.checksum?.type],
      ['Size', object.bytes],
      ['StorageClass', object.storageClass],
      ['RestoreStatus', restore && status],
    ]
  }
}

/** Keys as they are, or percent-encoded where the caller fears what XML cannot say. */
export function keyWriter(encoding: string | undefined): (key: string) => string {
  if (encoding === undefined) return (key) => key
  if (encoding !== 'url') throw new Refusal(400, 'InvalidArgument', 'Invalid Encoding Method specified in Request')
  return (key) => encodeURIComponent(key).replace(/%2F/g, '/').replace(/%20/g, '+')
}

/** Where a page ended: with a key, or with a group of keys behind one common prefix. */
interface Place {
  readonly last: string
  readonly group: boolean
}

/** Nobody but the emulator reads a token. */
const makeToken = ({ last, group }: Place): string => Buffer.from(`${group ? 'g' : 'k'}${last}`).toString('base64')

function readToken(token: string): Place {
  const text = Buffer.from(token, 'base64').toString()
  if (!/^[gk]/.test(text)) throw new Refusal(400, 'InvalidArgument', 'The continuation token provided is incorrect')
  return { last: text.slice(1), group: text.startsWith('g') }
}
