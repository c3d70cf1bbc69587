/**
 * The N-th operation of an adapter fails, or happens and its answer is lost; N = 1, 2, 3 ... until a run is untouched. The run may end
 * with an error or none; afterwards the same run without faults finishes the work, and what is recorded and restored is the truth.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { archiveRun } from '#libs/archive/archive-run.js'
import { openStory, retrieveWith, type ScratchStory } from '#libs/archive/scratch-story.js'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { parseQuery } from '#libs/search/query.js'
import type { Case, CaseContext } from './case.js'
import { checkRestored, checkTree, checkVault, fail } from './check-invariants.js'
import { type FaultMode, faultyPort, type Script, scriptFor } from './faulty-port.js'
import { counts, type Ledger, writeLedger } from './ledger.js'
import { plantTree } from './plant.js'
import { randomFrom } from './random.js'
import { localSight } from './sight.js'

type Adapter = 'vault' | 'catalog' | 'queue' | 'index' | 'source'

const ERRORS: Readonly<Record<Adapter, () => unknown>> = {
  vault: () => new FirnError('vault-failed', 'The vault failed: injected.'),
  catalog: () => new FirnError('try-again', 'The database cannot be reached: injected.'),
  queue: () => new FirnError('try-again', 'The queue cannot be reached: injected.'),
  index: () => new FirnError('search-away', 'The index cannot be reached: injected.'),
  source: () => new FirnError('failed', 'The walk failed: injected.'),
}

const MOST = 1_000

/** The story's parts, one of them faulty. */
function faultyParts(story: ScratchStory, adapter: Adapter, script: Script): ScratchStory['parts'] {
  const parts = Object.create(story.parts) as ScratchStory['parts']
  const put = (more: Partial<ScratchStory['parts']>) => Object.assign(parts, more)
  if (adapter === 'vault') {
    const vault = faultyPort(story.vault, script, { never: ['quote', 'close'], within: ['upload'] })
    return put({ vaults: { open: async () => vault } })
  }
  if (adapter === 'catalog') return put({ catalog: faultyPort(story.catalog, script, { never: ['close'] }) })
  if (adapter === 'queue') return put({ queue: faultyPort(story.parts.queue, script, { never: ['close'] }) })
  if (adapter === 'index') return put({ index: faultyPort(story.parts.index, script, { never: ['close'] }) })
  return put({ source: faultyPort(story.parts.source, script) })
}

interface Scene {
  readonly story: ScratchStory
  readonly sql: pg.Pool
  readonly context: CaseContext
  readonly seen: Set<string>
}

const runOf = ({ story }: Scene, parts: ScratchStory['parts'], root: string, signal = new AbortController().signal) =>
  archiveRun(
    parts,
    story.request([root], { filesPerBundle: 8, bundleBytes: 100_000 }, { description: `drift ${root.replaceAll('/', ' ')}` }),
    {
      signal,
      workers: 2,
      leaveOut: [rawFromText(story.vaultDirectory)],
      detach: false,
    },
  )

/** As the invariants see a story: no commands, the rest as ever. */
const placeOf = ({ story, sql, seen }: Scene) => ({
  at: { path: story.path },
  sql,
  sight: localSight(story.vaultDirectory),
  vaultId: story.vault.id,
  seen,
})

/**
 * A lease whose release failed is waited for by the run itself, for a minute. In the profile for CI somebody loses patience a second after
 * the fault, and the next run has to do without that.
 */
function impatience(script: Script, { profile }: CaseContext): { signal: AbortSignal; end(): void } {
  const over = new AbortController()
  const timer = setInterval(() => {
    if (script.struck === undefined || profile === 'soak') return
    clearInterval(timer)
    setTimeout(() => over.abort(new FirnError('try-again', 'Somebody lost patience.')), 1_000).unref()
  }, 50)
  return { signal: over.signal, end: () => clearInterval(timer) }
}

async function archiveFaulted(scene: Scene, adapter: Adapter, at: number, mode: FaultMode): Promise<string | undefined> {
  const { story, context } = scene
  const root = story.path(`${adapter}-${mode.replace(' ', '-')}-${at}`)
  plantTree(root, randomFrom(context.seed, `${adapter} ${at}`))
  const ledger = writeLedger(root)
  const script = scriptFor(at, mode, ERRORS[adapter])
  const patience = impatience(script, context)
  await runOf(scene, faultyParts(story, adapter, script), root, patience.signal).catch(() => {})
  patience.end()
  await checkVault(placeOf(scene), { underway: true })
  story.rebirth()
  const set = await runOf(scene, story.parts, root)
  await checkArchived(scene, root, ledger, set.counts)
  return script.struck
}

