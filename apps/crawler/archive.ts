/** What `archive-files` does: checks, one run of the story, and what it came to. */
import { type ArchiveRunOptions, archiveRun } from '#libs/archive/archive-run.js'
import { maxFileBytes, planSet } from '#libs/archive/crawl.js'
import { optionsToJson } from '#libs/archive/crawl-options.js'
import { removeArchived } from '#libs/archive/remove-archived.js'
import { crawledRoots, forbiddenRoot, marksOf } from '#libs/archive/root-sight.js'
import { isFile } from '#libs/bundle/entry.js'
import type { Catalog, SetRequest, SetRow } from '#libs/catalog/catalog.js'
import { EXIT, type ExitCode, FirnError } from '#libs/errors/errors.js'
import { libcNotice } from '#libs/os/libc.js'
import { machineOf } from '#libs/os/owner.js'
import { shown, shownText } from '#libs/os/raw.js'
import type { CommandContext } from '#libs/runtime/command.js'
import { typedBefore } from '#libs/runtime/config.js'
import { openRuntime, type Runtime } from '#libs/runtime/runtime.js'
import { formatBytes, formatDuration, plural } from '#libs/runtime/terminal/sizes.js'
import { type ArchiveFlags, crawlOptionsFrom, rootsFrom, tagsFrom } from './options.js'

type Context = CommandContext<ArchiveFlags>

/** Runs `archive-files`. */
export async function archive(context: Context): Promise<ExitCode> {
  const { flags, args, config, reporter } = context
  const began = performance.now()
  const roots = rootsFrom(args, flags.recursive ?? false)
  const options = crawlOptionsFrom(flags, { filesPerBundle: config.filesPerBundle, bundleBytes: config.bundleBytes })
  sayAges(reporter, flags)
  const description = (flags.description ?? '').trim()
  const tags = tagsFrom(flags.tags)
  if (flags.deleteAfterArchive && flags.detach) {
    throw new FirnError('usage', '--delete-after-archive must see the bundles stored, so it cannot go with --detach')
  }
  await using runtime = openRuntime(context)
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

  if (flags.deleteAfterArchive && !flags.yes) await confirmRemoval(roots.length)
  const ended = await run(context, runtime, request)
  if (flags.deleteAfterArchive && ended.state !== 'failed') {
    const removed = await removeArchived(
      { catalog: await runtime.catalog(), source: runtime.source, by: runtime.by },
      vault,
      { ...planned, id: ended.id },
      runtime.leaveOut,
      {
        dryRun: false,
        signal: context.signal,
        onRemoved: (path) => reporter.result(`remove ${shown(path)}`),
        onKept: (path, reason) => reporter.note(`kept ${shown(path)}: ${reason}`),
      },
    )
    reporter.note(`removed ${plural(removed, 'file')}`)
  }
  return summarise(context, ended, (performance.now() - began) / 1000)
}

/** Which time is looked at is easily forgotten. */
function sayAges(reporter: Context['reporter'], { olderThan, newerThan, time }: ArchiveFlags): void {
  const ages = [
    ...(olderThan === undefined ? [] : [`older than ${olderThan} days`]),
    ...(newerThan === undefined ? [] : [`newer than ${newerThan} days`]),
  ]
  if (ages.length > 0) reporter.note(`only files whose ${time} is ${ages.join(' and ')}`)
}

async function run(context: Context, runtime: Runtime, request: SetRequest): Promise<SetRow> {
  const { flags, config, reporter, log, signal } = context
  const opening = Promise.all([runtime.catalog(), runtime.queue(), runtime.index()])
  runtime.source.prepare()
  const [catalog, queue, index] = await opening
  const parts = { ...runtime, catalog, queue, index, packer: runtime.packer() }
  // With the embedded database nobody else would do the work.
  const ownWorkers = (runtime.embedded || flags.workers !== undefined) && !flags.detach
  if (!ownWorkers) await sayWhoWorks(context, catalog, runtime)
  let resuming = false
  let current: SetRow | undefined
  const options: ArchiveRunOptions = {
    signal,
    workers: ownWorkers ? config.workers : 0,
    leaveOut: runtime.leaveOut,
    detach: flags.detach ?? false,
    onResume: (set) => {
      resuming = true
      current = set
      reporter.note(`finishing set ${set.id} of an interrupted run first`)
    },
    onSet: (set) => {
      resuming = false
      current = set
      log.info({ set: set.id }, 'set begun')
    },
    onNote: (text) => reporter.warn(text),
    onLeftOut: (path) => reporter.note(`left out ${shown(path)}, where Firn keeps its own`),
    onProblems: (problems) => {
      for (const problem of problems) reporter.problem(problem)
    },
    onStored: (bundle, problems) => {
      log.info({ set: bundle.setId, bundle: bundle.id, files: bundle.files, bytes: bundle.bytes }, 'bundle stored')
      for (const problem of problems) reporter.problem(problem)
      void reporter.message('bundle', {
        set_id: bundle.setId,
        bundle_id: bundle.id,
        vault: bundle.vaultId,
        archive_id: bundle.archiveId,
        files: bundle.files,
        bytes: bundle.bytes,
      })
    },
    onFailed: (bundleId, error) =>
      reporter.warn(`bundle ${bundleId} was not stored: ${shownText(error instanceof Error ? error.message : String(error))}`),
    // Counting costs the database something: not for nobody.
    ...(!flags.quiet && {
      onProgress: ({ state, counts }: SetRow) =>
        reporter.progress({
          label: resuming ? 'finishing an interrupted set' : 'archiving',
          files: counts.archived + counts.unchanged,
          filesTotal: counts.found,
          bytes: counts.bytes,
          bytesTotal: counts.plannedBytes,
          growing: state === 'crawling',
        }),
    }),
  }
  try {
    return await archiveRun(parts, request, options)
  } catch (error) {
    if (signal.aborted && !ownWorkers && current) await sayWhatGoesOn(context, catalog, current.id)
    throw error
  }
}

