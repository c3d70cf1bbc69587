/** `firn retriever`: asks for thaws and watches them, and completes the retrievals that were made with --detach. */
import { EXIT } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { runRetriever } from '#libs/runtime/daemons.js'
import { openRuntime } from '#libs/runtime/runtime.js'

interface RetrieverFlags extends CommonFlags {
  readonly once?: boolean
}

export const retrieverCommand: CommandSpec<RetrieverFlags> = {
  name: 'firn retriever',
  daemon: true,
  define: (command) =>
    commonOptions(command)
      .description('Asks for thaws and watches them; fetches, verifies and places what was asked for with --detach.')
      .option('--once', 'look once at every open retrieval, and end'),
  run: async (context) => {
    await using runtime = openRuntime(context)
    await runRetriever(runtime, context, { once: context.flags.once ?? false })
    return EXIT.done
  },
}
