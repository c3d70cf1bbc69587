/** What `find-and-retrieve` does: what is asked for, then one of list, dry run, or retrieval. */
import { caughtUpIndex, type FindParts, type FindRequest, findFiles, neededBundles } from '#libs/archive/find.js'
import { openRetrieval, retrieve } from '#libs/archive/retrieve.js'
import { isFile } from '#libs/bundle/entry.js'
import type { FileRow, RetrievalRow } from '#libs/catalog/catalog.js'
import { EXIT, type ExitCode, FirnError } from '#libs/errors/errors.js'
import { makeRoomForBytes } from '#libs/os/memory.js'
import { jsonName, type Raw, rawFromText, shown, shownText } from '#libs/os/raw.js'
import type { CommandContext } from '#libs/runtime/command.js'
import { openRuntime, type Runtime } from '#libs/runtime/runtime.js'
import { formatBytes, formatDuration, formatTime, plural } from '#libs/runtime/terminal/sizes.js'
import { absolutePath, typedPath } from '#libs/runtime/typed-paths.js'
import { withConsent } from './consent.js'
import { daysFrom, type FindFlags, maxCostFrom, requestFrom } from './options.js'

/** Runs `find-and-retrieve`. */
export async function find(context: CommandContext<FindFlags>): Promise<ExitCode> {
  const { flags } = context
  const request = requestFrom(flags)
  const days = daysFrom(flags.days)
  const maxUsd = maxCostFrom(flags.maxCost)
  await using runtime = openRuntime(context)
  const [catalog, index] = await Promise.all([runtime.catalog(), runtime.index()])
  // So that the search answers what the catalog holds.
  const searched = request.query === undefined ? index : await caughtUpIndex({ catalog, index }, { signal: context.signal })
  let said = false
  const onIndexAway = (error: Error) => {
    if (!said) context.reporter.warn(`${error.message} Until then the catalog is searched, which takes longer.`)
    said = true
  }
  const parts = { ...runtime, catalog, index: searched, onIndexAway }
  if (flags.list) return await list(context, parts, request)
  if (flags.dryRun) return await dryRun(context, parts, request)
  return await bringBack(context, parts, request, { days, maxUsd })
}

type Parts = Omit<Runtime, 'catalog' | 'index'> & FindParts & { catalog: Awaited<ReturnType<Runtime['catalog']>> }

async function list({ reporter, signal }: CommandContext<FindFlags>, parts: Parts, request: FindRequest): Promise<ExitCode> {
  let files = 0
  for await (const page of findFiles(parts, request, { signal })) {
    signal.throwIfAborted()
    if (!reporter.isRead()) return EXIT.done // `| head` has seen enough
    for (const row of page) {
      if (!isFile(row.type)) continue
      files++
      await (reporter.json ? reporter.message('file', fileMessage(row)) : reporter.result(fileLine(row)))
    }
  }
  if (files === 0) return nothing(reporter)
  reporter.note(plural(files, 'file'))
  return EXIT.done
}

const fileMessage = (row: FileRow): Record<string, unknown> => ({
  host: row.host,
  ...jsonName('path', row.path),
  type: row.type,
  size: row.size,
  mtime_ns: row.mtimeNs,
  ctime_ns: row.ctimeNs,
  atime_ns: row.atimeNs,
  sha256: row.sha256,
  set_id: row.setId,
  bundle_id: row.bundleId,
  vault: row.vaultId,
  archive_id: row.archiveId,
  state: row.state === 'ok' ? undefined : row.state,
  gone: row.goneAt?.toISOString(),
})

/** Tab-separated: a path may hold anything but control characters, which are escaped. Behind it, of what is gone, since when. */
function fileLine(row: FileRow): string {
  const mtime = new Date(Number(row.mtimeNs / 1_000_000n))
  const time = Number.isNaN(mtime.getTime()) ? String(row.mtimeNs) : formatTime(mtime)
  const gone = row.goneAt === undefined ? [] : [`gone ${formatTime(row.goneAt)}`]
  return [row.size, time, row.setId, row.bundleId, shownText(row.vaultId), shownText(row.host), shown(row.path), ...gone].join(
    '\t',
  )
}

async function dryRun({ reporter, signal }: CommandContext<FindFlags>, parts: Parts, request: FindRequest): Promise<ExitCode> {
  let archives = 0
  for await (const { bundle, files, bytes } of neededBundles(parts, request, { signal })) {
    archives++
    await reporter.result(`${csv(bundle.vaultId)},${csv(bundle.archiveId ?? bundle.id)}`)
    await reporter.message('bundle', {
      vault: bundle.vaultId,
      archive_id: bundle.archiveId,
      bundle_id: bundle.id,
      set_id: bundle.setId,
      files,
      bytes,
    })
  }
  return archives === 0 ? nothing(reporter) : EXIT.done
}

