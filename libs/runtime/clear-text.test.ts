import { describe, expect, test } from '@jest/globals'
import { exposed, isDeclaredInsecure, shownHost, withoutDeclaration } from './clear-text.js'

describe('a connection', () => {
  test.each([
    'postgres:',
    'postgres://firn:x@localhost/firn',
    'postgres://firn:x@127.0.0.1:5432/firn',
    'postgres://firn@[::1]/firn',
    'postgres://firn@localhost/firn?host=%2Frun%2Fpostgresql',
    'postgres:///firn',
    'postgres://firn:x@db.example.org/firn?sslmode=verify-full',
    'redis://:x@127.8.0.1:6379',
    'rediss://:x@redis.example.org',
    'redis+sentinel://localhost:1,127.0.0.1:2/name',
    'https://elastic:9200',
    'http://localhost:9200',
    's3://bucket/x?class=GLACIER',
    's3://bucket?endpoint=http://127.0.0.1:9000',
    's3://bucket?endpoint=https%3A%2F%2Fs3.example.org',
    'glacier://photos?region=eu-west-1&manifests=local:/m',
    'local:/srv/vault',
    'embedded:',
  ])('%s is not exposed', (url) => expect(exposed(url)).toBeUndefined())

  test.each([
    ['postgres://firn:x@db.example.org/firn', 'db.example.org', 'clear'],
    ['postgresql://firn:x@10.0.0.7:5433/firn?sslmode=prefer', '10.0.0.7', 'clear'],
    ['postgres://firn:x@localhost/firn?host=db.example.org', 'db.example.org', 'clear'],
    ['postgres://firn:x@db/firn?sslmode=require', 'db', 'unverified'],
    ['postgres://firn:x@db/firn?sslmode=no-verify', 'db', 'unverified'],
    ['redis://:x@redis:6379/1', 'redis', 'clear'],
    ['redis+sentinel://localhost:1,far:2/name', 'far', 'clear'],
    ['http://elastic:x@elasticsearch:9200', 'elasticsearch', 'clear'],
    ['http://localhost.example.org', 'localhost.example.org', 'clear'],
    ['s3://bucket?endpoint=http%3A%2F%2Fs3%3A7070', 's3', 'clear'],
    ['glacier://photos?manifests=s3%3A%2F%2Fb%3Fendpoint%3Dhttp%3A%2F%2Fminio', 'minio', 'clear'],
  ])('%s shows %s %s text', (url, host, exposure) => expect(exposed(url)).toMatchObject({ host, exposure }))

  test('goes where the environment of libpq says, too', () => {
    expect(exposed('postgres:///firn', { PGHOST: 'db' })).toMatchObject({ host: 'db' })
    expect(exposed('postgres:///firn', { PGHOST: 'db', PGSSLMODE: 'verify-full' })).toBeUndefined()
  })

  test('is named without what may be a piece of a password', () => {
    for (const url of ['redis://u:a?b@h', 'redis://S3CRET/x@h', 'postgres://u:S3CRET#x@h/db', 'http://S3CRET?x@h'])
      expect([url, shownHost(url, exposed(url)?.host ?? '')]).toEqual([url, 'its server'])
    expect(shownHost('redis://:x@redis:6379/1', 'redis')).toBe('redis')
    expect(shownHost('postgres://u@db/x?host=db2', 'db2')).toBe('db2')
  })

  test('may be declared insecure, which no adapter sees', () => {
    for (const [url, plain] of [
      ['redis://r?insecure=1', 'redis://r'],
      ['redis://r?insecure=1&prefix=x', 'redis://r?prefix=x'],
      ['redis://r?prefix=x&insecure=1', 'redis://r?prefix=x'],
    ] as const) {
      expect(isDeclaredInsecure(url)).toBe(true)
      expect(withoutDeclaration(url)).toBe(plain)
    }
    expect(isDeclaredInsecure('redis://r?insecure=0')).toBe(false)
  })
})
