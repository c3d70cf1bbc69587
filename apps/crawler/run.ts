/** What commands that archive share: the story's parts, what is told of it while it runs, and what it came to. */
import type { ArchiveRunOptions, ArchiveRunParts } from '#libs/archive/archive-run.js'
import type { Catalog, SetRow, WorkerRow } from '#libs/catalog/catalog.js'
import { EXIT, type ExitCode, exitCodeOf } from '#libs/errors/errors.js'
import { machineOf } from '#libs/os/owner.js'
import { shown, shownText } from '#libs/os/raw.js'
import type { CommandContext, CommonFlags } from '#libs/runtime/command.js'
import { typedBefore } from '#libs/runtime/config.js'
import { prepareHomeOf } from '#libs/runtime/home.js'
import type { Runtime } from '#libs/runtime/runtime.js'
import { formatBytes, formatDuration, plural } from '#libs/runtime/terminal/sizes.js'

export type RunContext = CommandContext<CommonFlags & { readonly workers?: string; readonly detach?: boolean }>

/** An interrupted set that was finished, or the error that it could not be finished for. */
export type Resumed = { readonly set: SetRow } | { readonly error: unknown }

/** What it counts for in the command's exit code. */
export const codeOf = (resumed: Resumed): ExitCode => ('set' in resumed ? exitCodeFor(resumed.set) : exitCodeOf(resumed.error))

export interface Run {
  readonly parts: ArchiveRunParts
  readonly options: ArchiveRunOptions
  /** What was resumed so far. */
  readonly resumed: readonly Resumed[]
  /** The story; when ^C ends it, what goes on without this command is said. */
  perform<T>(story: () => Promise<T>): Promise<T>
}

export async function openRun(context: RunContext, runtime: Runtime): Promise<Run> {
  const { flags, config, reporter, log, signal } = context
  await prepareHomeOf(config.vaultUrl, config.home)
  const opening = Promise.all([runtime.catalog(), runtime.queue(), runtime.index()])
  runtime.source.prepare()
  const [catalog, queue, index] = await opening
  // With the embedded database nobody else would do the work.
  const ownWorkers = (runtime.embedded || flags.workers !== undefined) && !flags.detach
  const workers = (await catalog.workers(runtime.isGone)).filter(({ roles }) => roles.includes('worker'))
  if (!ownWorkers) sayWhoWorks(context, workers, runtime)
  let resuming = false
  let current: SetRow | undefined
  const resumed: Resumed[] = []
  const options: ArchiveRunOptions = {
    signal,
    workers: ownWorkers ? config.workers : 0,
    leaveOut: runtime.leaveOut,
    detach: flags.detach ?? false,
    onResume: (set) => {
      resuming = true
      current = set
      reporter.note(`finishing set ${set.id} of an interrupted run`)
    },
    onResumed: (set, error) => resumed.push(set ? { set } : { error }),
    onInterrupted: (set) => {
      if (set.state === 'archiving' && workers.length > 0) return // planned to its end, and workers are at it
      sayHowItEnds(context, set)
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
  return {
    parts: { ...runtime, catalog, queue, index, packer: runtime.packer() },
    options,
    resumed,
    async perform(story) {
      try {
        return await story()
      } catch (error) {
        if (signal.aborted && current) {
          if (ownWorkers) sayHowItEnds(context, current)
          else await sayWhatGoesOn(context, catalog, current.id)
        }
        throw error
      }
    },
  }
}

/** Work that nobody will do is said before it is planned. */
function sayWhoWorks({ reporter, config, origins }: RunContext, workers: readonly WorkerRow[], runtime: Runtime): void {
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

/** Of a set that nobody works at. */
function sayHowItEnds({ reporter }: RunContext, { id, host, roots }: SetRow): void {
  const firn = `${typedBefore()}firn`
  reporter.note(
    `set ${id} (${shownText(host)}:${roots.map(shown).join(' ')}) was interrupted: \`${firn} resume ${id}\` finishes it, \`${firn} cancel ${id}\` ends it`,
  )
}

/** After ^C: workers elsewhere do not hear of it. */
async function sayWhatGoesOn({ reporter }: RunContext, catalog: Pick<Catalog, 'set'>, setId: string): Promise<void> {
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
function exitCodeFor({ counts, state }: SetRow): ExitCode {
  if (state === 'failed' || state === 'cancelled' || counts.bundlesFailed > 0) return EXIT.failed
  return counts.skipped + counts.failed + counts.changed > 0 ? EXIT.incomplete : EXIT.done
}

const WORST_FIRST: readonly ExitCode[] = [EXIT.failed, EXIT.usage, EXIT.tryAgain, EXIT.incomplete]

/** What a command ends with that did several things. */
export const worstOf = (codes: readonly ExitCode[]): ExitCode => WORST_FIRST.find((code) => codes.includes(code)) ?? EXIT.done

/**
 * The set that a command ended with, in its last message and in words. `kept`: sources that were to be removed and were not. Returns the exit
 * code, in which what was resumed counts too.
 */
export async function summarise(
  { reporter, flags }: RunContext,
  set: SetRow,
  { seconds, resumed = [], kept = 0 }: { seconds: number; resumed?: readonly Resumed[]; kept?: number },
): Promise<ExitCode> {
  const { counts } = set
  const exitCode = worstOf([exitCodeFor(set), ...resumed.map(codeOf), ...(kept > 0 ? [EXIT.incomplete] : [])])
  if (set.state === 'cancelled') {
    reporter.warn(`set ${set.id} was cancelled (${shownText(set.reason ?? '')}): what is stored stays, the rest is not archived`)
  }
  await reporter.message('summary', {
    set_id: set.id,
    files_found: counts.found,
    files_archived: counts.archived,
    files_unchanged: counts.unchanged,
    files_waiting: counts.waiting,
    files_gone: counts.gone,
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
    ...(counts.gone > 0 ? [`${plural(counts.gone, 'file')} gone`] : []),
    ...(counts.waiting > 0 ? [`${plural(counts.waiting, 'file')} being archived by other sets`] : []),
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
