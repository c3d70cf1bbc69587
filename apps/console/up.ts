/** `firn up`: every long-running part in one process. */
import { EXIT } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { asDaemon, HEALTH_PORT_TEXT } from '#libs/runtime/daemon.js'
import { runRetriever, runWorkers } from '#libs/runtime/daemons.js'
import { openRuntime } from '#libs/runtime/runtime.js'

/** As `firn worker` has it by default. */
const GRACE_MS = 30_000

interface UpFlags extends CommonFlags {
  readonly healthPort?: string
}

export const upCommand: CommandSpec<UpFlags> = {
  name: 'firn up',
  daemon: true,
  define: (command) =>
    commonOptions(command)
      .description('Worker and retriever in one process, until it is stopped.')
      .option('--health-port <[address:]port>', HEALTH_PORT_TEXT),
  settings: { healthPort: ['healthPort', '--health-port'] },
  run: async (context) => {
    await using runtime = openRuntime(context)
    await asDaemon(runtime, context, ['worker', 'retriever'], async (metrics) => {
      await Promise.all([
        runWorkers(runtime, context, { graceMs: GRACE_MS, metrics }),
        runRetriever(runtime, context, { once: false, metrics }),
      ])
    })
    return EXIT.done
  },
}
