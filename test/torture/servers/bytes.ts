/**
 * Bytes that go bad in the vault: a bit flipped, the second half gone, two objects swapped, one deleted, and the same of manifests. Each is
 * named by `firn check`, at the latest when it reads the data, and at the restore; nothing is restored wrongly, everything else is
 * restored; and when the bytes are back, all is well again. (What goes bad on the way is in s3.ts.)
 */
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { makeFiles } from '../../tree.js'
import type { Case, CaseContext } from '../case.js'
import { checkRan, checkVault, fail } from '../check-invariants.js'
import { differences, writeLedger } from '../ledger.js'
import { type OpenPlace, openPlace } from '../place.js'
import { checkComesBack, type Planted, restoreArgs } from '../planted.js'
import { randomFrom } from '../random.js'

/** What bad disks and strangers do to objects. */
interface Hands {
  flip(key: string): void | Promise<void>
  truncate(key: string): void | Promise<void>
  remove(key: string): void | Promise<void>
  swap(one: string, other: string): void | Promise<void>
  /** Puts back what was there. */
  mend(key: string): void | Promise<void>
}

function onFiles(directory: string, copies: string): Hands {
  const at = (key: string) => join(directory, key)
  const copyOf = (key: string) => join(copies, key.replaceAll('/', '_'))
  const keep = (...keys: string[]) => {
    for (const key of keys) copyFileSync(at(key), copyOf(key))
  }
  return {
    flip(key) {
      keep(key)
      const fd = openSync(at(key), 'r+')
      const byte = Buffer.alloc(1)
      const middle = Math.floor(statSync(at(key)).size / 2)
      readSync(fd, byte, 0, 1, middle)
      byte[0]! ^= 1
      writeSync(fd, byte, 0, 1, middle)
      closeSync(fd)
    },
    truncate(key) {
      keep(key)
      truncateSync(at(key), Math.floor(statSync(at(key)).size / 2))
    },
    remove(key) {
      keep(key)
      rmSync(at(key))
    },
    swap(one, other) {
      keep(one, other)
      renameSync(at(one), join(copies, 'between'))
      renameSync(at(other), at(one))
      renameSync(join(copies, 'between'), at(other))
    },
    mend: (key) => copyFileSync(copyOf(key), at(key)),
  }
}

function onObjects({ cloud }: OpenPlace): Hands {
  if (cloud === undefined) throw new Error('no cloud')
  const { s3 } = cloud
  const copies = new Map<string, Buffer>()
  const keep = async (...keys: string[]) => {
    for (const key of keys) copies.set(key, await s3.read('cold', key))
  }
  return {
    async flip(key) {
      await keep(key)
      await s3.damage('cold', key)
    },
    async truncate(key) {
      await keep(key)
      await s3.truncate('cold', key)
    },
    async remove(key) {
      await keep(key)
      await s3.remove('cold', key)
    },
    async swap(one, other) {
      await keep(one, other)
      s3.swap('cold', one, other)
    },
    mend: (key) => s3.plant('cold', [key], () => copies.get(key) as Buffer),
  }
}

interface Bundle {
  readonly id: string
  readonly key: string
  /** Below the root. */
  readonly files: readonly string[]
}

async function bundlesOf({ sql }: OpenPlace, root: string): Promise<Bundle[]> {
  const { rows } = await sql.query<{ id: string; key: string; paths: Buffer[] }>(
    `SELECT b.id, b.key, array_agg(d.path || '/'::bytea || f.name) AS paths
     FROM bundle b JOIN file f ON f.bundle = b.number JOIN directory d ON d.id = f.directory WHERE f.type <> 3 GROUP BY b.id, b.key, b.number ORDER BY b.number`,
  )
  return rows.map(({ id, key, paths }) => ({
    id,
    key,
    files: paths.map((path) => path.toString('latin1').slice(root.length + 1)),
  }))
}

const manifestOf = ({ key }: Bundle): string => key.replace(/\.tar$/, '.manifest.ndjson.gz')

interface Harm {
  readonly what: string
  readonly bundle: Bundle
  /** `firn check` sees it without reading. */
  readonly plain: boolean
  /** Of the manifest alone: the files are well. */
  readonly harmless?: boolean
}

async function doHarm(hands: Hands, bundles: Bundle[]): Promise<Harm[]> {
  const take = () => bundles.pop() as Bundle
  const [flipped, cut, gone, one, other, noManifest, badManifest] = [take(), take(), take(), take(), take(), take(), take()]
  await hands.flip(flipped.key)
  await hands.truncate(cut.key)
  await hands.remove(gone.key)
  await hands.swap(one.key, other.key)
  await hands.remove(manifestOf(noManifest))
  await hands.flip(manifestOf(badManifest))
  return [
    { what: 'flipped', bundle: flipped, plain: false },
    { what: 'truncated', bundle: cut, plain: true },
    { what: 'deleted', bundle: gone, plain: true },
    { what: 'swapped', bundle: one, plain: false },
    { what: 'swapped', bundle: other, plain: false },
    { what: 'its manifest deleted', bundle: noManifest, plain: true, harmless: true },
    { what: 'its manifest flipped', bundle: badManifest, plain: false, harmless: true },
  ]
}

