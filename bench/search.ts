/**
 * `npm run bench -- --search <files>`: how fast files go into the search indexes, and how soon the first thousand hits of a query come out.
 *
 * PostgreSQL and Elasticsearch are started, and installed where they are missing (as root). A tree is made up, the same each time; 200 queries of one to three words of its paths,
 * phrases and exclusions among them, are asked one after the other, twice: the second round counts, for a server that has just been
 * started reads from the disk and compiles.
 */
import { randomBytes } from 'node:crypto'
import { rawFromText } from '#libs/os/raw.js'
import { openSearchIndex } from '#libs/search/open-index.js'
import { parseQuery } from '#libs/search/query.js'
import type { IndexedBundle, SearchIndex } from '#libs/search/search-index.js'
import { scratchDatabase } from '../test/database.js'
import { elasticsearch } from '../test/services/elasticsearch.js'
import { postgres } from '../test/services/postgres.js'
import { startServers } from '../test/services/start.js'
import { median } from './measure.js'

const FILES_PER_BUNDLE = 1_000
const BUNDLES_AT_ONCE = 20
const BUNDLES_PER_SET = 50
const QUERIES = 200
const ENOUGH_HITS = 1_000

export async function benchSearch(files: number): Promise<void> {
  const rows: string[] = []
  const servers = await startServers([postgres, elasticsearch])
  try {
    Object.assign(process.env, servers.env)
    const database = await scratchDatabase()
    rows.push(await measureIndex('Postgres', await openSearchIndex(database.url), files))
    const place = `${servers.env['FIRN_TEST_ELASTICSEARCH_URL']?.replace(/\/$/, '')}/bench${randomBytes(6).toString('hex')}`
    rows.push(await measureIndex('Elasticsearch', await openSearchIndex(`${place}?replicas=0`), files))
  } finally {
    await servers.stop()
  }
  console.log(
    `| ${files.toLocaleString('en')} files | rows/s | query p50 ms | p95 ms | worst ms | hits |\n|---|---|---|---|---|---|`,
  )
  for (const row of rows) console.log(row)
}

async function measureIndex(name: string, index: SearchIndex, files: number): Promise<string> {
  const bundles = Math.ceil(files / FILES_PER_BUNDLE)
  let spent = 0
  for (let at = 0; at < bundles; at += BUNDLES_AT_ONCE) {
    const some = Array.from({ length: Math.min(BUNDLES_AT_ONCE, bundles - at) }, (_, i) => bundleOf(at + i))
    const began = performance.now()
    const setId = (some[0] as IndexedBundle).setId
    await index.putSet({ id: setId, description: `nightly archive ${setId}`, tags: ['lab', setId] })
    await index.addBundles(some)
    spent += performance.now() - began
  }
  const began = performance.now()
  await index.settle()
  spent += performance.now() - began

  await ask(index, bundles)
  const { times, hits } = await ask(index, bundles)
  await index.clear()
  await index.close()
  times.sort((a, b) => a - b)
  const at = (share: number) => (times[Math.min(times.length - 1, Math.floor(times.length * share))] as number).toFixed(1)
  const rate = Math.round(files / (spent / 1000)).toLocaleString('en')
  return `| ${name} | ${rate} | ${median(times).toFixed(1)} | ${at(0.95)} | ${at(1)} | ${hits.toLocaleString('en')} |`
}

async function ask(index: SearchIndex, bundles: number): Promise<{ times: number[]; hits: number }> {
  const times: number[] = []
  let hits = 0
  for (const query of queries(bundles)) {
    const parsed = parseQuery(query)
    const start = performance.now()
    let found = 0
    for await (const page of index.search(parsed)) {
      found += page.length
      if (found >= ENOUGH_HITS) break
    }
    times.push(performance.now() - start)
    hits += found
  }
  return { times, hits }
}

const PLACES = ['projects', 'raw', 'archive', 'scans', 'photos', 'incoming', 'survey', 'results', 'backup', 'sequencing']
const NOUNS = [
  'frame',
  'sample',
  'report',
  'IMG',
  'plate',
  'MouseBrain',
  'notes',
  'summary',
  'run',
  'calibration',
  'YouTube',
  'index',
]
const ENDINGS = ['jpg', 'tif', 'csv', 'tar.gz', 'json', 'pdf', 'fastq', 'txt']

function pathOf(number: number): string {
  const draw = chooser(number)
  const directory = Math.floor(number / 20)
  const drawn = chooser(directory + 7_000_000)
  const place = () => PLACES[drawn(PLACES.length)]
  const parts = [place(), `${place()}-${drawn(300)}`, `${2010 + drawn(15)}`, `session_${directory % 5_000}`]
  const noun = () => NOUNS[draw(NOUNS.length)]
  return `/data/${parts.join('/')}/${noun()}_${noun()}${String(draw(100_000)).padStart(5, '0')}.${ENDINGS[draw(ENDINGS.length)]}`
}

/** In the order in which a walk finds them and a tar holds them. */
function bundleOf(at: number): IndexedBundle {
  const paths = Array.from({ length: FILES_PER_BUNDLE }, (_, i) => pathOf(at * FILES_PER_BUNDLE + i)).sort()
  const files = paths.map((path, seq) => ({ seq, path: rawFromText(path) }))
  return { number: BigInt(at + 1), setId: `set${Math.floor(at / BUNDLES_PER_SET)}`, files }
}

function queries(bundles: number): string[] {
  const draw = chooser(99)
  const pick = (from: readonly string[]) => from[draw(from.length)] as string
  const name = () =>
    pathOf(draw(bundles * FILES_PER_BUNDLE))
      .split('/')
      .at(-1) as string
  const kinds = [
    () => pick(NOUNS),
    () => `${pick(NOUNS)} ${pick(ENDINGS)}`,
    () => `${pick(PLACES)} ${pick(NOUNS)} ${2010 + draw(15)}`,
    () => `"session ${draw(5_000)}"`,
    () => name(),
    () => `${pick(NOUNS)} -${pick(ENDINGS)} -${pick(PLACES)}`,
    () => `session_${draw(5_000)} ${pick(NOUNS)}`,
    () => `set${draw(Math.ceil(bundles / BUNDLES_PER_SET))} ${pick(NOUNS)}`,
  ]
  return Array.from({ length: QUERIES }, (_, i) => (kinds[i % kinds.length] as () => string)())
}

/** Whole numbers below `n`, the same for the same seed. */
function chooser(seed: number): (n: number) => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0
  return (n) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x297a2d39) >>> 0
    return Math.floor((((state ^ (state >>> 12)) >>> 0) / 2 ** 32) * n)
  }
}
