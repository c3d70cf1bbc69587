/** `firn reindex`: the search index again, from the catalog. */
import { rebuildIndex } from '#libs/archive/rebuild-index.js'
import { EXIT } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { plural } from '#libs/runtime/terminal/sizes.js'

export const reindexCommand: CommandSpec<CommonFlags> = {
  name: 'firn reindex',
  define: (command) =>
    commonOptions(command).description(
      'Makes the search index again from the catalog. Meanwhile the old one answers, and archiving goes on.',
    ),
  run: async (context) => {
    const { reporter, signal } = context
    await using runtime = openRuntime(context)
    const [catalog, index] = await Promise.all([runtime.catalog(), runtime.index()])
    let done = 0
    const bundles = await rebuildIndex(
      { catalog, index },
      {
        signal,
        onBundles: (more) => {
          done += more
          reporter.progress({ label: 'indexing', files: 0, bytes: 0, note: plural(done, 'bundle') })
        },
      },
    )
    reporter.note(`indexed ${plural(bundles, 'bundle')}`)
    await reporter.message('summary', { bundles, exit_code: EXIT.done })
    return EXIT.done
  },
}