/** Every harm is named, and nothing else; without reading those that can be seen so. */
async function checkNamed(place: OpenPlace, harms: readonly Harm[], readData: boolean): Promise<void> {
  const ran = await place.at.run('firn', ['check', '--json', ...(readData ? ['--read-data'] : [])])
  checkRan(place, ran, harms.length > 0 ? [1] : [0])
  const named = ran.messages.filter((message) => message['message_type'] === 'problem')
  const said = named.map(({ kind, key, reason }) => `${kind} ${key} ${reason}`)
  const about = ({ bundle }: Harm) => said.filter((line) => line.includes(bundle.id))
  const harmed = new Set(harms.map(({ bundle }) => bundle.id))
  fail(`firn check${readData ? ' --read-data' : ''}`, [
    ...harms
      .filter((harm) => (readData || harm.plain) && about(harm).length === 0)
      .map(({ what, bundle }) => `does not name ${bundle.key}, which was ${what}`),
    ...said.filter((line) => ![...harmed].some((id) => line.includes(id))).map((line) => `names what nobody touched: ${line}`),
  ])
}

/** What came back is right; what did not is of a bundle that was harmed, and is named; all the rest is there. */
async function checkPartlyRestored(place: OpenPlace, tree: Planted, harms: readonly Harm[], to: string): Promise<void> {
  const { root, ledger } = tree
  mkdirSync(to)
  const ran = await place.at.run('find-and-retrieve', restoreArgs(tree, to))
  checkRan(place, ran, [1])
  const found = writeLedger(to + root)
  const harmed = harms.filter(({ harmless }) => !harmless)
  const mayMiss = new Set(harmed.flatMap(({ bundle }) => bundle.files))
  const missing = [...ledger].filter(([path, { type }]) => type !== 'directory' && !found.has(path)).map(([path]) => path)
  const output = ran.stdout + ran.stderr
  const but = { mode: true, times: true, directories: true, hardlinks: true, more: true }
  fail('what was restored of a vault with harm done to it', [
    ...differences(found, ledger, but).map((line) => `I3: ${line}`),
    ...missing
      .filter((path) => !mayMiss.has(path))
      .map((path) => `${JSON.stringify(path)} is not there, though nobody touched its bundle`),
    ...harmed
      .filter(({ bundle }) => bundle.files.some((path) => !found.has(path)))
      .filter(({ bundle }) => !output.includes(bundle.id) && !bundle.files.some((path) => output.includes(path)))
      .map(({ what, bundle }) => `neither bundle ${bundle.id}, which was ${what}, nor a file of it is named`),
    ...harmed
      .filter(({ what }) => what !== 'flipped')
      .filter(({ what, bundle }) => what !== 'truncated' && bundle.files.some((path) => found.has(path)))
      .map(({ what, bundle }) => `files of ${bundle.key}, which was ${what}, came back from nowhere`),
  ])
  const restored = ran.summary['files_restored']
  const there = [...found.values()].filter(({ type }) => type !== 'directory').length
  if (restored !== there) throw new Error(`I7: it says that ${restored} files were restored, ${there} are there`)
}

async function harmAndMend(context: CaseContext, kind: 'local' | 's3'): Promise<void> {
  const place = await openPlace(kind)
  try {
    const { at } = place
    // Read at once, without thaws.
    const url = at.env['FIRN_VAULT_URL']
    if (url !== undefined) at.env['FIRN_VAULT_URL'] = url.replace('class=DEEP_ARCHIVE&', '')
    const root = at.path('grove')
    mkdirSync(root)
    makeFiles(root, 60, { bytes: 4_000, perDirectory: 7 })
    const tree: Planted = { root, ledger: writeLedger(root) }
    checkRan(place, await at.run('archive-files', ['-r', '--json', '--files-per-bundle', '5', root]), [0])
    await checkVault(place)

    mkdirSync(at.path('copies'))
    const hands = kind === 'local' ? onFiles(join(at.home, 'vault'), at.path('copies')) : onObjects(place)
    const harms = await doHarm(hands, randomFrom(context.seed, `bytes ${kind}`).shuffle(await bundlesOf(place, root)))
    context.count('objects of the vault harmed', harms.length)
    await checkPartlyRestored(place, tree, harms, at.path('before-check'))
    await checkNamed(place, harms, false)
    await checkNamed(place, harms, true)
    await checkPartlyRestored(place, tree, harms, at.path('after-check'))

    for (const { bundle, harmless } of harms) await hands.mend(harmless ? manifestOf(bundle) : bundle.key)
    await checkNamed(place, [], true)
    await checkComesBack(place, tree, at.path('mended'))
  } finally {
    await place.close()
  }
}

export const BYTES: readonly Case[] = (['local', 's3'] as const).map((kind) => ({
  name: `servers/bytes-${kind}`,
  run: (context) => harmAndMend(context, kind),
}))
