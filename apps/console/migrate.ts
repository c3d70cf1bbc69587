/** `firn migrate`: makes or updates the tables of a database of one's own; the embedded one is updated at every start. */
import { EXIT } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'

export const migrateCommand: CommandSpec<CommonFlags> = {
  name: 'firn migrate',
  define: (command) =>
    commonOptions(command).description('Makes or updates the tables of the database, the queue and the index.'),
  run: async (context) => {
    const { reporter } = context
    await using runtime = openRuntime({ ...context, migrate: true })
    await Promise.all([runtime.catalog(), runtime.queue(), runtime.index()])
    reporter.note('the database is up to date')
    await reporter.message('summary', { exit_code: EXIT.done })
    return EXIT.done
  },
}
