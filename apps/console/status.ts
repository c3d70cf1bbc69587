/** `firn status [set]`: sets and retrievals, and how they stand. */
import type { RetrievalRow, SetRow, WorkerRow } from '#libs/catalog/catalog.js'
import { EXIT, type ExitCode, FirnError } from '#libs/errors/errors.js'
import { jsonName, shown } from '#libs/os/raw.js'
import { type CommandContext, type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { formatBytes, formatCount, formatTime, formatUsd, plural } from '#libs/runtime/terminal/sizes.js'

/** The newest are shown; a set can be asked for by its id. */
const SHOWN = 20

export const statusCommand: CommandSpec<CommonFlags> = {
  name: 'firn status',
  define: (command) =>
    commonOptions(command)
      .description('Workers, sets and retrievals, newest first, and how they stand; of one set also its problems.')
      .argument('[set]', 'the id of a set'),
  run: async (context) => {
    await using runtime = openRuntime(context)
    const catalog = await runtime.catalog()
    const [id] = context.args
    if (id !== undefined) return await statusOfSet(context, catalog, id)
    const [sets, retrievals, totals, workers] = await Promise.all([
      catalog.sets({ limit: SHOWN }),
      catalog.retrievals({ limit: SHOWN }),
      catalog.totals(),
      catalog.workers(runtime.isGone),
    ])
    const { reporter } = context
    await reporter.result(
      `catalog: ${plural(totals.sets, 'set')}, ${plural(totals.bundles, 'bundle')}, ${plural(totals.files, 'file')}, ${formatBytes(totals.bytes)}; database ${formatBytes(totals.databaseBytes)}`,
    )
    for (const worker of workers) await showWorker(context, worker)
    for (const set of sets) await showSet(context, set)
    for (const retrieval of retrievals) await showRetrieval(context, retrieval)
    return EXIT.done
  },
}

type StatusCatalog = Awaited<ReturnType<ReturnType<typeof openRuntime>['catalog']>>

async function statusOfSet(context: CommandContext<CommonFlags>, catalog: StatusCatalog, id: string): Promise<ExitCode> {
  const { reporter } = context
  const set = /^[0-9a-f-]{36}$/i.test(id) ? await catalog.set(id.toLowerCase()) : undefined
  if (set === undefined) throw new FirnError('nothing-matched', `there is no set ${id}; firn status lists them`)
  await showSet(context, set)
  for await (const page of catalog.problems(set.id)) {
    for (const { path, kind, reason } of page) {
      await reporter.result(`  ${kind}: ${shown(path)}: ${reason}`)
      await reporter.message('problem', { set_id: set.id, ...jsonName('path', path), kind, reason })
    }
  }
  return EXIT.done
}

/** Long-running ones; commands that do their own work are not listed. */
async function showWorker({ reporter }: CommandContext<CommonFlags>, worker: WorkerRow): Promise<void> {
  const [machine, , , pid] = worker.owner.split('/')
  await reporter.result(
    `${worker.roles.join(' and ')} of host ${worker.host}, on ${machine}, process ${pid}, since ${formatTime(worker.startedAt)}`,
  )
  await reporter.message('status', {
    worker: worker.owner,
    host: worker.host,
    roles: worker.roles,
    started_at: worker.startedAt.toISOString(),
    seen_at: worker.seenAt.toISOString(),
  })
}

async function showSet({ reporter }: CommandContext<CommonFlags>, set: SetRow): Promise<void> {
  const { counts } = set
  const parts = [
    `${formatCount(counts.archived)} of ${plural(counts.found - counts.unchanged, 'file')} archived`,
    `${plural(counts.bundlesStored, 'bundle')}, ${formatBytes(counts.bytes)}`,
    ...(counts.unchanged > 0 ? [`${formatCount(counts.unchanged)} unchanged`] : []),
    ...(counts.skipped > 0 ? [`${formatCount(counts.skipped)} skipped`] : []),
    ...(counts.failed > 0 ? [`${formatCount(counts.failed)} failed`] : []),
    ...(counts.changed > 0 ? [`${formatCount(counts.changed)} changed`] : []),
    ...(counts.bundlesFailed > 0 ? [`${plural(counts.bundlesFailed, 'bundle')} failed`] : []),
  ]
  const words = [...set.tags.map((tag) => `#${tag}`), ...(set.description ? [JSON.stringify(set.description)] : [])].join(' ')
  await reporter.result(
    `set ${set.id}  ${set.state}  ${formatTime(set.startedAt)}  ${set.host}:${set.roots.map(shown).join(' ')}${words ? `  ${words}` : ''}\n    ${parts.join('; ')}`,
  )
  await reporter.message('status', {
    set_id: set.id,
    state: set.state,
    host: set.host,
    started_at: set.startedAt.toISOString(),
    finished_at: set.finishedAt?.toISOString(),
    description: set.description,
    tags: set.tags,
    files_found: counts.found,
    files_archived: counts.archived,
    files_unchanged: counts.unchanged,
    files_skipped: counts.skipped,
    files_failed: counts.failed,
    files_changed: counts.changed,
    bundles: counts.bundlesStored,
    bundles_failed: counts.bundlesFailed,
    bytes: counts.bytes,
    bytes_planned: counts.plannedBytes,
  })
}

async function showRetrieval({ reporter }: CommandContext<CommonFlags>, retrieval: RetrievalRow): Promise<void> {
  const items = Object.entries(retrieval.items).flatMap(([state, count]) => (count > 0 ? [`${count} ${state}`] : []))
  const expected =
    retrieval.expectedAt && retrieval.finishedAt === undefined ? `; expected ${formatTime(retrieval.expectedAt)}` : ''
  const failed = retrieval.filesFailed > 0 ? `, ${plural(retrieval.filesFailed, 'file')} failed` : ''
  const state = retrieval.agreedAt === undefined && retrieval.finishedAt === undefined ? 'not agreed to' : retrieval.state
  const cost = retrieval.thawSpentUsd > 0 ? `; thawing about ${formatUsd(retrieval.thawSpentUsd)}` : ''
  await reporter.result(
    `retrieval ${retrieval.id}  ${state}  ${formatTime(retrieval.createdAt)}${retrieval.target === '' ? '' : `  to ${shown(retrieval.target)}`}\n    ${formatCount(retrieval.filesRestored)} of ${plural(retrieval.files, 'file')} restored${failed}; bundles: ${items.join(', ')}${expected}${cost}`,
  )
  await reporter.message('status', {
    retrieval_id: retrieval.id,
    state: retrieval.state,
    created_at: retrieval.createdAt.toISOString(),
    expected_at: retrieval.expectedAt?.toISOString(),
    detached: retrieval.detached,
    items: retrieval.items,
    files: retrieval.files,
    files_restored: retrieval.filesRestored,
    files_failed: retrieval.filesFailed,
    bytes: retrieval.bytes,
    agreed_at: retrieval.agreedAt?.toISOString(),
    consent: retrieval.consent,
    thaw_spent_usd: retrieval.thawSpentUsd,
  })
}
