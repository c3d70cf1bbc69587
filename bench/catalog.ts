/**
 * `npm run bench -- --rows <files>`: how fast the rows of files go into the catalog while it grows, what they take on the disk, and how soon
 * paths are found in it. An embedded database as users have it, with fsync; bundles of 1,000 made-up files, planned, leased and marked
 * stored as a worker does, four at a time. Making them up is not counted.
 */
import pg from 'pg'
import type { Entry } from '#libs/bundle/entry.js'
import type { Catalog, SetRow } from '#libs/catalog/catalog.js'
import { migrate } from '#libs/catalog/migrate.js'
import { openCatalog } from '#libs/catalog/open-catalog.js'
import { entry, newSet, nobodyIsGone, OWNER, storeBundle } from '#libs/catalog/scratch-catalog.js'
import type { Raw } from '#libs/os/raw.js'
import { severalAtOnce } from '#libs/os/several-at-once.js'
import { withEmbedded } from './embedded.js'
import { chooser, FILES_PER_BUNDLE, pathsOf } from './made-up.js'
import { atShare } from './measure.js'

const AT_ONCE = 4
const BUNDLES_A_TIME = 100
const LOOKS = 200

export async function benchCatalog(files: number): Promise<void> {
  await withEmbedded({ durable: true }, async (url) => {
    await migrate(url)
    const catalog = await openCatalog({ url, poolSize: AT_ONCE + 2 })
    const sql = new pg.Pool({ connectionString: url, max: 1 })
    try {
      const set = await newSet(catalog)
      await fill(catalog, set, sql, files)
      await look(catalog, set, files)
    } finally {
      await sql.end()
      await catalog.close()
    }
  })
}

async function fill(catalog: Catalog, set: SetRow, sql: pg.Pool, files: number): Promise<void> {
  const bundles = Math.ceil(files / FILES_PER_BUNDLE)
  const tenth = Math.ceil(bundles / 10)
  let spent = 0
  let counted = 0
  console.log(
    '| rows there | rows/s of the last tenth | bytes a row: rows | their indexes | directories | bundles |\n|---|---|---|---|---|---|',
  )
  for (let at = 0; at < bundles; ) {
    const some = Array.from({ length: Math.min(BUNDLES_A_TIME, bundles - at) }, (_, i) => entriesOf(at + i))
    const began = performance.now()
    await catalog.leaseSet(set.id, OWNER, nobodyIsGone)
    await severalAtOnce(some, AT_ONCE, async (entries) => void (await storeBundle(catalog, set, entries)))
    spent += performance.now() - began
    const before = at
    at += some.length
    if (Math.floor(at / tenth) === Math.floor(before / tenth) && at < bundles) continue
    const rate = ((at - counted) * FILES_PER_BUNDLE) / (spent / 1000)
    const sizes = (await bytesOf(sql)).map((bytes) => (bytes / (at * FILES_PER_BUNDLE)).toFixed(0))
    console.log(
      `| ${(at * FILES_PER_BUNDLE).toLocaleString('en')} | ${Math.round(rate).toLocaleString('en')} | ${sizes.join(' | ')} |`,
    )
    spent = 0
    counted = at
  }
}

/** Rows, their indexes; directories and bundles with theirs, and the plans of bundles that were stored and are not cleaned up yet. */
async function bytesOf(sql: pg.Pool): Promise<number[]> {
  const { rows } = await sql.query<{ sizes: string[] }>(
    `SELECT ARRAY[pg_table_size('file'), pg_indexes_size('file'), pg_total_relation_size('directory'), pg_total_relation_size('bundle')] AS sizes`,
  )
  return (rows[0]?.sizes ?? []).map(Number)
}

/** What a retrieval of one file and an unchanged run ask: rows below a path, and names of a directory. */
async function look(catalog: Catalog, set: SetRow, files: number): Promise<void> {
  const draw = chooser(5)
  const asked = Array.from(
    { length: LOOKS },
    () => pathsOf(draw(Math.ceil(files / FILES_PER_BUNDLE)))[draw(FILES_PER_BUNDLE)] as Raw,
  )
  const selected = await timed(asked, async (path) => {
    let rows = 0
    for await (const page of catalog.select({ paths: [path] })) rows += page.length
    if (rows !== 1) throw new Error(`${path} has ${rows} rows`)
  })
  await using held = await catalog.openHeld({ host: set.host, vaultId: set.vaultId })
  const heldTimes = await timed(asked, async (path) => {
    const [found] = await held.lookup([path])
    if (found === undefined) throw new Error(`${path} is not held`)
  })
  console.log(`\n| ${LOOKS} looks at one path | p50 ms | p95 ms |\n|---|---|---|`)
  for (const [what, times] of [
    ['its rows', selected],
    ['is it held?', heldTimes],
  ] as const)
    console.log(`| ${what} | ${atShare(times, 0.5).toFixed(1)} | ${atShare(times, 0.95).toFixed(1)} |`)
}

async function timed<T>(asked: readonly T[], ask: (one: T) => Promise<void>): Promise<number[]> {
  const times: number[] = []
  for (const one of asked) {
    const began = performance.now()
    await ask(one)
    times.push(performance.now() - began)
  }
  return times.sort((a, b) => a - b)
}

/** As the packer would say them: sizes, times and hashes that differ from file to file. */
function entriesOf(bundle: number): Entry[] {
  const seen = new Set<Raw>()
  let offset = 1_024
  return pathsOf(bundle)
    .filter((path) => !seen.has(path) && seen.add(path))
    .map((path, i) => {
      const number = bundle * FILES_PER_BUNDLE + i
      const size = 1 + ((number * 7_919) % 12_000)
      const timeNs = 1_600_000_000_000_000_000n + BigInt(number) * 1_000_003n
      const ino = BigInt(number + 12)
      const one = entry(path, { size, ino, offset, mtimeNs: timeNs, ctimeNs: timeNs + 1n, atimeNs: timeNs + 2n })
      offset += size + 1_536
      return one
    })
}
