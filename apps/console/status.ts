/** `firn status [id]`: sets and retrievals, and how they stand. */
import { failedItems } from '#libs/archive/retrieve.js'
import type { AuditRow, RetrievalRow, SetRow, WorkerRow } from '#libs/catalog/catalog.js'
import { EXIT, type ExitCode, FirnError } from '#libs/errors/errors.js'
import { jsonName, shown, shownText } from '#libs/os/raw.js'
import { type CommandContext, type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { formatBytes, formatCount, formatTime, formatUsd, plural } from '#libs/runtime/terminal/sizes.js'

/** The newest are shown, and every retrieval that is open; whatever else by its id. */
const SHOWN = 20
/** Reasons of one retrieval among others; all of them by its id. */
const REASONS_SHOWN = 5

export const statusCommand: CommandSpec<CommonFlags> = {
  name: 'firn status',
  define: (command) =>
    commonOptions(command)
      .description(
        'Workers, sets and retrievals, newest first, and how they stand; of one also its problems, and what could not be brought back.',
      )
      .argument('[id]', 'of a set or a retrieval'),
  run: async (context) => {
    await using runtime = openRuntime(context)
    const catalog = await runtime.catalog()
    const [id] = context.args
    if (id !== undefined) return await statusOf(context, catalog, id)
    const [sets, newest, open, totals, workers, audits] = await Promise.all([
      catalog.sets({ limit: SHOWN }),
      catalog.retrievals({ limit: SHOWN }),
      catalog.retrievals({ open: true }),
      catalog.totals(),
      catalog.workers(runtime.isGone),
      catalog.audits({ limit: SHOWN }),
    ])
    const { reporter } = context
    await reporter.result(
      `catalog: ${plural(totals.sets, 'set')}, ${plural(totals.bundles, 'bundle')}, ${plural(totals.files, 'file')}, ${formatBytes(totals.bytes)}; database ${formatBytes(totals.databaseBytes)}`,
    )
    for (const worker of workers) await showWorker(context, worker)
    for (const set of sets) await showSet(context, set)
    const shownAlready = new Set(newest.map(({ id }) => id))
    for (const retrieval of [...newest, ...open.filter(({ id }) => !shownAlready.has(id))])
      await showRetrieval(context, catalog, retrieval, REASONS_SHOWN)
    for (const audit of audits) await showAudit(context, audit)
    return EXIT.done
  },
}

type StatusCatalog = Awaited<ReturnType<ReturnType<typeof openRuntime>['catalog']>>

async function statusOf(context: CommandContext<CommonFlags>, catalog: StatusCatalog, id: string): Promise<ExitCode> {
  const { reporter } = context
  const set = await catalog.set(id.toLowerCase())
  if (set === undefined) {
    const retrieval = await catalog.retrieval(id.toLowerCase())
    if (retrieval === undefined) {
      throw new FirnError('nothing-matched', `there is no set and no retrieval ${id}; firn status lists them`)
    }
    await showRetrieval(context, catalog, retrieval, Number.POSITIVE_INFINITY)
    return EXIT.done
  }
  await showSet(context, set)
  for await (const page of catalog.problems(set.id)) {
    for (const { path, kind, reason } of page) {
      await reporter.result(`  ${kind}: ${shown(path)}: ${shownText(reason)}`)
      await reporter.message('problem', { set_id: set.id, ...jsonName('path', path), kind, reason })
    }
  }
  return EXIT.done
}

/** Long-running ones; commands that do their own work are not listed. */
async function showWorker({ reporter }: CommandContext<CommonFlags>, worker: WorkerRow): Promise<void> {
  const [machine, , , pid] = worker.owner.split('/')
  await reporter.result(
    `${worker.roles.join(' and ')} of host ${shownText(worker.host)}, on ${shownText(String(machine))}, process ${shownText(String(pid))}, since ${formatTime(worker.startedAt)}`,
  )
  await reporter.message('status', {
    worker: worker.owner,
    host: worker.host,
    roles: worker.roles,
    started_at: worker.startedAt.toISOString(),
    seen_at: worker.seenAt.toISOString(),
  })
}

const AUDITED: Readonly<Record<AuditRow['kind'], string>> = {
  retrieval: 'retrieved',
  deletion: 'removed after archiving',
  'take-over': 'took over',
}

async function showAudit({ reporter }: CommandContext<CommonFlags>, audit: AuditRow): Promise<void> {
  const counts = audit.kind === 'take-over' ? '' : `: ${plural(audit.files, 'file')}, ${formatBytes(audit.bytes)}`
  const cost = audit.usd > 0 ? `, about ${formatUsd(audit.usd)}` : ''
  await reporter.result(
    `audit  ${formatTime(audit.at)}  ${shownText(audit.by)} ${AUDITED[audit.kind]} ${shownText(audit.subject)}${counts}${cost}`,
  )
  await reporter.message('audit', {
    at: audit.at.toISOString(),
    kind: audit.kind,
    by: audit.by,
    subject: audit.subject,
    detail: audit.detail,
    files: audit.files,
    bytes: audit.bytes,
    usd: audit.usd,
  })
}

async function showSet({ reporter }: CommandContext<CommonFlags>, set: SetRow): Promise<void> {
  const { counts } = set
  const parts = [
    `${formatCount(counts.archived)} of ${plural(counts.found - counts.unchanged, 'file')} archived`,
    `${plural(counts.bundlesStored, 'bundle')}, ${formatBytes(counts.bytes)}${percentOf(set)}`,
    ...(counts.unchanged > 0 ? [`${formatCount(counts.unchanged)} unchanged`] : []),
    ...(counts.gone > 0 ? [`${formatCount(counts.gone)} gone`] : []),
    ...(counts.skipped > 0 ? [`${formatCount(counts.skipped)} skipped`] : []),
    ...(counts.failed > 0 ? [`${formatCount(counts.failed)} failed`] : []),
    ...(counts.changed > 0 ? [`${formatCount(counts.changed)} changed`] : []),
    ...(counts.bundlesFailed > 0 ? [`${plural(counts.bundlesFailed, 'bundle')} failed`] : []),
  ]
  const words = shownText([...set.tags.map((tag) => `#${tag}`), ...(set.description ? [`"${set.description}"`] : [])].join(' '))
  await reporter.result(
    `set ${set.id}  ${set.state}  ${formatTime(set.startedAt)}  ${shownText(set.host)}:${set.roots.map(shown).join(' ')}${words ? `  ${words}` : ''}\n    ${parts.join('; ')}`,
  )
  if (set.reason !== undefined) await reporter.result(`    ${shownText(set.reason)}`)
  await reporter.message('status', {
    set_id: set.id,
    state: set.state,
    reason: set.reason,
    host: set.host,
    started_at: set.startedAt.toISOString(),
    finished_at: set.finishedAt?.toISOString(),
    description: set.description,
    tags: set.tags,
    files_found: counts.found,
    files_archived: counts.archived,
    files_unchanged: counts.unchanged,
    files_gone: counts.gone,
    files_skipped: counts.skipped,
    files_failed: counts.failed,
    files_changed: counts.changed,
    bundles: counts.bundlesStored,
    bundles_failed: counts.bundlesFailed,
    bytes: counts.bytes,
    bytes_planned: counts.plannedBytes,
  })
}

/** Of a set that is under way; while it is crawled, of what was found so far. */
function percentOf({ state, counts: { bytes, plannedBytes } }: SetRow): string {
  if (isOver(state) || plannedBytes === 0) return ''
  const share = `${Math.floor((100 * bytes) / plannedBytes)} % of ${formatBytes(plannedBytes)}`
  return ` (${share}${state === 'crawling' ? ' found so far' : ''})`
}

const isOver = (state: SetRow['state']): boolean => state !== 'crawling' && state !== 'archiving'

async function showRetrieval(
  { reporter }: CommandContext<CommonFlags>,
  catalog: StatusCatalog,
  retrieval: RetrievalRow,
  reasons: number,
): Promise<void> {
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
  if (retrieval.items.failed + retrieval.items.expired === 0) return
  let told = 0
  for await (const { item, reason } of failedItems(catalog, retrieval.id)) {
    if (told++ >= reasons) {
      await reporter.result(`    firn status ${retrieval.id} shows all reasons`)
      break
    }
    await reporter.result(`    bundle ${item.bundle.id} ${item.state}: ${shownText(reason)}`)
    await reporter.message('problem', {
      retrieval_id: retrieval.id,
      bundle_id: item.bundle.id,
      archive_id: item.bundle.archiveId,
      kind: item.state,
      reason,
    })
  }
}
