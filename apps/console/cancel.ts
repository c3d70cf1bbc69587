/** `firn cancel <set>`: ends a set that is under way or was interrupted, wherever it is worked at. */
import { recordEnded } from '#libs/archive/record-set.js'
import { EXIT, FirnError } from '#libs/errors/errors.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { plural } from '#libs/runtime/terminal/sizes.js'

export const cancelCommand: CommandSpec<CommonFlags> = {
  name: 'firn cancel',
  define: (command) =>
    commonOptions(command)
      .description(
        'Ends a set that is under way or was interrupted, on every host: nothing more of it is archived. What is stored stays, and can be found.',
      )
      .argument('<set>', 'its id, as firn status shows it'),
  run: async (context) => {
    const { reporter, args } = context
    await using runtime = openRuntime(context)
    const catalog = await runtime.catalog()
    const id = String(args[0]).toLowerCase()
    if ((await catalog.set(id)) === undefined) {
      throw new FirnError('nothing-matched', `there is no set ${args[0]}; firn status lists them`)
    }
    const bundles = await catalog.cancelSet(id, `cancelled by ${runtime.by}`)
    await recordEnded({ ...runtime, catalog }, { setId: id }).catch(() => {}) // else the next command that writes there does it
    const set = await catalog.set(id)
    if (set?.state !== 'cancelled') throw new FirnError('usage', `Set ${id} is over (${set?.state}): there is nothing to cancel.`)
    const { counts } = set
    reporter.note(
      `set ${id} is cancelled: ${plural(bundles, 'bundle')} will not be archived; ${plural(counts.archived, 'file')} in ${plural(counts.bundlesStored, 'bundle')} stay${counts.archived === 1 ? 's' : ''} archived`,
    )
    if (bundles > 0) reporter.note('a worker that packs one of them at this moment stops within 15 s, and records nothing')
    await reporter.message('summary', {
      set_id: id,
      state: set.state,
      bundles_cancelled: bundles,
      bundles: counts.bundlesStored,
      files_archived: counts.archived,
      exit_code: EXIT.done,
    })
    return EXIT.done
  },
}
