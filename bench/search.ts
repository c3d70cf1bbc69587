/**
 * `npm run bench -- --search <files>`: how fast files go into the search indexes, and how soon the first thousand hits of a query come out.
 *
 * PostgreSQL and Elasticsearch are started, and installed where they are missing (as root). 200 queries of one to three words of made-up
 * paths, phrases and exclusions among them, are asked one after the other, twice: the second round counts, for a server that has just
 * been started reads from the disk and compiles. Each answer is compared with brute force over the files of thirty bundles.
 */
import { randomBytes } from 'node:crypto'
import { openSearchIndex } from '#libs/search/open-index.js'
import { matchesQuery, parseQuery } from '#libs/search/query.js'
import type { IndexedBundle, SearchIndex } from '#libs/search/search-index.js'
import { scratchDatabase } from '../test/database.js'
import { elasticsearch } from '../test/services/elasticsearch.js'
import { postgres } from '../test/services/postgres.js'
import { startServers } from '../test/services/start.js'
import { chooser, ENDINGS, FILES_PER_BUNDLE, NOUNS, PLACES, pathOf, pathsOf, SESSIONS } from './made-up.js'
import { atShare, median } from './measure.js'

const BUNDLES_AT_ONCE = 20
const BUNDLES_PER_SET = 50
const QUERIES = 200
const ENOUGH_HITS = 1_000

/** `only`: one of them, by its name; else both. */
export async function benchSearch(files: number, only: string): Promise<void> {
  const rows: string[] = []
  const wanted = [postgres, elasticsearch].filter(({ name }) => name.includes(only))
  const servers = await startServers(wanted)
  try {
    Object.assign(process.env, servers.env)
    for (const server of wanted) {
      const place = `${servers.env[server.variable]?.replace(/\/$/, '')}/bench${randomBytes(6).toString('hex')}?replicas=0`
      const url = server === postgres ? (await scratchDatabase()).url : place
      rows.push(await measureIndex(server.name, await openSearchIndex(url), files))
    }
  } finally {
    await servers.stop()
  }
  console.log(
    `| ${files.toLocaleString('en')} files | rows/s | query p50 ms | p95 ms | worst ms | hits | compared |\n|---|---|---|---|---|---|---|`,
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
    await index.putSet(setOf(setId))
    await index.addBundles(some)
    spent += performance.now() - began
  }
  const began = performance.now()
  await index.settle()
  spent += performance.now() - began

  await ask(index, bundles)
  const { times, answers } = await ask(index, bundles)
  const compared = compareSample(answers, bundles)
  await index.clear()
  await index.close()
  times.sort((a, b) => a - b)
  const at = (share: number) => atShare(times, share).toFixed(1)
  const hits = answers.reduce((sum, { found }) => sum + found, 0)
  const rate = Math.round(files / (spent / 1000)).toLocaleString('en')
  return `| ${name} | ${rate} | ${median(times).toFixed(1)} | ${at(0.95)} | ${at(1)} | ${hits.toLocaleString('en')} | ${compared.toLocaleString('en')} |`
}

interface Answer {
  readonly query: string
  /** Hits in the bundles of the sample, as `number/seq`. */
  readonly inSample: ReadonlySet<string>
  readonly found: number
  /** Not stopped after enough hits. */
  readonly whole: boolean
}

async function ask(index: SearchIndex, bundles: number): Promise<{ times: number[]; answers: Answer[] }> {
  const times: number[] = []
  const answers: Answer[] = []
  const sample = new Set(sampleOf(bundles).map((at) => BigInt(at + 1)))
  for (const query of queries(bundles)) {
    const parsed = parseQuery(query)
    const inSample = new Set<string>()
    const start = performance.now()
    let found = 0
    for await (const page of index.search(parsed)) {
      found += page.length
      for (const { bundleNumber, seq } of page) if (sample.has(bundleNumber)) inSample.add(`${bundleNumber}/${seq}`)
      if (found >= ENOUGH_HITS) break
    }
    times.push(performance.now() - start)
    answers.push({ query, inSample, found, whole: found < ENOUGH_HITS })
  }
  return { times, answers }
}

const SAMPLE = 30
const sampleOf = (bundles: number): number[] =>
  Array.from({ length: Math.min(SAMPLE, bundles) }, (_, i) => Math.floor((i * bundles) / Math.min(SAMPLE, bundles)))

/** Every answer against brute force over the bundles of the sample; how many pairs of query and file were looked at. */
function compareSample(answers: readonly Answer[], bundles: number): number {
  let compared = 0
  for (const { number, setId, files } of sampleOf(bundles).map(bundleOf)) {
    const { description, tags } = setOf(setId)
    for (const { query, inSample, whole } of answers) {
      const parsed = parseQuery(query)
      for (const { seq, path } of files) {
        const matches = matchesQuery(parsed, { path, description, tags })
        const isHit = inSample.has(`${number}/${seq}`)
        if (isHit ? !matches : matches && whole)
          throw new Error(`${query}: ${path} is ${isHit ? 'a hit' : 'none'}, which is wrong`)
        compared++
      }
    }
  }
  return compared
}

const setOf = (setId: string) => ({ id: setId, description: `nightly archive ${setId}`, tags: ['lab', setId] })

function bundleOf(at: number): IndexedBundle {
  const files = pathsOf(at).map((path, seq) => ({ seq, path }))
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
    () => `"session ${draw(SESSIONS)}"`,
    () => name(),
    () => `${pick(NOUNS)} -${pick(ENDINGS)} -${pick(PLACES)}`,
    () => `session_${draw(SESSIONS)} ${pick(NOUNS)}`,
    () => `set${draw(Math.ceil(bundles / BUNDLES_PER_SET))} ${pick(NOUNS)}`,
  ]
  return Array.from({ length: QUERIES }, (_, i) => (kinds[i % kinds.length] as () => string)())
}
