/**
 * A process that takes hostile tars as a retrieval and a rebuild take them: with the product's own code, on a vault in a directory. It
 * is a process of its own, so that whoever started it sees what memory it takes, and can end it when it hangs.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { placeOf } from '#libs/archive/layout.js'
import { rebuildCatalog } from '#libs/archive/rebuild-catalog.js'
import { restoreItem } from '#libs/archive/restore-bundle.js'
import type { Entry } from '#libs/bundle/entry.js'
import { bundleKey, manifestKey } from '#libs/bundle/key.js'
import { entryLine, headerLine, type ManifestHeader } from '#libs/bundle/manifest.js'
import { openPacker } from '#libs/bundle/pack.js'
import { openPlacer, type PlaceResult } from '#libs/bundle/place.js'
import { encodeSidecar } from '#libs/bundle/sidecar.js'
import { BUNDLE, headerOf, packWhole, plannedTree, requestOf } from '#libs/bundle/test-packing.js'
import type { EntryPages, FileRow, ItemRow, RetrievalRow, StoredBundle } from '#libs/catalog/catalog.js'
import { isFirnError } from '#libs/errors/errors.js'
import { type Raw, rawFromText } from '#libs/os/raw.js'
import { openLocalVault } from '#libs/vault/local/local-vault.js'
import { randomFrom } from '../random.js'
import { claimsOf } from './claims.js'
import { corpus, type HostileTar } from './corpus.js'
import { mutated } from './mutate.js'
import { plantSurroundings } from './surroundings.js'

/** What the process says, one after the other. `begun`: from now on the clock of one case runs. */
export type Told =
  | { kind: 'begun'; name: string }
  | { kind: 'ended'; name: string; faults: string[]; placed: number; refused: number; tars: number }
  | { kind: 'over' }

const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f]/

const [directory = '', seedText = '0', mutationsText = '0', only] = process.argv.slice(2)
const tell = (told: Told) => new Promise<void>((done) => process.send?.(told, () => done()))
const around = join(directory, 'around')
const vaultDirectory = join(directory, 'vault')
const vault = openLocalVault({ directory: vaultDirectory })
await vault.prepare?.({})
const header: ManifestHeader = headerOf(['/'])
const names = { startedAt: header.setStartedAt, setId: header.set, bundleId: BUNDLE, attempt: header.attempt }
const tarFile = join(vaultDirectory, bundleKey(names))
const sidecarFile = join(vaultDirectory, manifestKey(names))
mkdirSync(dirname(tarFile), { recursive: true })

const honest = await packHonest()
const sum = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

if (only !== 'mutations')
  for (const hostile of corpus(join(around, 'out'), honest.tar)) {
    const name = hostile.name
    if (only !== undefined && only !== name) continue
    await tell({ kind: 'begun', name })
    await tell({ kind: 'ended', name, tars: 1, ...(await probe(hostile)) })
  }
for (const [name, sidecar] of hostileSidecars()) {
  if (only !== undefined && only !== name) continue
  await tell({ kind: 'begun', name })
  await tell({ kind: 'ended', name, tars: 1, ...(await probe({ name, tar: honest.tar }, sidecar)) })
}
if (only === undefined || only === 'mutations') await probeMutations(Number(mutationsText))
await vault.close()
await tell({ kind: 'over' })
process.disconnect?.()

async function packHonest(): Promise<{ tar: Buffer; entries: Entry[] }> {
  const tree = join(directory, 'honest')
  mkdirSync(join(tree, 'a'), { recursive: true })
  writeFileSync(join(tree, 'a/one'), 'one of them')
  writeFileSync(join(tree, 'a/two'), 'two of them'.repeat(100))
  const packer = openPacker({ threads: 1 })
  try {
    const { tar, entries } = await packWhole(packer, requestOf(plannedTree(tree)))
    return { tar: Buffer.from(tar), entries: [...entries] }
  } finally {
    await packer.close()
  }
}

