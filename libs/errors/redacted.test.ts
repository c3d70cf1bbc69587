import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { redacted } from './redacted.js'

describe('a URL that is shown', () => {
  test.each([
    ['postgres://firn:hunter2@db/firn', 'postgres://***@db/firn'],
    ['postgres://firn@db:5432/firn', 'postgres://***@db:5432/firn'],
    ['redis://:hunter2@db', 'redis://***@db'],
    ['redis://u:a?b@h', 'redis://***@h'],
    ['redis://u:a#b/c@h:6379/2', 'redis://***@h:6379/2'],
    ['redis://tok/en@host', 'redis://***@host'],
    ['postgres://firn:hun@ter2@db/firn', 'postgres://***@db/firn'],
    ['postgres://firn:hun/ter2@db:bad/firn', 'postgres://***@db:bad/firn'],
    ['postgres://db/firn?password=hunter2&sslmode=require', 'postgres://db/firn?password=***&sslmode=require'],
    ['postgres://db/firn?options=-c%20x.secret%3Dhunter2', 'postgres://db/firn?options=***'],
    ['postgres://db/firn?host=%2Frun%2Ffirn&apikey=hunter2', 'postgres://db/firn?host=%2Frun%2Ffirn&apikey=***'],
    ['https://TOKEN@host', 'https://***@host'],
    ['https://host:9200/path#token', 'https://host:9200/path#***'],
    ['http://elastic:9200/a?b=c', 'http://elastic:9200/a?b=***'],
    // A password may hold a slash and a question mark.
    ['http://elastic:9200/a?b=c@d', 'http://***@d'],
    ['https://host?hunter2', 'https://host?***'],
    ['local:/srv/v@ult?thaw=5', 'local:/srv/v@ult?thaw=5'],
    ['embedded:', 'embedded:'],
    ['s3://bucket/a@b?class=DEEP_ARCHIVE&region=eu-west-1', 's3://bucket/a@b?class=DEEP_ARCHIVE&region=eu-west-1'],
    ['s3://key:hunter2@bucket/x', 's3://***@bucket/x'],
    ['s3://cold?endpoint=http://key:hunter2@host', 's3://cold?endpoint=http://***@host'],
    [
      's3://cold?endpoint=http%3A%2F%2Fkey%3Ahunter2%40host&region=x',
      `s3://cold?endpoint=${encodeURIComponent('http://***@host')}&region=x`,
    ],
    ['s3://cold?endpoint=http%3A%2F%2Fhost%3A9000', 's3://cold?endpoint=http%3A%2F%2Fhost%3A9000'],
    ['s3://cold?endpoint=hunter2%zz', 's3://cold?endpoint=***'],
    ['glacier://photos?manifests=s3%3A%2F%2Fb%2Fx&region=x', 'glacier://photos?manifests=s3%3A%2F%2Fb%2Fx&region=x'],
    ['/srv/vault', '/srv/vault'],
    ['//u:hunter2@host', '***'],
  ])('%s becomes %s', (url, shown) => expect(redacted(url)).toBe(shown))

  test('never shows what stands before the @ of a server, nor the value of an unknown option', () => {
    const secret = fc.string({ unit: fc.constantFrom(...'ab:/?#&=%@'), maxLength: 8 }).map((text) => `S3CRET${text}`)
    fc.assert(
      fc.property(secret, fc.constantFrom('postgres', 'redis', 'rediss', 'https'), (text, scheme) => {
        expect(redacted(`${scheme}://u:${text}@host/x`)).not.toContain('S3CRET')
        expect(redacted(`${scheme}://${text}@host/x`)).not.toContain('S3CRET')
        expect(redacted(`${scheme}://host/x?unknown=${encodeURIComponent(text)}`)).not.toContain('S3CRET')
      }),
    )
  })
})
