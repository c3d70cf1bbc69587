/** The index in Elasticsearch: the suite against real servers, and what only this one can show. */
import { randomBytes } from 'node:crypto'
import { Client } from '@elastic/elasticsearch'
import { describeWithServer } from '../../../test/tools.js'
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
          const stats = await place.client.nodes.stats({ metric: 'indices', index_metric: 'search' })
          return Object.values(stats.nodes).reduce((sum, node) => sum + (node.indices?.search?.open_contexts ?? 0), 0)
        },
        drop: place.drop,
      }
    })
  })
}
