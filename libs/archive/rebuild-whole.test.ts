/** A rebuilt catalog, column by column: what two catalogs wrote to two vaults in a history with everything that can be in one. */
import { execFileSync } from 'node:child_process'
import { chmodSync, linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { FirnError } from '#libs/errors/errors.js'
import { openLocalVault } from '#libs/vault/local/local-vault.js'
import type { Vault } from '#libs/vault/vault.js'
import { faulty } from '#libs/vault/wrappers/faulty.js'
import { archiveRun } from './archive-run.js'
import { claimVault } from './own-vault.js'
import { rebuildCatalog } from './rebuild-catalog.js'
import { recordSet } from './record-set.js'
import { removeArchived } from './remove-archived.js'
import { openStory, type ScratchStory, smallFiles } from './scratch-story.js'

let one: ScratchStory
let two: ScratchStory
let other: Vault
beforeAll(async () => {
  one = await openStory()
  two = await openStory({ vaultDirectory: one.vaultDirectory })
  other = openLocalVault({ directory: one.path('other') })
  await history()
}, 180_000)
afterAll(async () => {
  await other.close()
  await two[Symbol.asyncDispose]()
  await one[Symbol.asyncDispose]()
})

async function history() {
  const root = one.tree('tree', {
    ...smallFiles(12),
    'deep/a': 'linked',
    'deep/touched': 'same bytes',
    'kind/x': 'below',
    l: 'file',
  })
  linkSync(join(root, 'deep/a'), join(root, 'deep/b'))
  symlinkSync('nowhere', join(root, 'dangling'))
  const small = { filesPerBundle: 5 }
  await one.archive(one.request([root], small, { tags: ['a', 'b'], description: 'the first' }))
  // Metadata alone, names that are gone, kinds that change both ways.
  chmodSync(join(root, 'deep/touched'), 0o600)
  rmSync(join(root, 'kind'), { recursive: true })
  writeFileSync(join(root, 'kind'), 'a file')
  rmSync(join(root, 'l'))
  mkdirSync(join(root, 'l'))
  writeFileSync(join(root, 'l/below'), 'a directory')
  renameSync(join(root, 'deep/b'), join(root, 'deep/c'))
  await one.archive(one.request([root], small))
  // A set without a bundle, and a problem.
  await one.archive(one.request([root], small))
  execFileSync('mkfifo', [join(root, 'fifo')])
  await one.archive(one.request([root], small))
  // Another host, and another vault.
  const elsewhere = one.tree('elsewhere', smallFiles(4))
  await one.archive({ ...one.request([elsewhere]), host: 'beta' })
  const parts = { ...one.parts, vaults: { open: async (url: string) => (url === other.id ? other : one.vault) } }
  const options = { signal: new AbortController().signal, workers: 1, leaveOut: [], detach: false }
  await archiveRun(parts, { ...one.request([root], small), vaultUrl: other.id, vaultId: other.id }, options)
  rmSync(join(root, 'deep/c'))
  await archiveRun(parts, { ...one.request([root], small), vaultUrl: other.id, vaultId: other.id }, options)
  // One bundle of three cannot be stored.
  const failing = one.tree('failing', smallFiles(3))
  const error = new FirnError('failed', 'a bundle that fails')
  one.wrap((vault) =>
    faulty(
      vault,
      Array.from({ length: 9 }, (_, i) => ({ operation: 'upload', at: i + 1, error }) as const),
    ),
  )
  const failed = await one.archive(one.request([failing], { filesPerBundle: 2 }), { workers: 1, reconcileMs: 100 })
  expect(failed.counts.bundlesFailed).toBeGreaterThan(0)
  one.wrap((vault) => vault)
  // Sources that were removed because they are archived.
  const removing = one.tree('removing', smallFiles(3))
  const set = await one.archive(one.request([removing]))
  const removed = await removeArchived(
    one.parts,
    one.vault,
    {
      id: set.id,
      host: set.host,
      roots: set.roots,
      vaultId: set.vaultId,
      options: {
        ...small,
        bundleBytes: 1,
        force: false,
        keep: { xattrs: 'none', cifs: false },
        walk: { recursive: true, oneFileSystem: false, include: [], exclude: [] },
      },
    },
    [],
    { dryRun: false, onRemoved: () => {} },
  )
  expect(removed).toBe(3)
  await recordSet(
    one.parts,
    one.vault,
    (await one.catalog.set(set.id)) as NonNullable<Awaited<ReturnType<typeof one.catalog.set>>>,
  )
  // Cancelled before it was over.
  const cancelled = await one.catalog.createSet(one.request([root]), 'process-1')
  await one.catalog.planBundle(cancelled.id, 'process-1', { plan: Buffer.from('x'), files: 2, entries: 3, bytes: 7 })
  await one.catalog.cancelSet(cancelled.id, 'cancelled by tester@alpha')
  await one.archive(one.request([root]))
  // The other catalog takes the vault over.
  await claimVault(two.vault, two, { takeOver: true })
  const theirs = two.tree('theirs', smallFiles(3))
  await two.archive(two.request([theirs]))
}

/** Of each table every column that says something of what was archived: numbers as what they stand for. */
const DUMPS = {
  set: `SELECT to_jsonb(s) - '{lease_owner,lease_until,crawl_asked_at,rebuilt}'::text[]
    || jsonb_build_object('host', h.name, 'vault', v.id) FROM "set" s JOIN host h ON h.number = s.host JOIN vault v ON v.number = s.vault ORDER BY s.id`,
  bundle: `SELECT to_jsonb(b) - '{number,lease_owner,lease_until,changed_at,secret,plan,adopted,indexed}'::text[]
    || jsonb_build_object('vault', v.id) FROM bundle b JOIN vault v ON v.number = b.vault ORDER BY b.id`,
  file: `SELECT to_jsonb(f) || jsonb_build_object('bundle', b.id, 'directory', d.path, 'host', h.name, 'owner', to_jsonb(o) - 'id')
    FROM file f JOIN bundle b ON b.number = f.bundle JOIN directory d ON d.id = f.directory JOIN host h ON h.number = d.host
    JOIN owner o ON o.id = f.owner ORDER BY b.id, f.seq`,
  problem: `SELECT to_jsonb(p) - 'number' || jsonb_build_object('bundle', b.id) FROM problem p LEFT JOIN bundle b ON b.number = p.bundle
    ORDER BY p.set, p.path, p.kind`,
  gone: `SELECT to_jsonb(g) || jsonb_build_object('directory', d.path, 'host', h.name) FROM gone g JOIN directory d ON d.id = g.directory
    JOIN host h ON h.number = d.host ORDER BY g.set, d.path, g.name, g.removed`,
} as const

async function dump(...stories: ScratchStory[]) {
  const all: Record<string, string[]> = {}
  for (const { databaseUrl } of stories) {
    const client = new pg.Client(databaseUrl)
    await client.connect()
    for (const [table, sql] of Object.entries(DUMPS)) {
      const { rows } = await client.query<{ row: unknown }>({ text: `SELECT row::text FROM (${sql}) x (row)` })
      all[table] = [...(all[table] ?? []), ...rows.map(({ row }) => String(row))].sort()
    }
    await client.end()
  }
  return all
}

test('is as it was, twice', async () => {
  const before = await dump(one, two)
  expect(Object.fromEntries(Object.entries(before).map(([table, rows]) => [table, rows.length > 2]))).toEqual({
    set: true,
    bundle: true,
    file: true,
    problem: true,
    gone: true,
  })
  await using fresh = await openStory()
  for (const round of ['anew', 'once more']) {
    for (const vault of [one.vault, other]) {
      const troubles: string[] = []
      const rebuilt = await rebuildCatalog(fresh.parts, vault, vault.id, {
        onTrouble: (key, reason) => troubles.push(`${key}: ${reason}`),
      })
      expect([troubles, rebuilt]).toEqual([[], expect.objectContaining({ refused: 0, failed: 0, lost: 0, unread: 0 })])
      if (round === 'once more') expect(rebuilt.adopted).toBe(0)
    }
    expect(await dump(fresh)).toEqual(before)
  }
  // And into a catalog that has it all: nothing changes, but for what the other catalog knows.
  const own = await dump(one)
  await rebuildCatalog(one.parts, one.vault, one.vault.id, {})
  const now = await dump(one)
  for (const [table, rows] of Object.entries(own)) for (const row of rows) expect(now[table]).toContain(row)
}, 120_000)
