import { describe, expect, test } from '@jest/globals'
import { parseVaultUrl } from '../vault-url.js'
import { s3Place } from './s3-url.js'

const place = (url: string) => s3Place(parseVaultUrl(url))

describe('the URL of an S3 vault', () => {
  test('names the bucket, what stands before every key, and how', () => {
    expect(place('s3://my-bucket')).toEqual({
      id: 's3://my-bucket',
      bucket: 'my-bucket',
      prefix: '',
      pathStyle: false,
      checksum: 'sha256',
      restoreStatus: 'list',
    })
    expect(place('s3://my.bucket/lab/firn/?class=deep_archive&manifest-class=STANDARD_IA&region=eu-west-1')).toMatchObject({
      id: 's3://my.bucket/lab/firn',
      prefix: 'lab/firn/',
      storageClass: 'DEEP_ARCHIVE',
      manifestClass: 'STANDARD_IA',
      region: 'eu-west-1',
    })
  })

  test('with an endpoint means path style, unless it says otherwise, and any class', () => {
    expect(place('s3://bucket/x?endpoint=http://10.0.0.7:9000&class=ICE_COLD')).toMatchObject({
      endpoint: 'http://10.0.0.7:9000',
      pathStyle: true,
      storageClass: 'ICE_COLD',
      restoreStatus: 'auto',
    })
    expect(place('s3://bucket?endpoint=https://s3.example.org/&path-style=no&checksum=md5&restore-status=head')).toMatchObject({
      endpoint: 'https://s3.example.org',
      pathStyle: false,
      checksum: 'md5',
      restoreStatus: 'head',
    })
  })

  test.each([
    ['s3:bucket', /names no bucket/],
    ['s3://', /names no bucket/],
    ['s3://a_/x', /names no bucket/],
    ['s3://bucket/a b', /no key for a vault/],
    ['s3://bucket/../x', /no key for a vault/],
    [`s3://bucket/${'x'.repeat(101)}`, /more than 100/],
    ['s3://bucket?clas=GLACIER', /"clas" is unknown: did you mean "class"/],
    ['s3://bucket?class=ICE', /class=ICE, which is no storage class: choose one of STANDARD, /],
    ['s3://bucket?manifest-class=GLACIER', /manifests must be readable without a thaw/],
    ['s3://bucket?region=Mars Base', /no region/],
    ['s3://bucket?endpoint=minio:9000', /endpoint that is none/],
    ['s3://bucket?endpoint=https://host/path', /endpoint that is none/],
    ['s3://bucket?checksum=crc', /choose sha256 or md5 or none/],
    ['s3://bucket?path-style=maybe', /choose yes or no/],
    ['s3://bucket?restore-status=ask', /choose list or head or auto/],
  ])('%s is refused', (url, message) => {
    expect(() => place(url)).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) }))
  })

  test('holds no credentials, and the refusal does not repeat them', () => {
    const refusal = () => place('s3://bucket?endpoint=https://me:sesame@host')
    expect(refusal).toThrow(/has credentials in its endpoint/)
    expect(refusal).not.toThrow(/sesame/)
  })
})
