/** `firn worker`: packs and stores bundles until it is stopped; then finishes what it has begun, within its grace. */
import { EXIT, FirnError } from '#libs/errors/errors.js'
import { type CommandContext, type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { asDaemon, HEALTH_PORT_TEXT } from '#libs/runtime/daemon.js'
import { runWorkers } from '#libs/runtime/daemons.js'
import { openRuntime } from '#libs/runtime/runtime.js'

interface WorkerFlags extends CommonFlags {
  readonly grace: string
  readonly workers?: string
  readonly healthPort?: string
}

export const workerCommand: CommandSpec<WorkerFlags> = {
  name: 'firn worker',
  daemon: true,
  define: (command) =>
    commonOptions(command)
      .description('Packs and stores bundles, and indexes them, until it is stopped.')
      .option('--grace <seconds>', 'how long bundles may go on after a stop, before they are handed back', '30')
      .option('--workers <n>', 'bundles packed at a time (default: the number of cores)')
      .option('--health-port <[address:]port>', HEALTH_PORT_TEXT),
  settings: { workers: ['workers', '--workers'], healthPort: ['healthPort', '--health-port'] },
  run: async (context: CommandContext<WorkerFlags>) => {
    const graceMs = 1000 * graceFrom(context.flags.grace)
    await using runtime = openRuntime(context)
    await asDaemon(runtime, context, ['worker'], (metrics) => runWorkers(runtime, context, { graceMs, metrics }))
    return EXIT.done
  },
}

function graceFrom(text: string): number {
  const seconds = Number(text)
  if (!/^\d+$/.test(text) || seconds > 86_400)
    throw new FirnError('usage', `--grace takes seconds up to 86400, not ${JSON.stringify(text)}`)
  return seconds
}
