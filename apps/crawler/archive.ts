/** What `archive-files` does: checks, one run of the story, and what it came to. */
import { archiveRun } from '#libs/archive/archive-run.js'
import { maxFileBytes, planSet } from '#libs/archive/crawl.js'
import { optionsToJson } from '#libs/archive/crawl-options.js'
import { recordSet } from '#libs/archive/record-set.js'
import { type RemoveEvents, removeArchived } from '#libs/archive/remove-archived.js'
import { crawledRoots, forbiddenRoot, marksOf } from '#libs/archive/root-sight.js'
import { isFile } from '#libs/bundle/entry.js'
import type { SetRequest } from '#libs/catalog/catalog.js'
import { EXIT, type ExitCode, FirnError } from '#libs/errors/errors.js'
import { libcNotice } from '#libs/os/libc.js'
import { type Raw, shown } from '#libs/os/raw.js'
import type { CommandContext } from '#libs/runtime/command.js'
import { openRuntime, type Runtime } from '#libs/runtime/runtime.js'
import { formatBytes, plural } from '#libs/runtime/terminal/sizes.js'
import { typedPaths } from '#libs/runtime/typed-paths.js'
import { type ArchiveFlags, crawlOptionsFrom, refuseOwnPlaces, rootsFrom, tagsFrom } from './options.js'
import { openRun, summarise } from './run.js'

type Context = CommandContext<ArchiveFlags>

/** Runs `archive-files`. */
export async function archive(context: Context): Promise<ExitCode> {
  const { flags, args, config, reporter } = context
  const began = performance.now()
  const options = crawlOptionsFrom(flags, { filesPerBundle: config.filesPerBundle, bundleBytes: config.bundleBytes })
  const roots = rootsFrom(typedPaths(args), options.walk)
  sayAges(reporter, flags)
  const description = (flags.description ?? '').trim()
  const tags = tagsFrom(flags.tags)
  if (flags.deleteAfterArchive && flags.detach) {
    throw new FirnError('usage', '--delete-after-archive must see the bundles stored, so it cannot go with --detach')
  }
  await using runtime = openRuntime(context)
  refuseOwnPlaces(roots, runtime.leaveOut)
  const forbidden = forbiddenRoot(crawledRoots({ marks: marksOf(roots) }), runtime.allowedRoots)
  if (forbidden !== undefined) throw new FirnError('usage', `${shown(forbidden)} lies outside FIRN_ROOTS; nothing was archived`)
  const notice = libcNotice()
  if (notice !== undefined) reporter.warn(notice)
  // Later commands must find it: what is given for one command is remembered where others do not configure it.
  if (context.origins.vaultUrl !== 'default' && !flags.dryRun) await runtime.vaults.permit(config.vaultUrl)
  const vault = await runtime.vaults.open(config.vaultUrl)
  const request: SetRequest = {
    host: config.host,
    roots,
    description,
    tags,
    options: optionsToJson(options),
    vaultUrl: config.vaultUrl,
    vaultId: vault.id,
  }
  const planned = { host: config.host, roots, vaultId: vault.id, options, maxFileBytes: maxFileBytes(vault) }
  if (flags.dryRun) return await dryRun(context, runtime, planned)

  if (flags.deleteAfterArchive && !flags.yes && !process.stdin.isTTY) {
    throw new FirnError('no-consent', '--delete-after-archive removes sources: say --yes, or run it on a terminal to be asked')
  }
  const run = await openRun(context, runtime)
  const ended = await run.perform(() => archiveRun(run.parts, request, run.options))
  let kept = 0
  if (flags.deleteAfterArchive && ended.state !== 'failed' && ended.state !== 'cancelled') {
    const parts = { catalog: await runtime.catalog(), source: runtime.source, by: runtime.by, owner: runtime.owner }
    const remove = (events: RemoveEvents) => removeArchived(parts, vault, { ...planned, id: ended.id }, runtime.leaveOut, events)
    if (!flags.yes) await confirmRemoval(context, roots, remove)
    const removed = await remove({
      dryRun: false,
      signal: context.signal,
      onRemoved: (path) => reporter.result(`remove ${shown(path)}`),
      onKept: (path, reason) => {
        kept++
        reporter.problem({ path, kind: 'kept', reason: `kept: ${reason}` })
      },
    })
    if (removed > 0) {
      const now = await parts.catalog.set(ended.id)
      if (now) await recordSet(parts, vault, now, { signal: context.signal })
    }
    reporter.note(`removed ${plural(removed, 'file')}${kept > 0 ? `; kept ${plural(kept, 'file')}, each named above` : ''}`)
  }
  return summarise(context, ended, { seconds: (performance.now() - began) / 1000, resumed: run.resumed, kept })
}