async function checkArchived(
  scene: Scene,
  root: string,
  ledger: Ledger,
  said: { archived: number; unchanged: number; failed: number; skipped: number },
) {
  const { story } = scene
  const { files, specials } = counts(ledger)
  const told = [said.archived + said.unchanged, said.failed, said.skipped]
  if (told.join() !== [files, 0, specials].join()) throw new Error(`the set says ${told}, the tree has ${[files, 0, specials]}`)
  const place = placeOf(scene)
  await checkVault(place)
  await checkTree(place, root, ledger)
  let hits = 0
  for await (const page of story.parts.index.search(parseQuery(`drift "${root.split('/').at(-1)?.replaceAll('-', ' ')}"`)))
    hits += page.length
  fail('I5: the index', hits === files ? [] : [`finds ${hits} files instead of ${files}`])
}

async function restoreFaulted(
  scene: Scene,
  tree: { root: string; ledger: Ledger },
  adapter: Adapter,
  at: number,
  mode: FaultMode,
) {
  const { story } = scene
  const to = story.path(`to-${adapter}-${mode.replace(' ', '-')}-${at}`)
  mkdirSync(to)
  const script = scriptFor(at, mode, ERRORS[adapter])
  const wish = { selection: { paths: [rawFromText(tree.root)] }, to }
  await retrieveWith(faultyParts(story, adapter, script), wish).catch(() => {})
  story.rebirth()
  await retrieveWith(story.parts, wish)
  checkRestored(tree.root, tree.ledger, to)
  return script.struck
}

/** N = 1, 2, 3 ... in the profile for CI with gaps by chance, until a run is untouched. */
async function walkOperations(
  context: CaseContext,
  salt: string,
  one: (at: number) => Promise<string | undefined>,
): Promise<void> {
  const random = randomFrom(context.seed, salt)
  const gap = () => (context.profile === 'soak' ? 1 : 1 + random.below(9))
  for (let at = context.profile === 'soak' ? 1 : 1 + random.below(4); at < MOST; at += gap()) {
    let struck: string | undefined
    try {
      struck = await one(at)
    } catch (error) {
      throw new Error(`${salt}, operation ${at}: ${error instanceof Error ? error.message : error}`, { cause: error })
    }
    if (struck === undefined) return
    context.count('operations that failed', 1)
  }
}

const MODES: readonly FaultMode[] = ['fails', 'answer lost']

async function withScene(context: CaseContext, run: (scene: Scene) => Promise<void>): Promise<void> {
  const story = await openStory()
  const sql = new pg.Pool({ connectionString: story.databaseUrl, max: 1 })
  try {
    await run({ story, sql, context, seen: new Set() })
  } finally {
    await sql.end()
    await story[Symbol.asyncDispose]()
  }
}

const archiving: readonly Case[] = (['vault', 'catalog', 'queue', 'index', 'source'] as const).map((adapter) => ({
  name: `nth/archive-${adapter}`,
  run: (context) =>
    withScene(context, async (scene) => {
      for (const mode of MODES) {
        await walkOperations(context, `archiving, ${adapter} ${mode}`, (at) => archiveFaulted(scene, adapter, at, mode))
      }
    }),
}))

const restoring: readonly Case[] = (['vault', 'catalog', 'index'] as const).map((adapter) => ({
  name: `nth/restore-${adapter}`,
  run: (context) =>
    withScene(context, async (scene) => {
      const root = join(scene.story.directory, 'tree')
      plantTree(root, randomFrom(context.seed, 'restore'))
      const tree = { root, ledger: writeLedger(root) }
      await runOf(scene, scene.story.parts, root)
      for (const mode of MODES) {
        await walkOperations(context, `restoring, ${adapter} ${mode}`, (at) => restoreFaulted(scene, tree, adapter, at, mode))
      }
    }),
}))

export const NTH_OPERATION: readonly Case[] = [...archiving, ...restoring]