/** Manifests beside an honest tar that are none, or that unpack to more than memory holds. */
function* hostileSidecars(): Generator<[string, Buffer]> {
  yield ['manifest: no gzip', Buffer.from('../out/f')]
  yield ['manifest: nothing', Buffer.alloc(0)]
  yield ['manifest: 1 GiB of zeros', endless(Buffer.alloc(2 ** 20))]
  yield ['manifest: 1 GiB of one line', endless(Buffer.alloc(2 ** 20, '{"a":'))]
  yield ['manifest: control characters', gzipSync('{"format":"\u001b[2J\u009b31m"}\n{"tar_bytes":1}\n')]
  const lines = headerLine(header) + honest.entries.map(entryLine).join('')
  const last = `{"tar_bytes":${honest.tar.length},"tar_sha256":"${sum(honest.tar)}"}\n`
  for (const [what, from, to] of [
    ['upwards', '"path":"/', '"path":"/../'],
    ['a control character in its path', '"path":"/', '"path":"/\\u001b[2J'],
    ['a C1 control character in its type', '"type":"file"', '"type":"\u009b2J"'],
    ['a device', '"type":"file"', '"type":"device"'],
    ['setuid', '"mode":420', '"mode":2541'],
    ['a mode beyond all', '"mode":420', '"mode":99999'],
    ['a negative offset', '"offset":', '"offset":-'],
    ['an offset far behind', '"offset":', '"offset":9999999'],
    ['a bundle of another', '"offset":', '"data_bundle":"b0000000-0000-4000-8000-00000000dead","offset":'],
    ['a prototype', '"state":"ok"', '"__proto__":{"state":"ok"},"state":"ok"'],
  ] as const)
    yield [`manifest: ${what}`, gzipSync(lines.replaceAll(from, to) + last)]
  yield ['manifest: cut', gzipSync(lines + last).subarray(0, 100)]
}

/** Gzip allows one after the other: a thousand times the same MiB. */
function endless(bytes: Buffer): Buffer {
  return Buffer.concat(Array<Buffer>(1024).fill(gzipSync(bytes)))
}

interface Outcome {
  faults: string[]
  placed: number
  refused: number
}

/** One tar: a rebuild without and with a manifest that fits, then restores of what it claims and of what an honest row says. */
async function probe({ tar, hole = 0 }: HostileTar, sidecar?: Buffer): Promise<Outcome> {
  const outcome: Outcome = { faults: [], placed: 0, refused: 0 }
  writeFileSync(tarFile, tar)
  if (hole > 0) truncateSync(tarFile, tar.length + hole)
  rmSync(sidecarFile, { force: true })
  const claims = claimsOf(tar)
  const surroundings = plantSurroundings(around)
  const adopted = await rebuild(outcome)
  const lines = Buffer.from(headerLine(header) + claims.map(entryLine).join(''))
  writeFileSync(sidecarFile, sidecar ?? (await encodeSidecar(lines, { tarBytes: tar.length + hole, tarSha256: sum(tar) })))
  const adoptedToo = await rebuild(outcome)
  const bytes = tar.length + hole
  for (const overwrite of [false, true]) {
    const whole: Entry[] =
      hole > 0 ? [...claims, { ...(honest.entries.at(-1) as Entry), path: '/bomb' as Raw, offset: 512, size: 2 ** 26 }] : claims
    await restore(surroundings.target, overwrite, outcome, [
      [whole, bytes],
      [adopted ?? [], bytes],
      [adoptedToo ?? [], bytes],
      [honest.entries, honest.tar.length],
    ])
  }
  outcome.faults.push(...surroundings.faults())
  return outcome
}

/** The rows that a rebuild would write. */
async function rebuild(outcome: Outcome): Promise<readonly Entry[] | undefined> {
  let adopted: readonly Entry[] | undefined
  const catalog = {
    knownBundles: async () => new Map(),
    attemptSecret: async () => undefined,
    restoreSet: async () => false,
    adoptBundle: async (_facts: unknown, _vault: unknown, stored: StoredBundle) => {
      const entries: Entry[] = []
      for await (const page of (stored.entries as EntryPages)()) entries.push(...page)
      adopted = entries
      return true
    },
  }
  const onTrouble = (_key: string, reason: string) => said(reason, outcome)
  await rebuildCatalog({ catalog }, vault, vault.id, { onTrouble })
  return adopted
}

function said(text: string, outcome: Outcome): void {
  if (CONTROL.test(text)) outcome.faults.push(`a message has control characters: ${JSON.stringify(text)}`)
}

/** Rows, and how long the catalog says that their tar is. */
type Believed = readonly [entries: readonly Entry[], tarBytes: number]

