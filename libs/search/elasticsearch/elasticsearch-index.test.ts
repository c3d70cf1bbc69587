/** The index in Elasticsearch: the suite against real servers, and what only this one can show. */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client } from '@elastic/elasticsearch'
import { afterEach, describe, expect, test } from '@jest/globals'
import { rawFromText } from '#libs/os/raw.js'
import { describeWithServer } from '../../../test/tools.js'
import { parseQuery } from '../query.js'
import type { Hit, SearchIndex } from '../search-index.js'
import { describeSearchIndex } from '../search-suite.js'
import { openElasticsearchIndex } from './elasticsearch-index.js'

/** A prefix of its own on a server. */
function scratchPrefix(server: string, options = '') {
  const prefix = `t${randomBytes(6).toString('hex')}`
  const { protocol, host, username, password } = new URL(server)
  const client = new Client({
    node: `${protocol}//${host}`,
    ...(username && { auth: { username, password: decodeURIComponent(password) } }),
  })
  return {
    prefix,
    client,
    url: `${server.replace(/\/$/, '')}/${prefix}${options}`,
    async drop() {
      const indexes = await client.indices.get({ index: `${prefix}-*`, filter_path: '*.settings.index.uuid' })
      if (Object.keys(indexes).length > 0) await client.indices.delete({ index: Object.keys(indexes) })
      await client.close()
    },
  }
}

