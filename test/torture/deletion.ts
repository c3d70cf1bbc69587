/**
 * `--delete-after-archive` with any one of its conditions made false: zero files go, whatever was tried before. At the end of each
 * order nothing is in the way, and everything goes: the conditions were the only reason.
 */
import { chmodSync, linkSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { optionsFromJson } from '#libs/archive/crawl-options.js'
import { removeArchived } from '#libs/archive/remove-archived.js'
import { openStory, type ScratchStory } from '#libs/archive/scratch-story.js'
import type { SetRow } from '#libs/catalog/catalog.js'
import type { Case, CaseContext } from './case.js'
import { fail } from './check-invariants.js'
import { differences, writeLedger } from './ledger.js'
import { randomFrom } from './random.js'

interface Scene {
  readonly story: ScratchStory
  readonly sql: pg.Pool
  readonly root: string
  readonly set: SetRow
  readonly bundleId: string
  readonly tar: string
  readonly sidecar: string
}

/** Makes one condition false for every file of the tree; what it returns makes it true again. */
type Spoil = (scene: Scene, random: ReturnType<typeof randomFrom>) => Promise<() => Promise<void>> | (() => Promise<void>)

const FILES = ['a', 'b', 'c/d', 'c/e'] as const
const nothing = async () => {}

/** Other bytes in a file, the old ones back. */
const rewritten = (path: string, change: (bytes: Buffer) => Buffer) => {
  const whole = readFileSync(path)
  chmodSync(path, 0o644)
  writeFileSync(path, change(Buffer.from(whole)))
  return async () => writeFileSync(path, whole)
}

const moved = (path: string) => {
  renameSync(path, `${path}-away`)
  return async () => renameSync(`${path}-away`, path)
}

const update = async ({ sql, bundleId }: Scene, wrong: string, right: string) => {
  await sql.query(`UPDATE bundle SET ${wrong} WHERE id = $1`, [bundleId])
  return async () => void (await sql.query(`UPDATE bundle SET ${right} WHERE id = $1`, [bundleId]))
}

const ofFiles = async ({ sql, bundleId }: Scene, wrong: string, right: string) => {
  const where = 'WHERE bundle = (SELECT number FROM bundle WHERE id = $1) AND type <> 3'
  await sql.query(`UPDATE file SET ${wrong} ${where}`, [bundleId])
  return async () => void (await sql.query(`UPDATE file SET ${right} ${where}`, [bundleId]))
}

const flipped = (bytes: Buffer, at: number): Buffer => {
  bytes[at] = (bytes[at] as number) ^ 1
  return bytes
}

const CONDITIONS: Readonly<Record<string, Spoil>> = {
  'the tar is gone': ({ tar }) => moved(tar),
  'the tar is shorter': ({ tar }) => rewritten(tar, (bytes) => bytes.subarray(0, -512)),
  'the tar is longer': ({ tar }) => rewritten(tar, (bytes) => Buffer.concat([bytes, Buffer.alloc(512)])),
  'a bit of the tar is another': ({ tar }, random) => rewritten(tar, (bytes) => flipped(bytes, random.below(bytes.length))),
  'the manifest is gone': ({ sidecar }) => moved(sidecar),
  'the manifest is cut off': ({ sidecar }) => rewritten(sidecar, (bytes) => bytes.subarray(0, bytes.length / 2)),
  'the manifest is no gzip': ({ sidecar }) => rewritten(sidecar, () => Buffer.from('{"format":"firn-bundle/1"}\n')),
  'the bundle is missing': (scene) => update(scene, "state = 'missing'", "state = 'stored'"),
  'the bundle is damaged': (scene) => update(scene, "state = 'damaged'", "state = 'stored'"),
  'the files changed while they were read': (scene) => ofFiles(scene, 'state = 1', 'state = 0'),
  'the files had another size': (scene) => ofFiles(scene, 'size = size + 1', 'size = size - 1'),
  'the files had another time': (scene) => ofFiles(scene, 'mtime_ns = mtime_ns + 1', 'mtime_ns = mtime_ns - 1'),
  'the files had another ctime': (scene) => ofFiles(scene, 'ctime_ns = ctime_ns - 1', 'ctime_ns = ctime_ns + 1'),
  'the files were other inodes': (scene) => ofFiles(scene, 'ino = ino + 1', 'ino = ino - 1'),
  'the host is another': async ({ sql }) => {
    await sql.query("UPDATE host SET name = 'beta' WHERE name = 'alpha'")
    return async () => void (await sql.query("UPDATE host SET name = 'alpha' WHERE name = 'beta'"))
  },
}

/** These leave their mark on the tree (another ctime), so each has files of its own. */
const FOR_GOOD: Readonly<Record<string, (root: string) => void>> = {
  'the files were written to': (root) => {
    for (const name of FILES) writeFileSync(join(root, name), 'more', { flag: 'a' })
  },
  'the files were replaced': (root) => {
    for (const name of FILES) {
      writeFileSync(join(root, 'new'), readFileSync(join(root, name)))
      renameSync(join(root, 'new'), join(root, name))
    }
  },
  'the files were replaced by symlinks': (root) => {
    for (const name of FILES) {
      rmSync(join(root, name))
      symlinkSync('/etc/passwd', join(root, name))
    }
  },
  'the files have another mode': (root) => {
    for (const name of FILES) chmodSync(join(root, name), 0o600)
  },
  'the files have a name elsewhere': (root) => {
    for (const [number, name] of FILES.entries()) linkSync(join(root, name), `${root}-elsewhere-${number}`)
  },
}

async function archived(story: ScratchStory, sql: pg.Pool, name: string): Promise<Scene> {
  const root = story.tree(name, Object.fromEntries(FILES.map((file) => [file, `${name} ${file}`])))
  const set = await story.archive(story.request([root]))
  const [bundle] = await story.bundlesOf(set)
  if (bundle?.key === undefined) throw new Error(`${name} was not archived`)
  const tar = join(story.vaultDirectory, bundle.key)
  return { story, sql, root, set, bundleId: bundle.id, tar, sidecar: tar.replace(/tar$/, 'manifest.ndjson.gz') }
}

async function removeFrom({ story, set }: Scene): Promise<number> {
  const planned = { id: set.id, host: set.host, roots: set.roots, vaultId: set.vaultId, options: optionsFromJson(set.options) }
  return removeArchived(story.parts, story.vault, planned, [], { dryRun: false, onRemoved: nothing })
}

async function mustKeepAll(scene: Scene, about: string, context: CaseContext): Promise<void> {
  const before = writeLedger(scene.root)
  const removed = await removeFrom(scene)
  fail(`although ${about}`, [
    ...(removed > 0 ? [`${removed} files were removed`] : []),
    ...differences(before, writeLedger(scene.root)),
  ])
  context.count('removals refused', 1)
}

export const DELETION: readonly Case[] = [
  {
    name: 'deletion',
    async run(context) {
      const random = randomFrom(context.seed, 'deletion')
      await using story = await openStory({ packers: 1 })
      const sql = new pg.Pool({ connectionString: story.databaseUrl, max: 1 })
      try {
        const orders = context.profile === 'soak' ? 200 : 40
        for (let order = 0; order < orders; order++) {
          const scene = await archived(story, sql, `order-${order}`)
          const conditions = random.shuffle(Object.keys(CONDITIONS)).slice(0, context.profile === 'soak' ? undefined : 4)
          for (const condition of conditions) {
            const undo = await (CONDITIONS[condition] as Spoil)(scene, random)
            await mustKeepAll(scene, condition, context)
            await undo()
          }
          if (random.percent(50)) {
            const forGood = random.pick(Object.keys(FOR_GOOD))
            FOR_GOOD[forGood]?.(scene.root)
            await mustKeepAll(scene, forGood, context)
          } else {
            const removed = await removeFrom(scene)
            if (removed !== FILES.length)
              throw new Error(`with nothing in the way ${removed} of ${FILES.length} files were removed`)
          }
          context.count('orders of conditions', 1)
        }
      } finally {
        await sql.end()
      }
    },
  },
]