/** Quoted where CSV asks for it. */
const csv = (text: string): string => {
  const plain = shownText(text)
  return /[",]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain
}

function nothing(reporter: CommandContext<FindFlags>['reporter']): ExitCode {
  reporter.note('nothing matched')
  return EXIT.nothingMatched
}

async function bringBack(
  context: CommandContext<FindFlags>,
  parts: Parts,
  request: FindRequest,
  { days, maxUsd }: { days: number; maxUsd: number | undefined },
): Promise<ExitCode> {
  const { flags, config, reporter, signal } = context
  const began = performance.now()
  if (flags.detach && flags.to !== undefined && !parts.embedded) {
    throw new FirnError(
      'usage',
      '--detach with --to needs the embedded database: elsewhere the retriever places files below its own FIRN_RESTORE_DIR',
    )
  }
  // It starts while the catalog is asked what is needed.
  if (!flags.detach) parts.placing.prepare()
  const directory = flags.to === undefined ? rawFromText(config.restoreDir) : absolutePath(typedPath(flags.to))
  // Detached without --to: the retriever's own directory, below which the retrieval has one of its own.
  const target = flags.detach && flags.to === undefined ? ('' as Raw) : directory
  if (flags.detach && target !== '') {
    await parts.permitTarget({ path: target, overwrite: flags.overwrite ?? false, setuid: flags.setuid ?? false })
  }
  const found = await openRetrieval(
    parts,
    {
      ...request,
      target,
      overwrite: flags.overwrite ?? false,
      setuid: flags.setuid ?? false,
      wholeBundles: flags.wholeBundles ?? false,
      tier: flags.tier,
      days,
      detached: flags.detach ?? false,
    },
    { signal },
  )
  if (found === undefined) {
    await summary(context, undefined, began, EXIT.nothingMatched)
    return nothing(reporter)
  }
  const away = new Set<string>()
  const retrieval = await withConsent(context, parts, found, maxUsd, (vaultId, reason) => {
    away.add(vaultId)
    reporter.warn(shownText(reason))
  })
  if (flags.detach) {
    await summary(context, retrieval, began, EXIT.done)
    reporter.note(
      `retrieval ${retrieval.id}: ${plural(retrieval.files, 'file')}, ${formatBytes(retrieval.bytes)}; firn retriever completes it, firn status shows it`,
    )
    return EXIT.done
  }
  makeRoomForBytes()
  const progress = { files: 0, bytes: 0 }
  const draw = (note?: string) =>
    reporter.progress({
      label: 'restoring',
      files: progress.files,
      filesTotal: retrieval.files,
      bytes: progress.bytes,
      bytesTotal: retrieval.bytes,
      ...(note !== undefined && { note }),
    })
  const ended = await retrieve(parts, retrieval.id, {
    signal,
    target: directory,
    checkSeconds: config.checkSeconds,
    onResults: (results) => {
      for (const { entry, outcome, reason } of results) {
        if (isFile(entry.type)) progress.files++
        progress.bytes += entry.type === 'file' ? entry.size : 0
        if (outcome === 'failed')
          reporter.problem({ path: entry.path, kind: 'failed', reason: reason ?? 'it could not be restored' })
      }
      draw()
    },
    onItemFailed: (item, reason) => {
      if (away.has(item.bundle.vaultId)) return // said once, for all of its bundles
      reporter.warn(
        `bundle ${item.bundle.id}: ${shownText(reason)}; ${plural(item.files - item.filesRestored, 'file')} of it not restored`,
      )
    },
    onTrouble: (vault, reason) => reporter.warn(`${shownText(vault)}: ${shownText(reason)}; it is tried again`),
    onWaiting: (thawing, expectedAt) =>
      draw(`waiting for ${plural(thawing, 'bundle')} to thaw${expectedAt ? `, the next about ${formatTime(expectedAt)}` : ''}`),
  })
  const isDone = ended.filesFailed === 0 && ended.state === 'done'
  const exitCode = isDone ? EXIT.done : away.size > 0 ? EXIT.tryAgain : EXIT.failed
  await summary(context, ended, began, exitCode)
  const seconds = (performance.now() - began) / 1000
  const failed = ended.filesFailed > 0 ? `; ${plural(ended.filesFailed, 'file')} NOT restored` : ''
  reporter.note(
    `restored ${plural(ended.filesRestored, 'file')}, ${formatBytes(ended.bytes)}, to ${shown(directory)} in ${formatDuration(seconds)}${failed}`,
  )
  return exitCode
}

async function summary(
  { reporter }: CommandContext<FindFlags>,
  retrieval: RetrievalRow | undefined,
  began: number,
  exitCode: ExitCode,
): Promise<void> {
  await reporter.message('summary', {
    retrieval_id: retrieval?.id,
    files_matched: retrieval?.files ?? 0,
    files_restored: retrieval?.filesRestored ?? 0,
    files_failed: retrieval?.filesFailed ?? 0,
    bytes: retrieval?.bytes ?? 0,
    seconds: Math.round(performance.now() - began) / 1000,
    exit_code: exitCode,
  })
}