/** Which time is looked at is easily forgotten. */
function sayAges(reporter: Context['reporter'], { olderThan, newerThan, time }: ArchiveFlags): void {
  const ages = [
    ...(olderThan === undefined ? [] : [`older than ${olderThan} days`]),
    ...(newerThan === undefined ? [] : [`newer than ${newerThan} days`]),
  ]
  if (ages.length > 0) reporter.note(`only files whose ${time} is ${ages.join(' and ')}`)
}

/** Prints each bundle that would be made, the totals, and what --delete-after-archive would remove. */
async function dryRun(context: Context, runtime: Runtime, planned: Parameters<typeof planSet>[1]): Promise<ExitCode> {
  const { reporter, signal, flags } = context
  const opening = runtime.catalog()
  runtime.source.prepare()
  const catalog = await opening
  const totals = { found: 0, unchanged: 0, files: 0, bytes: 0, bundles: 0, problems: 0 }
  const cuts = planSet({ catalog, source: runtime.source }, planned, runtime.leaveOut, {
    signal,
    problemsSeen: async (problems) => {
      totals.problems += problems.length
      for (const problem of problems) reporter.problem(problem)
    },
    counted: async ({ found, unchanged }) => {
      totals.found += found
      totals.unchanged += unchanged
    },
    onLeftOut: (path) => reporter.note(`left out ${shown(path)}, where Firn keeps its own`),
  })
  for await (const { entries, files, bytes } of cuts) {
    totals.bundles++
    totals.files += files
    totals.bytes += bytes
    const first = entries.find(({ type }) => isFile(type)) ?? entries[0]
    await reporter.result(
      `bundle ${totals.bundles}: ${plural(files, 'file')}, ${bytes} bytes${first ? `, from ${shown(first.path)}` : ''}`,
    )
    await reporter.message('bundle', { bundle: totals.bundles, files, bytes })
  }
  await reporter.result(
    `total: ${plural(totals.bundles, 'bundle')}, ${plural(totals.files, 'file')}, ${totals.bytes} bytes; ${plural(totals.unchanged, 'file')} unchanged`,
  )
  if (flags.deleteAfterArchive) {
    const vault = await runtime.vaults.open(context.config.vaultUrl)
    await removeArchived(
      { catalog, source: runtime.source, by: runtime.by, owner: runtime.owner },
      vault,
      planned,
      runtime.leaveOut,
      {
        dryRun: true,
        signal,
        onRemoved: (path) => reporter.result(`remove ${shown(path)}`),
        onKept: (path, reason) => reporter.note(`would keep ${shown(path)}: ${reason}`),
      },
    )
  }
  await reporter.message('summary', {
    files_found: totals.found,
    files_unchanged: totals.unchanged,
    files_planned: totals.files,
    bundles: totals.bundles,
    bytes: totals.bytes,
    exit_code: EXIT.done,
  })
  return EXIT.done
}

/** Asked once it is known what: by then everything is archived. */
async function confirmRemoval(
  { signal }: Context,
  roots: readonly Raw[],
  remove: (events: RemoveEvents) => Promise<number>,
): Promise<void> {
  let bytes = 0
  const files = await remove({
    dryRun: true,
    signal,
    onRemoved: async (_path, size) => {
      bytes += size
    },
  })
  const { createInterface } = await import('node:readline/promises')
  const ask = createInterface({ input: process.stdin, output: process.stderr })
  const from = `${roots.slice(0, 5).map(shown).join(', ')}${roots.length > 5 ? ` and ${roots.length - 5} more` : ''}`
  const answer = await ask.question(`Remove ${plural(files, 'file')}, ${formatBytes(bytes)}, from ${from}? [y/N] `, { signal })
  ask.close()
  if (!/^y(es)?$/i.test(answer.trim()))
    throw new FirnError('no-consent', 'not confirmed: everything is archived, nothing was removed')
}
