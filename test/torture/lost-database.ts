/**
 * The database is lost; or it is one of a week ago. From the manifests alone every file is found again, and comes back as it was; and
 * what an old catalog does not know is named, adopted, and neither deleted nor sent again.
 */
import { execFileSync } from 'node:child_process'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import { openEmbeddedPostgres } from '#libs/runtime/postgres/embedded-postgres.js'
import { type Home, openHome } from '../firn.js'
import type { Case, CaseContext } from './case.js'
import { checkNames, checkRan, checkTree, checkVault, fail, type Place } from './check-invariants.js'
import { counts, differences, type Ledger, writeLedger } from './ledger.js'
import { archive, checkComesBack, type Ground, type Planted, plant } from './planted.js'
import { localSight } from './sight.js'

export const LOST_DATABASE: readonly Case[] = [
  { name: 'catalog/lost', run: lostDatabase },
  { name: 'catalog/old', run: oldCatalog },
]

/** Without a database that is kept running, as `openPlace` does: each command starts its own, so that it can be lost in between. */
const openGround = (): Ground => ({ at: openHome({ FIRN_CHECK_SECONDS: '1' }), secrets: [] })

const vaultLedger = (at: Home) => writeLedger(at.path('home/vault'))

/** What was there is there still, byte for byte, and nothing came: `but` what is named. */
const RECORD = /\/set\.\d+\.ndjson\.gz$/

/** Each run adds its records. */
function checkKept(before: Ledger, after: Ledger, but?: string): void {
  const isRunsOwn = (key: string) => RECORD.test(key) && !before.has(key)
  const objects = (ledger: Ledger) =>
    new Map([...ledger].filter(([key, { type }]) => type === 'file' && key !== but && !isRunsOwn(key)))
  fail('the vault', differences(objects(before), objects(after)))
}

/** With the database of this home running: SQL upon it. */
async function withSight({ at, secrets }: Ground, look: (place: Place) => Promise<void>): Promise<void> {
  const postgres = await openEmbeddedPostgres({ home: at.home, log: () => {}, durable: false })
  const sql = new pg.Pool({ connectionString: postgres.url, max: 2 })
  sql.on('error', () => {})
  try {
    const directory = at.path('home/vault')
    await look({ at, sql, sight: localSight(directory), vaultId: `local:${directory}`, seen: new Set(), secrets })
  } finally {
    await sql.end()
    await postgres.close()
  }
}

/** Every file of the tree that `--list` gives, below its root. */
async function checkFound(ground: Ground, { root, ledger }: Planted): Promise<number> {
  const ran = await ground.at.run('find-and-retrieve', ['--path', root, '-l', '--json'])
  checkRan(ground, ran, [0])
  const found = ran.messages.filter(({ message_type }) => message_type === 'file').length
  const { files } = counts(ledger)
  if (found !== files) throw new Error(`of ${files} files of ${root}, ${found} are found`)
  return found
}

/** Where a tree is restored to. */
const backOf = ({ at }: Ground, { root }: Planted): string => at.path(`back-${root.split('/').at(-1)}`)

async function lostDatabase(context: CaseContext): Promise<void> {
  const ground = openGround()
  const { at } = ground
  try {
    const trees = ['first', 'second', 'third'].map((name) => plant(ground, context, name, { xattrs: true }))
    for (const tree of trees) await archive(ground, tree)
    // A bundle that holds versions whose bytes lie in another.
    const [first] = trees as [Planted]
    writeFileSync(`${first.root}/z/nothing`, 'something now')
    const changed: Planted = { root: first.root, ledger: writeLedger(first.root, { xattrs: true }) }
    await archive(ground, changed)
    const before = vaultLedger(at)
    rmSync(at.path('home/postgres'), { recursive: true, force: true })

    const from = `local:${at.path('home/vault')}`
    const rebuilt = await at.run('firn', ['rebuild-catalog', '--from', from, '--take-over', '--json'])
    checkRan(ground, rebuilt, [0])
    context.count('bundles adopted from their manifests', Number(rebuilt.summary['adopted']))
    for (const tree of [changed, ...trees.slice(1)]) {
      context.count('files found again after a lost database', await checkFound(ground, tree))
      await checkComesBack(ground, tree, backOf(ground, tree), { xattrs: true })
    }
    await withSight(ground, async (place) => {
      const unknown = await checkVault(place)
      fail('unknown after a rebuild', unknown)
      // What was skipped has no bundle: nothing tells of it any more.
      for (const { root, ledger } of trees.slice(1))
        await checkTree(place, root, new Map([...ledger].filter(([, { type }]) => type !== 'other')))
      await checkNames(place, [])
    })
    // It says whose the vault is, and `--take-over` was asked for.
    checkKept(before, vaultLedger(at), 'firn-vault.json')
    const again = await archive(ground, changed)
    if (again.summary['files_archived'] !== 0) throw new Error(`it sends ${again.summary['files_archived']} files again`)
  } finally {
    at.dispose()
  }
}

async function oldCatalog(context: CaseContext): Promise<void> {
  const ground = openGround()
  const { at } = ground
  try {
    const old = plant(ground, context, 'old', { xattrs: true })
    await archive(ground, old)
    execFileSync('cp', ['-a', at.path('home/postgres'), at.path('a-week-ago')]) // with its owners, also as root
    const before = new Set(vaultLedger(at).keys())
    const fresh = plant(ground, context, 'fresh', { xattrs: true })
    await archive(ground, fresh)
    const vault = vaultLedger(at)
    rmSync(at.path('home/postgres'), { recursive: true, force: true })
    renameSync(at.path('a-week-ago'), at.path('home/postgres'))

    const unknown = [...vault].filter(([key, { type }]) => type === 'file' && !before.has(key)).map(([key]) => key)
    const tars = unknown.filter((key) => key.endsWith('.tar'))
    if (tars.length === 0) throw new Error('the fresh tree made no bundle')
    await withSight(ground, (place) => checkNames(place, tars))
    context.count('bundles that an old catalog does not know, named by check', tars.length)

    // A run of the old tree, with the old catalog, leaves what it does not know alone.
    await archive(ground, old)
    checkKept(vault, vaultLedger(at))

    const from = `local:${at.path('home/vault')}`
    const rebuilt = await at.run('firn', ['rebuild-catalog', '--from', from, '--json'])
    checkRan(ground, rebuilt, [0])
    if (rebuilt.summary['adopted'] !== tars.length)
      throw new Error(`of ${tars.length} unknown bundles ${rebuilt.summary['adopted']} are adopted`)
    for (const tree of [old, fresh]) {
      await checkFound(ground, tree)
      const again = await archive(ground, tree)
      if (again.summary['files_archived'] !== 0) throw new Error(`${tree.root}: sent again: ${again.summary['files_archived']}`)
      await checkComesBack(ground, tree, backOf(ground, tree), { xattrs: true })
    }
    checkKept(vault, vaultLedger(at))
    await withSight(ground, async (place) => fail('unknown after a rebuild', await checkVault(place)))
  } finally {
    at.dispose()
  }
}
