/** `firn retriever`: asks for thaws and watches them, and completes the retrievals that were made with --detach. */
import { EXIT } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { asDaemon, HEALTH_PORT_TEXT } from '#libs/runtime/daemon.js'
import { runRetriever } from '#libs/runtime/daemons.js'
import { openRuntime } from '#libs/runtime/runtime.js'

interface RetrieverFlags extends CommonFlags {
  readonly once?: boolean
  readonly healthPort?: string
}

export const retrieverCommand: CommandSpec<RetrieverFlags> = {
  name: 'firn retriever',
  daemon: true,
  define: (command) =>
    commonOptions(command)
      .description('Asks for thaws and watches them; fetches, verifies and places what was asked for with --detach.')
      .option('--once', 'look once at every open retrieval, and end')
      .option('--health-port <[address:]port>', HEALTH_PORT_TEXT),
  settings: { healthPort: ['healthPort', '--health-port'] },
  run: async (context) => {
    await using runtime = openRuntime(context)
    if (context.flags.once) await runRetriever(runtime, context, { once: true })
    else {
      await asDaemon(runtime, context, ['retriever'], (metrics) => runRetriever(runtime, context, { once: false, metrics }))
    }
    return EXIT.done
  },
}