/** What the placer of one retrieval does with these rows. */
async function restore(target: string, overwrite: boolean, outcome: Outcome, all: readonly Believed[]): Promise<void> {
  const placer = await openPlacer({ target: rawFromText(target), retrievalId: 'r1', overwrite, setuid: false })
  try {
    for (const [entries, tarBytes] of all) await restoreWith(placer, entries, tarBytes, outcome)
    const directories = all.flatMap(([entries]) => entries.filter(({ type }) => type === 'directory'))
    const lookup = async () => new Map(directories.map((entry) => [placeOf(rowOf(entry, 0), 'path'), entry]))
    await placer.finish(lookup, { onNotice: (_at, notice) => said(notice, outcome) })
  } finally {
    await placer.close()
  }
}

function rowOf(entry: Entry, seq: number): FileRow {
  return {
    ...entry,
    bundleNumber: 1n,
    seq,
    bundleId: BUNDLE,
    setId: header.set,
    host: 'host',
    vaultId: vault.id,
    archiveId: BUNDLE,
    archivedAt: header.createdAt,
  }
}

async function restoreWith(
  placer: Awaited<ReturnType<typeof openPlacer>>,
  entries: readonly Entry[],
  tarBytes: number,
  outcome: Outcome,
) {
  const rows = entries.map(rowOf)
  const catalog = {
    leaseItem: async () => true,
    itemRows: async function* () {
      yield rows
    },
    markItem: async (_id: string, _state: string, detail?: { reason?: string }) => said(detail?.reason ?? '', outcome),
    knownVault: async () => undefined,
    catalogId: '',
  }
  const parts = { catalog, vaults: { open: async () => vault }, owner: 'me', isGone: () => false }
  const item = {
    id: 'i1',
    files: rows.length,
    bundle: { vaultId: vault.id, key: bundleKey(names), tarBytes },
  } as unknown as ItemRow
  let results = 0
  const onResults = (all: readonly PlaceResult[]) => {
    for (const { outcome: what, reason = '', notice = '' } of all) {
      results++
      if (what === 'failed') outcome.refused++
      else outcome.placed++
      said(reason, outcome)
      said(notice, outcome)
    }
  }
  let gaveUp = false
  const onItemFailed = () => {
    gaveUp = true
  }
  await restoreItem(parts, { layout: 'path' } as RetrievalRow, item, placer, { onResults, onItemFailed })
  if (!gaveUp && results > rows.length) outcome.faults.push(`${results} outcomes of ${rows.length} rows`)
}

/** Mutated headers go in hundreds into one target, one after the other: what one leaves there is in the way of the next. */
async function probeMutations(mutations: number): Promise<void> {
  const models = corpus(join(around, 'out'), honest.tar).filter(
    ({ tar, hole }) => tar.length <= 8_192 && tar.length >= 1_024 && !hole,
  )
  const PER_TARGET = 200
  for (let first = 0; first < mutations; first += PER_TARGET) {
    const name = `mutations from ${first}`
    const outcome: Outcome = { faults: [], placed: 0, refused: 0 }
    await tell({ kind: 'begun', name })
    const surroundings = plantSurroundings(around)
    const overwrite = (first / PER_TARGET) % 2 === 1
    const placer = await openPlacer({ target: rawFromText(surroundings.target), retrievalId: 'r1', overwrite, setuid: false })
    const tars = Math.min(PER_TARGET, mutations - first)
    try {
      for (let n = first; n < first + tars; n++) {
        const random = randomFrom(Number(seedText), `mutation ${n}`)
        const model = random.percent(30) ? honest.tar : random.pick(models).tar
        const heads = Array.from({ length: model.length / 512 - 2 }, (_, block) => block * 512).slice(0, 8)
        const tar = mutated(model, heads.length > 0 ? heads : [0], random)
        writeFileSync(tarFile, tar)
        rmSync(sidecarFile, { force: true })
        const adopted = await rebuild(outcome)
        await restoreWith(placer, claimsOf(tar), tar.length, outcome)
        if (adopted) await restoreWith(placer, adopted, tar.length, outcome)
        const faults = n % 20 === 19 ? surroundings.faults() : []
        if (outcome.faults.length + faults.length > 0) {
          outcome.faults.push(`(seen at mutation ${n})`, ...faults)
          break
        }
      }
      await placer.finish(async () => new Map(), { onNotice: (_at, notice) => said(notice, outcome) })
    } catch (error) {
      if (!isFirnError(error)) throw error
      outcome.faults.push(`ended with ${error.message}`)
    } finally {
      await placer.close()
    }
    outcome.faults.push(...surroundings.faults())
    await tell({ kind: 'ended', name, tars, ...outcome })
  }
}