for (const [variable, version] of [
  ['FIRN_TEST_ELASTICSEARCH_URL', '9'],
  ['FIRN_TEST_ELASTICSEARCH_8_URL', '8'],
] as const) {
  describeWithServer(variable, `Elasticsearch ${version}`, (server) => {
    describeSearchIndex(`in Elasticsearch ${version}`, async () => {
      const place = scratchPrefix(server)
      return {
        open: async () => openElasticsearchIndex(place.url),
        busy: async () => {
          // Of its own indexes: other suites search on the same server.
          const stats = await place.client.indices.stats({ index: `${place.prefix}-*`, metric: 'search' })
          return stats._all.total?.search?.open_contexts ?? 0
        },
        drop: place.drop,
      }
    })

    describe(`an index in Elasticsearch ${version}`, () => {
      const opened: { close(): Promise<void> }[] = []
      const places: { drop(): Promise<void> }[] = []
      afterEach(async () => {
        for (const one of opened.splice(0)) await one.close()
        for (const place of places.splice(0)) await place.drop()
      })
      const scratch = (options?: string) => {
        const place = scratchPrefix(server, options)
        places.push(place)
        return place
      }
      const open = (url: string): SearchIndex => {
        const index = openElasticsearchIndex(url)
        opened.push(index)
        return index
      }

      test('is made by many at once, by the first who write', async () => {
        const { url, prefix, client } = scratch()
        const indexes = Array.from({ length: 5 }, () => open(url))
        await Promise.all(indexes.map((index, i) => index.addBundle(bundle(BigInt(i), '/a/b.txt'))))
        expect(await hits(indexes[0] as SearchIndex, 'b')).toHaveLength(5)
        expect(Object.keys(await client.indices.get({ index: `${prefix}-*` })).sort()).toEqual([
          `${prefix}-files-1`,
          `${prefix}-sets-1`,
        ])
      })

      test('has the shards and copies that its URL asks for, and another place when it is rebuilt', async () => {
        const { url, prefix, client } = scratch('?shards=2&replicas=0')
        const index = open(url)
        await index.addBundle(bundle(1n, '/a/b.txt'))
        await index.rebuild((next) => next.addBundle(bundle(2n, '/a/b.txt')))
        const made = await client.indices.get({ index: `${prefix}-files*` })
        expect(Object.keys(made)).toEqual([`${prefix}-files-2`])
        const { settings, aliases } = made[`${prefix}-files-2`] ?? {}
        expect(settings?.index).toMatchObject({ number_of_shards: '2', number_of_replicas: '0' })
        expect(Object.keys(aliases ?? {})).toEqual([`${prefix}-files`])
        expect(await hits(index, 'b')).toEqual([{ bundleNumber: 2n, seq: 0 }])
      })

      test('gives every hit once where they fill many pages', async () => {
        const index = open(scratch().url)
        const files = (from: number) => Array.from({ length: 9_000 }, (_, i) => `/data/${from + i}.raw`)
        await index.addBundles([bundle(1n, ...files(0)), bundle(7n, ...files(9_000))])
        const found = await hits(index, 'raw')
        expect(found).toHaveLength(18_000)
        expect(new Set(found.map(({ bundleNumber, seq }) => `${bundleNumber}/${seq}`)).size).toBe(18_000)
        expect([found[0], found.at(-1)]).toEqual([
          { bundleNumber: 7n, seq: 0 },
          { bundleNumber: 1n, seq: 8_999 },
        ])
      })

      test('that somebody dropped is missed by a search, and made anew by who writes', async () => {
        const { url, prefix, client } = scratch()
        const index = open(url)
        await index.addBundle(bundle(1n, '/a/b.txt'))
        await client.indices.delete({ index: `${prefix}-files-1` })
        await expect(hits(index, 'b')).rejects.toMatchObject({
          code: 'search-away',
          message: expect.stringMatching(/firn reindex/),
        })
        await expect(index.addBundle(bundle(2n, '/a/b.txt'))).rejects.toMatchObject({ code: 'search-away' })
        await index.addBundle(bundle(2n, '/a/b.txt'))
        expect(await hits(index, 'b')).toHaveLength(1)
      })

      test('of a newer Firn is refused', async () => {
        const { url, prefix, client } = scratch()
        await open(url).addBundle(bundle(1n, '/a/b.txt'))
        await client.indices.putMapping({ index: `${prefix}-files-1`, _meta: { firn: 1000 } })
        const newer = { code: 'database-newer', message: expect.stringMatching(/version 1000/) }
        await expect(hits(open(url), 'b')).rejects.toMatchObject(newer)
        await expect(open(url).addBundle(bundle(1n, '/a/b.txt'))).rejects.toMatchObject(newer)
      })

      test('is not fooled by a bulk that took only a part', async () => {
        const { url, prefix, client } = scratch()
        const index = open(url)
        await index.addBundle(bundle(1n, '/a/b.txt'))
        await client.indices.putSettings({ index: `${prefix}-files-1`, settings: { index: { blocks: { write: true } } } })
        await expect(index.addBundle(bundle(2n, '/a/c.txt'))).rejects.toMatchObject({ code: 'search-away' })
        await client.indices.putSettings({ index: `${prefix}-files-1`, settings: { index: { blocks: { write: false } } } })
        await index.addBundle(bundle(2n, '/a/c.txt'))
        expect(await hits(index, 'c')).toHaveLength(1)
      })

      if (version === '9') {
        test('says that user or password are wrong, without them', async () => {
          const url = new URL(scratch().url)
          url.password = 's3cret'
          const error = await open(url.href)
            .addBundle(bundle(1n))
            .catch((one) => one)
          expect(error).toMatchObject({
            code: 'usage',
            message: expect.stringMatching(/refuses the user and password.*FIRN_SEARCH_URL/),
          })
          expect(error.message).not.toMatch(/s3cret/)
          url.username = ''
          url.password = ''
          await expect(hits(open(url.href), 'b')).rejects.toMatchObject({
            message: expect.stringMatching(/wants a user and a password/),
          })
        })

        test('says what a user may not do, and needs no right to look at nodes', async () => {
          const { url } = scratch()
          await open(url).addBundle(bundle(1n, '/a/b.txt'))
          const as = (username: string) => open(Object.assign(new URL(url), { username }).href)
          const full = as('writer')
          await full.addBundle(bundle(2n, '/a/b.txt'))
          await full.rebuild((next) => next.addBundle(bundle(2n, '/a/b.txt')))
          expect(await hits(full, 'b')).toHaveLength(1)
          const reader = as('reader')
          expect(await hits(reader, 'b')).toHaveLength(1)
          await expect(reader.addBundle(bundle(3n, '/a/b.txt'))).rejects.toMatchObject({
            code: 'usage',
            message: expect.stringMatching(/privileges/),
          })
        })
      }
    })
  })
}

