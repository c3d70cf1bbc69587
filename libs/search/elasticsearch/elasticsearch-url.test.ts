import { expect, test } from '@jest/globals'
import { parseElasticsearchUrl } from './elasticsearch-url.js'

test('a URL says server, user, prefix and options', () => {
  expect(parseElasticsearchUrl('http://localhost:9200')).toEqual({
    node: 'http://localhost:9200',
    prefix: 'firn',
    shards: 1,
    said: 'Elasticsearch at localhost:9200',
  })
  expect(parseElasticsearchUrl('https://me:a%2Fb%40%25@es.example/lab-1/?shards=3&replicas=2&ca=/etc/ca.pem')).toEqual({
    node: 'https://es.example',
    auth: { username: 'me', password: 'a/b@%' },
    caFile: '/etc/ca.pem',
    prefix: 'lab-1',
    shards: 3,
    replicas: 2,
    said: 'Elasticsearch at es.example',
  })
  expect(parseElasticsearchUrl('https://es.example/?api_key=abc%3D%3D').auth).toEqual({ apiKey: 'abc==' })
})

test('what is wrong with a URL is said in a sentence that shows no secret', () => {
  const wrong: [string, RegExp][] = [
    ['http:', /is not a URL/],
    ['http://me:s3cret/x@es:9200', /is not a URL|is no prefix/],
    ['http://me:s3cret@es:9200/Upper', /no prefix/],
    ['http://me:s3cret@es:9200/a/b', /no prefix/],
    ['http://me:s3cret@es:9200/%zz', /no prefix/],
    ['http://me:s3cret@es:9200/?shard=1', /option "shard".*shards/],
    ['http://me:s3cret@es:9200/?shards=0', /whole number from 1 to 1024 as shards/],
    ['http://me:s3cret@es:9200/?replicas=x', /whole number from 0 to 20 as replicas/],
    ['http://me:s3cret@es:9200/?api_key=k', /both a user and an api_key/],
  ]
  for (const [url, sentence] of wrong) {
    const parse = () => parseElasticsearchUrl(url)
    expect(parse).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringMatching(sentence) }))
    expect(parse).not.toThrow(/s3cret/)
  }
})