/** Work that nobody will do is said before it is planned. */
async function sayWhoWorks(
  { reporter, config, origins }: Context,
  catalog: Pick<Catalog, 'workers'>,
  runtime: Runtime,
): Promise<void> {
  const workers = (await catalog.workers(runtime.isGone)).filter(({ roles }) => roles.includes('worker'))
  if (origins.vaultUrl === '--vault') {
    reporter.warn(
      'workers open only vaults of their own configuration: this one must be their FIRN_VAULT_URL, or among their FIRN_VAULTS',
    )
  }
  if (workers.length === 0) {
    reporter.warn('no worker is running: start `firn worker`, or pass --workers')
    return
  }
  const machine = machineOf(runtime.owner)
  if (workers.some(({ host, owner }) => host === config.host || machineOf(owner) === machine)) return
  const names = shownText([...new Set(workers.map(({ host }) => host))].slice(0, 5).join(', '))
  reporter.warn(
    `no worker of the host ${config.host} is running (those that run are of ${names}): start \`firn worker\` where the files can be seen, with FIRN_HOST=${config.host}`,
  )
}

/** After ^C: workers elsewhere do not hear of it. */
async function sayWhatGoesOn({ reporter }: Context, catalog: Pick<Catalog, 'set'>, setId: string): Promise<void> {
  const set = await catalog.set(setId).catch(() => undefined)
  if (set === undefined) return
  const left = set.counts.bundles - set.counts.bundlesStored - set.counts.bundlesFailed
  reporter.note(
    set.state === 'crawling'
      ? `set ${set.id} is planned in part; workers go on with ${plural(left, 'bundle')} of it, the same command with the rest`
      : `the workers go on with set ${set.id}, ${plural(left, 'bundle')} to go`,
  )
  reporter.note(`firn status ${set.id} shows how far it is`)
}

/** Failed bundles weigh more than named problems; what was named once is exit 3. */
function exitCodeFor(set: SetRow): ExitCode {
  const { counts, state } = set
  if (state === 'failed' || counts.bundlesFailed > 0) return EXIT.failed
  return counts.skipped + counts.failed + counts.changed > 0 ? EXIT.incomplete : EXIT.done
}

async function summarise(context: Context, set: SetRow, seconds: number): Promise<ExitCode> {
  const { reporter, flags } = context
  const { counts } = set
  const exitCode = exitCodeFor(set)
  await reporter.message('summary', {
    set_id: set.id,
    files_found: counts.found,
    files_archived: counts.archived,
    files_unchanged: counts.unchanged,
    files_skipped: counts.skipped,
    files_failed: counts.failed,
    bundles: counts.bundlesStored,
    bytes: counts.bytes,
    seconds: Math.round(seconds * 1000) / 1000,
    exit_code: exitCode,
  })
  if (flags.detach) {
    reporter.note(
      `set ${set.id} is planned: ${plural(counts.plannedFiles, 'file')}, ${formatBytes(counts.plannedBytes)}; firn status ${set.id} shows how far it is`,
    )
    return exitCode
  }
  const parts = [
    `archived ${plural(counts.archived, 'file')}, ${formatBytes(counts.bytes)}, in ${plural(counts.bundlesStored, 'bundle')} in ${formatDuration(seconds)}`,
    ...(counts.unchanged > 0 ? [`${plural(counts.unchanged, 'file')} unchanged`] : []),
    ...(counts.skipped > 0 ? [`${plural(counts.skipped, 'special file')} skipped`] : []),
    ...(counts.failed > 0 ? [`${plural(counts.failed, 'file')} unreadable or vanished`] : []),
    ...(counts.changed > 0 ? [`${plural(counts.changed, 'file')} changed while read`] : []),
    ...(counts.bundlesFailed > 0
      ? [`${plural(counts.bundlesFailed, 'bundle')} FAILED; run the same command again to send what is missing`]
      : []),
  ]
  reporter.note(`set ${set.id}: ${parts.join('; ')}`)
  if (counts.archived + counts.unchanged > 0) {
    reporter.note(`find it again:  ${typedBefore()}find-and-retrieve -s <words> -l`)
    // A set that nothing new was stored in has nothing to bring back: its files are those of earlier sets.
    const what = counts.bundlesStored > 0 ? [`--set ${set.id}`] : set.roots.map((root) => `--path ${shellWord(shown(root))}`)
    reporter.note(`bring it back:  ${typedBefore()}find-and-retrieve ${what.join(' ')} --to <directory>`)
  }
  return exitCode
}

/** As a shell takes it for one word. */
const shellWord = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

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
    await removeArchived({ catalog, source: runtime.source, by: runtime.by }, vault, planned, runtime.leaveOut, {
      dryRun: true,
      signal,
      onRemoved: (path) => reporter.result(`remove ${shown(path)}`),
      onKept: (path, reason) => reporter.note(`would keep ${shown(path)}: ${reason}`),
    })
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

async function confirmRemoval(roots: number): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new FirnError('no-consent', '--delete-after-archive removes sources: say --yes, or run it on a terminal to be asked')
  }
  const { createInterface } = await import('node:readline/promises')
  const ask = createInterface({ input: process.stdin, output: process.stderr })
  const answer = await ask.question(`Remove what was archived from ${plural(roots, 'path')} once it is verified? [y/N] `)
  ask.close()
  if (!/^y(es)?$/i.test(answer.trim())) throw new FirnError('no-consent', 'not confirmed; nothing was archived or removed')
}
