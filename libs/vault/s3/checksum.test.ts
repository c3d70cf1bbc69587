import { describe, expect, test } from '@jest/globals'
import { checksumsOf } from './checksum.js'

const body = Buffer.from('what is sent')
const other = Buffer.from('what arrived')

describe('an answer with another hash than what was sent is a failure, which may pass', () => {
  test('SHA-256; where it is left out nothing shows that the body arrived whole', async () => {
    const checksums = checksumsOf('sha256')
    const digest = await checksums.digest(body)
    const { fields } = await checksums.digest(other)
    checksums.check('A part', digest, digest.fields)
    const answers = [
      [fields, { code: 'vault-failed', message: 'A part arrived with another SHA-256 than it was sent with.' }],
      [{}, { code: 'vault-refused', message: expect.stringContaining('add checksum=md5') }],
    ] as const
    for (const [answer, error] of answers) {
      expect(() => checksums.check('A part', digest, answer)).toThrow(expect.objectContaining(error))
    }
  })

  test('MD5, where the ETag is one', async () => {
    const checksums = checksumsOf('md5')
    const digest = await checksums.digest(body)
    const etagOf = (raw: Uint8Array) => `"${Buffer.from(raw).toString('hex')}"`
    const wrong = { ETag: etagOf((await checksums.digest(other)).raw) }
    const error = { code: 'vault-failed', message: 'A part arrived with another MD5 than it was sent with.' }
    expect(() => checksums.check('A part', digest, wrong)).toThrow(expect.objectContaining(error))
    checksums.check('A part', digest, { ETag: etagOf(digest.raw) })
    checksums.check('A part', digest, { ETag: '"encrypted-with-a-key-of-kms"' })
  })

  test('where none is compared everything passes', async () => {
    const checksums = checksumsOf('none')
    checksums.check('A part', await checksums.digest(body), {})
  })
})
