/** `firn reindex`: the search index again, from the catalog. */
import { catchUpIndex } from '#libs/archive/index-bundle.js'
import { EXIT } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { plural } from '#libs/runtime/terminal/sizes.js'

export const reindexCommand: CommandSpec<CommonFlags> = {
  name: 'firn reindex',
  define: (command) => commonOptions(command).description('Drops the search index and makes it again from the catalog.'),
  run: async (context) => {
    const { reporter, signal } = context
    await using runtime = openRuntime(context)
    const [catalog, index] = await Promise.all([runtime.catalog(), runtime.index()])
    await catalog.forgetIndexed()
    await index.clear({ signal })
    let bundles = 0
    await catchUpIndex(
      { catalog, index },
      { signal, onBundle: () => reporter.progress({ label: 'indexing', files: 0, bytes: 0, note: plural(++bundles, 'bundle') }) },
    )
    await index.settle({ signal })
    reporter.note(`indexed ${plural(bundles, 'bundle')}`)
    await reporter.message('summary', { bundles, exit_code: EXIT.done })
    return EXIT.done
  },
}
