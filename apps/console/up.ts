/** `firn up`: every long-running part in one process. */
import { EXIT } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { runRetriever, runWorkers } from '#libs/runtime/daemons.js'
import { openRuntime } from '#libs/runtime/runtime.js'

/** As `firn worker` has it by default. */
const GRACE_MS = 30_000

export const upCommand: CommandSpec<CommonFlags> = {
  name: 'firn up',
  daemon: true,
  define: (command) => commonOptions(command).description('Worker and retriever in one process, until it is stopped.'),
  run: async (context) => {
    await using runtime = openRuntime(context)
    await Promise.all([runWorkers(runtime, context, GRACE_MS), runRetriever(runtime, context, { once: false })])
    return EXIT.done
  },
}
