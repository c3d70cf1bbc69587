/** `firn resume [set]`: finishes what an interrupted run left. */
import { resumeSets } from '#libs/archive/archive-run.js'
import { EXIT, type ExitCode, FirnError } from '#libs/errors/errors.js'
import { type CommandContext, type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { codeOf, openRun, summarise, worstOf } from './run.js'

interface ResumeFlags extends CommonFlags {
  readonly workers?: string
}

export const resumeCommand: CommandSpec<ResumeFlags> = {
  name: 'firn resume',
  define: (command) =>
    commonOptions(command)
      .description(
        'Finishes a set whose run was interrupted, with the options it was begun with; without a set, every one of this host.',
      )
      .argument('[set]', 'its id, as firn status shows it')
      .option('--workers <n>', 'bundles packed at a time by this command (default: the number of cores)'),
  settings: { workers: ['workers', '--workers'] },
  run: resume,
}

async function resume(context: CommandContext<ResumeFlags>): Promise<ExitCode> {
  const { args, config, reporter } = context
  const began = performance.now()
  await using runtime = openRuntime(context)
  const setId = args[0]?.toLowerCase()
  const catalog = await runtime.catalog()
  if (setId !== undefined && (await catalog.set(setId)) === undefined) {
    throw new FirnError('nothing-matched', `there is no set ${args[0]}; firn status lists them`)
  }
  const run = await openRun(context, runtime)
  await run.perform(() => resumeSets(run.parts, { host: config.host, ...(setId !== undefined && { setId }) }, run.options))
  const seconds = (performance.now() - began) / 1000
  for (const [at, one] of run.resumed.entries()) {
    if ('set' in one) await summarise(context, one.set, { seconds, resumed: run.resumed.slice(0, at) })
  }
  if (run.resumed.length === 0) {
    reporter.note('nothing of this host was interrupted')
    await reporter.message('summary', { exit_code: EXIT.done })
  }
  return worstOf(run.resumed.map(codeOf))
}