/** What a server that cannot be had answers: recorded or written by hand, each time the same. */
describe('an Elasticsearch that', () => {
  const closers: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close()
  })
  async function answering(
    answer: (request: IncomingMessage, body: string, response: ServerResponse) => void,
  ): Promise<SearchIndex> {
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += String(chunk)
      response.setHeader('x-elastic-product', 'Elasticsearch')
      response.setHeader('content-type', 'application/json')
      answer(request, body, response)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const index = openElasticsearchIndex(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    closers.push(async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }, index.close)
    return index
  }

  test('is away says so, with no secret, and that a later try helps', async () => {
    const index = openElasticsearchIndex('http://me:s3cret@127.0.0.1:1')
    closers.push(index.close)
    const error = await index.addBundle(bundle(1n, '/a')).catch((one) => one)
    expect(error).toMatchObject({
      code: 'search-away',
      message: expect.stringMatching(/^Elasticsearch at 127.0.0.1:1 cannot be reached/),
    })
    expect(error.message).not.toMatch(/s3cret/)
  })

  test('is too old is refused', async () => {
    const seven = await answering((_request, _body, response) => response.end('{"nodes":{"a":{"version":"7.17.28"}}}'))
    await expect(hits(seven, 'a')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/too old \(this one is 7.17.28\)/),
    })
    const strict = await answering((_request, _body, response) => {
      response.statusCode = 400
      response.end('{"error":{"type":"media_type_header_exception","reason":"Invalid media-type value"},"status":400}')
    })
    await expect(hits(strict, 'a')).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/too old/) })
    const another = await answering((_request, _body, response) => {
      response.removeHeader('x-elastic-product')
      response.end('{}')
    })
    await expect(hits(another, 'a')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/is no Elasticsearch/),
    })
  })

  test('has too much to do is given what it did not take once more, and only that', async () => {
    const sent: string[][] = []
    const index = await answering((request, body, response) => {
      if (!request.url?.includes('_bulk')) {
        response.end(request.url?.includes('_mapping') ? '{"x":{"mappings":{"_meta":{"firn":1}}}}' : '{}')
        return
      }
      const ids = body.split('\n').flatMap((line) => /"_id":"([^"]+)"/.exec(line)?.[1] ?? [])
      sent.push(ids)
      if (sent.length === 1) {
        response.statusCode = 429
        response.end('{}')
        return
      }
      const busy = sent.length === 2 ? 2 : 0
      const items = ids.map((_id, i) => ({
        index: i < busy ? { status: i === 0 ? 429 : 503, error: { type: 'busy' } } : { status: 201, result: 'created' },
      }))
      response.end(JSON.stringify({ errors: busy > 0, items }))
    })
    await index.addBundle(bundle(5n, '/a', '/b'))
    expect(sent).toEqual([
      ['5', '5-0', '5-1'],
      ['5', '5-0', '5-1'],
      ['5', '5-0'],
    ])
  })

  test('refuses one document among many makes the whole fail', async () => {
    const index = await answering((request, _body, response) => {
      const items = [
        { index: { status: 201, result: 'created' } },
        { index: { status: 400, error: { type: 'document_parsing_exception', reason: 'no' } } },
      ]
      if (request.url?.includes('_bulk')) response.end(JSON.stringify({ errors: true, items }))
      else response.end(request.url?.includes('_mapping') ? '{"x":{"mappings":{"_meta":{"firn":1}}}}' : '{}')
    })
    await expect(index.addBundle(bundle(5n, '/a'))).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringMatching(/document_parsing_exception/),
    })
  })
})

const bundle = (number: bigint, ...paths: string[]) => ({
  number,
  setId: 's',
  files: paths.map((path, seq) => ({ seq, path: rawFromText(path) })),
})

async function hits(index: SearchIndex, text: string): Promise<Hit[]> {
  const found: Hit[] = []
  for await (const page of index.search(parseQuery(text))) found.push(...page)
  return found
}
