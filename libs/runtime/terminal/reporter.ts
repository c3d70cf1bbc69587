/**
 * What a command says: results on stdout, everything else on stderr; with `--json` NDJSON messages on stdout instead. Progress is one
 * line that redraws itself on a terminal, a plain line every 30 s elsewhere. Control characters never reach a terminal.
 */
import type { Problem } from '#libs/bundle/entry.js'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { jsonName, shown, shownJson, shownText } from '#libs/os/raw.js'
import { formatBytes, formatCount, formatDuration } from './sizes.js'

export interface Progress {
  /** What is going on: `archiving`, `restoring`. */
  readonly label: string
  readonly files: number
  readonly filesTotal?: number
  readonly bytes: number
  readonly bytesTotal?: number
  /** Whether the totals still grow, so that no end can be told. */
  readonly growing?: boolean
  readonly note?: string
}

export interface Reporter {
  readonly json: boolean
  progress(state: Progress): void
  /** For people only: what goes on. Silenced by --quiet and --json. */
  note(text: string): void
  /** For people only, also with --quiet: something they should know. */
  warn(text: string): void
  /** `kept`: of a source that was to be removed. */
  problem(problem: Omit<Problem, 'kind'> & { readonly kind: Problem['kind'] | 'kept' }): void
  /** A line of the result, for people and pipes. Waits while the reader is slow; throws where it cannot be written. */
  result(line: string): Promise<void>
  /** A message of --json; nothing without. Waits while the reader is slow. */
  message(type: string, fields: Record<string, unknown>): Promise<void>
  error(text: string, code: string, exitCode: number): void
  /** Whether somebody still reads stdout: after `| head` has seen enough, a listing can end. */
  isRead(): boolean
  /** Clears the progress line and waits until everything is written; throws where it could not be. */
  close(): Promise<void>
}

