/** The few lines that every command needs: argv -> options -> configuration -> run -> what it ends with. */
import { Command, CommanderError } from 'commander'
import { type ErrorCode, EXIT, type ExitCode, exitCodeOf, FirnError } from '#libs/errors/errors.js'
import { keepHeapsSmall } from '#libs/os/memory.js'
import { type Config, loadConfig, type Settings } from './config.js'
import { createLogger, type Logger, silent } from './logger.js'
import { listenForSignals } from './signals.js'
import { openReporter, type Reporter } from './terminal/reporter.js'

/** Options that every command has, whatever else it takes. */
export interface CommonFlags {
  readonly debug?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
  readonly progress?: boolean
  readonly config?: string
}

export interface CommandSpec<F extends CommonFlags> {
  /** As typed: `archive-files`, `firn status`. */
  readonly name: string
  readonly define: (command: Command) => Command
  /** Which option sets which part of the configuration: attribute of the option -> [setting, flag as typed]. */
  readonly settings?: Partial<Record<keyof F & string, readonly [keyof Config, string]>>
  /** A daemon logs by itself; other commands only with --debug. */
  readonly daemon?: boolean
  readonly run: (context: CommandContext<F>) => Promise<ExitCode>
}

export interface CommandContext<F> {
  readonly flags: F
  readonly args: readonly string[]
  readonly config: Config
  readonly origins: Settings['origins']
  readonly reporter: Reporter
  readonly log: Logger
  /** Aborts at ^C or SIGTERM. */
  readonly signal: AbortSignal
}

const MEANINGS: Record<keyof typeof EXIT, string> = {
  done: 'done',
  failed: 'failed',
  usage: 'usage or configuration',
  incomplete: 'done, but some files were skipped, changed while read or unreadable (each one named)',
  nothingMatched: 'nothing matched',
  noConsent: 'refused without consent',
  tryAgain: 'try again later',
}

/** The end of every `--help`. */
export const EXIT_STATUS = [
  '',
  'Exit status:',
  ...Object.entries(EXIT).map(([name, code]) => `  ${String(code).padEnd(9)} ${MEANINGS[name as keyof typeof EXIT]}`),
  '  130, 143  stopped by a signal',
  '',
].join('\n')

/** Runs one command to the end of the process. */
export async function runCommand<F extends CommonFlags>(spec: CommandSpec<F>, argv: readonly string[]): Promise<void> {
  keepHeapsSmall()
  process.exit(await codeOf(spec, argv))
}

async function codeOf<F extends CommonFlags>(spec: CommandSpec<F>, argv: readonly string[]): Promise<number> {
  const command = spec
    .define(new Command(spec.name))
    .exitOverride()
    .showSuggestionAfterError()
    .allowExcessArguments(false)
    .addHelpText('after', EXIT_STATUS)
    .configureOutput({ writeErr: () => {} }) // said below, in our own words
  try {
    command.parse([...argv], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done // --help, which commander has printed
    const reporter = reporterFor({ json: argv.includes('--json') })
    return end(reporter, sayError(reporter, misused(error, spec.name)))
  }
  const flags = command.opts() as F
  const reporter = reporterFor(flags)
  const debug = flags.debug === true
  const onUncaught = (error: unknown) => process.exit(sayError(reporter, error, debug))
  process.on('uncaughtException', onUncaught)
  const interruption = listenForSignals((signal) => reporter.note(`${signal}: stopping; once more stops at once`))
  const code = await perform().finally(() => {
    interruption.dispose()
    process.off('uncaughtException', onUncaught)
  })
  return end(reporter, code)

  async function perform(): Promise<number> {
    try {
      const { config, origins, notices } = loadConfig({
        flags: settingFlags(spec, flags),
        ...(flags.config !== undefined && { file: flags.config }),
      })
      for (const notice of notices) reporter.warn(notice)
      const log = debug ? createLogger('debug') : spec.daemon ? createLogger(config.logLevel) : silent
      const code = await spec.run({ flags, args: command.args, config, origins, reporter, log, signal: interruption.signal })
      // A daemon that ends in good order was stopped all the same; a command that was done before the signal is done.
      return spec.daemon ? (interruption.exitCode() ?? code) : code
    } catch (error) {
      const stopped = interruption.exitCode()
      if (stopped === undefined) return sayError(reporter, error, debug)
      reporter.note('stopped; nothing false was recorded, and the same command goes on with it')
      return stopped
    }
  }
}

/** What commander says of a command line, in one sentence that says where to look. */
function misused(error: unknown, name: string): unknown {
  if (!(error instanceof CommanderError)) return error
  return new FirnError('usage', `${error.message.replace(/^error: |\.$/g, '').replaceAll('\n', ' ')}; see ${name} --help`)
}

function sayError(reporter: Reporter, error: unknown, debug = false): ExitCode {
  const exitCode = exitCodeOf(error)
  reporter.error(sentenceOf(error), codeNameOf(error), exitCode)
  if (debug && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  return exitCode
}

/** A result that could not be written was not given: the command has failed, whatever it did before. */
async function end(reporter: Reporter, code: number): Promise<number> {
  try {
    await reporter.close()
    return code
  } catch (error) {
    return code === EXIT.done ? sayError(reporter, error) : code
  }
}

function reporterFor(flags: CommonFlags): Reporter {
  return openReporter({
    json: flags.json ?? false,
    quiet: flags.quiet ?? false,
    progress: flags.progress ?? true,
    stdout: process.stdout,
    stderr: process.stderr,
  })
}

function settingFlags<F extends CommonFlags>(spec: CommandSpec<F>, flags: F) {
  const given: Partial<Record<keyof Config, { flag: string; value: string }>> = {}
  for (const [attribute, [setting, flag]] of Object.entries(spec.settings ?? {}) as [
    keyof F & string,
    [keyof Config, string],
  ][]) {
    const value = flags[attribute]
    if (typeof value === 'string') given[setting] = { flag, value }
  }
  return given
}

const codeNameOf = (error: unknown): ErrorCode => (error instanceof FirnError ? error.code : 'failed')

/** One sentence; an error that nobody foresaw says so. */
function sentenceOf(error: unknown): string {
  if (error instanceof FirnError) return error.message
  const text = error instanceof Error ? error.message : String(error)
  return `${text.split('\n')[0]} (unexpected: run again with --debug for where it came from)`
}

/** Options that every command takes. */
export function commonOptions(command: Command): Command {
  return command
    .option('--json', 'NDJSON messages on stdout')
    .option('--quiet', 'print only problems and errors')
    .option('-d, --debug', 'debug log on stderr')
    .option('--config <file>', 'configuration file (default: $XDG_CONFIG_HOME/firn/config.yaml)')
}