export interface ReporterOptions {
  readonly json: boolean
  readonly quiet: boolean
  readonly progress: boolean
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

const REDRAW_MS = 100
const PLAIN_MS = 30_000
const STATUS_MS = 1_000
const CLEAR_LINE = '\r\x1b[K'

export function openReporter(options: ReporterOptions): Reporter {
  const { json, quiet, stdout, stderr } = options
  const onTerminal = Boolean(stderr.isTTY)
  const began = performance.now()
  let drawn = false
  let lastProgressAt = onTerminal || json ? Number.NEGATIVE_INFINITY : began
  let readerGone = false
  let failure: FirnError | undefined
  const onBroken = (error: Error) => {
    // `| head` has seen enough: that is no failure.
    if (errnoOf(error) === 'EPIPE') readerGone = true
    else failure ??= new FirnError('failed', `The output cannot be written: ${error.message}.`, { cause: error })
  }
  stdout.on('error', onBroken)
  stderr.on('error', () => {}) // nobody is left to hear of it
  let held = false
  const letGo = () => {
    if (held) stdout.uncork()
    held = false
  }
  /** Lines that are written at one go are one call of the system: of 100,000 that takes a second. */
  const hold = () => {
    if (held) return
    held = true
    stdout.cork()
    process.nextTick(letGo)
  }
  /** Before anything is said or drawn elsewhere: what was written first stands first. */
  const clear = () => {
    letGo()
    if (drawn) stderr.write(CLEAR_LINE)
    drawn = false
  }
  const say = (text: string) => {
    clear()
    stderr.write(`${harmless(text)}\n`)
  }
  const write = async (text: string) => {
    if (drawn) clear()
    hold()
    if (failure) throw failure
    if (readerGone || stdout.write(text)) return
    await drained(stdout)
    if (failure) throw failure
  }
  const message = (type: string, fields: Record<string, unknown>) =>
    json ? write(`${shownJson(toJson({ message_type: type, ...fields }))}\n`) : Promise.resolve()
  /** Said on the way: whoever works on waits for nothing, and `close` tells of a failure. */
  const mention = (type: string, fields: Record<string, unknown>): void => {
    message(type, fields).catch(() => {})
  }

  return {
    json,
    progress(state) {
      const now = performance.now()
      const every = json ? STATUS_MS : onTerminal ? REDRAW_MS : PLAIN_MS
      if (now - lastProgressAt < every) return
      const seconds = (now - began) / 1000
      if (json) {
        lastProgressAt = now
        mention('status', {
          label: state.label,
          files: state.files,
          ...(state.filesTotal !== undefined && { files_total: state.filesTotal }),
          bytes: state.bytes,
          ...(state.bytesTotal !== undefined && { bytes_total: state.bytesTotal }),
          seconds,
          ...(state.note !== undefined && { note: state.note }),
        })
      } else if (options.progress && !quiet) {
        lastProgressAt = now
        const line = progressLine(state, seconds)
        if (!onTerminal) say(line)
        else {
          letGo()
          stderr.write(CLEAR_LINE + harmless(line).slice(0, Math.max((stderr.columns || 80) - 1, 20)))
          drawn = true
        }
      }
    },
    note(text) {
      if (!quiet && !json) say(text)
    },
    warn(text) {
      if (!json) say(text)
      else mention('status', { note: text })
    },
    problem(problem) {
      if (json) mention('problem', { ...jsonName('path', problem.path), kind: problem.kind, reason: problem.reason })
      else say(`${shown(problem.path)}: ${shownText(problem.reason)}`)
    },
    result: (line) => (json ? Promise.resolve() : write(`${harmless(line)}\n`)),
    message,
    error(text, code, exitCode) {
      if (json) mention('error', { code, message: text, exit_code: exitCode })
      say(`firn: ${shownText(text)}`)
    },
    isRead: () => !readerGone,
    async close() {
      clear()
      for (const stream of [stdout, stderr]) {
        // The call back comes when all before it is written, also where that failed.
        if (!stream.destroyed) await new Promise<void>((resolve) => stream.write('', () => resolve()))
      }
      if (failure) throw failure
    },
  }
}

/** Waits until a slow reader has taken what was written, or is gone. */
function drained(stream: NodeJS.WritableStream): Promise<void> {
  return new Promise((resolve) => {
    const events = ['drain', 'close', 'error'] as const
    const done = () => {
      for (const event of events) stream.off(event, done)
      resolve()
    }
    for (const event of events) stream.on(event, done)
  })
}

/** Texts may hold names that were typed or came from elsewhere; lines and tabs are ours. */
const harmless = (text: string): string =>
  text
    .split(/([\n\t])/)
    .map((part, index) => (index % 2 === 1 ? part : shownText(part)))
    .join('')

function progressLine(state: Progress, seconds: number): string {
  const rate = seconds > 0 ? state.bytes / seconds : 0
  const of = (part: string, total: string | undefined) => (total === undefined ? part : `${part}/${total}`)
  const parts = [
    `${state.label}: ${of(formatCount(state.files), state.filesTotal === undefined ? undefined : formatCount(state.filesTotal))} files`,
    of(formatBytes(state.bytes), state.bytesTotal === undefined ? undefined : formatBytes(state.bytesTotal)),
    `${formatBytes(rate)}/s`,
  ]
  const left = state.bytesTotal === undefined ? undefined : state.bytesTotal - state.bytes
  if (left !== undefined && left > 0 && rate > 0 && !state.growing) parts.push(`ETA ${formatDuration(left / rate)}`)
  if (state.note) parts.push(state.note)
  return parts.join(', ')
}

/** As JSON.stringify, with bigints as plain integers. */
export function toJson(value: Record<string, unknown>): string {
  const parts = Object.entries(value).flatMap(([key, field]) => {
    if (field === undefined) return []
    const text = typeof field === 'bigint' ? String(field) : JSON.stringify(field)
    return [`${JSON.stringify(key)}:${text}`]
  })
  return `{${parts.join(',')}}`
}
