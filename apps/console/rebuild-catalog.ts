/** `firn rebuild-catalog --from <vault url>`: the catalog again, from the manifests alone. */
import { catchUpIndex } from '#libs/archive/index-bundle.js'
import { claimVault, ownerOf } from '#libs/archive/own-vault.js'
import { rebuildCatalog } from '#libs/archive/rebuild-catalog.js'
import { EXIT, isFirnError } from '#libs/errors/errors.js'
import { shownText } from '#libs/os/raw.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { vaultFromFlag } from '#libs/runtime/config.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { plural } from '#libs/runtime/terminal/sizes.js'

interface RebuildFlags extends CommonFlags {
  readonly from: string
  readonly takeOver?: boolean
  readonly acceptDates?: boolean
}

export const rebuildCatalogCommand: CommandSpec<RebuildFlags> = {
  name: 'firn rebuild-catalog',
  define: (command) =>
    commonOptions(command)
      .description(
        'Adopts every bundle of a vault that the catalog does not know, from its manifests alone; also into a catalog that is not empty. Retrievals, problems and sets without a bundle cannot be rebuilt.',
      )
      .requiredOption('--from <vault url>', 'the vault, such as local:/srv/vault')
      .option('--take-over', 'this catalog writes the vault from now on')
      .option('--accept-dates', "of manifests dated in the future, take the time of the vault's object instead of refusing them"),
  run: async (context) => {
    const { flags, reporter, signal } = context
    const url = vaultFromFlag(flags.from, '--from')
    await using runtime = openRuntime(context)
    await runtime.vaults.permit(url)
    const vault = await runtime.vaults.open(url)
    const [catalog, index] = await Promise.all([runtime.catalog(), runtime.index()])
    if (flags.takeOver) {
      const before = await ownerOf(vault, { signal })
      await claimVault(vault, catalog.catalogId, { takeOver: true, signal })
      await catalog.audit({ kind: 'take-over', by: runtime.by, subject: vault.id, detail: { owner_before: before ?? null } })
    }
    let bundles = 0
    let files = 0
    const rebuilt = await rebuildCatalog({ catalog }, vault, url, {
      signal,
      acceptDates: flags.acceptDates ?? false,
      onAdopted: (_names, entries) => {
        bundles++
        files += entries
        reporter.progress({ label: 'rebuilding', files, bytes: 0, note: plural(bundles, 'bundle') })
      },
      onTrouble: (key, reason) => reporter.warn(shownText(`${key}: ${reason}`)),
    })
    try {
      await catchUpIndex({ catalog, index }, { signal })
      await index.settle({ signal })
    } catch (error) {
      if (!isFirnError(error, 'search-away')) throw error
      reporter.warn(`${error.message} What was adopted becomes searchable then.`)
    }
    const owner = await ownerOf(vault, { signal })
    if (owner !== undefined && owner !== catalog.catalogId) {
      reporter.note('another catalog writes this vault; this one only reads it, until rebuild-catalog --take-over')
    }
    const exitCode = rebuilt.failed > 0 ? EXIT.failed : rebuilt.refused > 0 ? EXIT.incomplete : EXIT.done
    reporter.note(
      `adopted ${plural(rebuilt.adopted, 'bundle')} with ${plural(files, 'entry', 'entries')}; ${rebuilt.known} known already${rebuilt.refused > 0 ? `; ${plural(rebuilt.refused, 'bundle')} refused` : ''}${rebuilt.failed > 0 ? `; ${plural(rebuilt.failed, 'bundle')} could not be read` : ''}. Retrievals, problems and sets without a bundle cannot be rebuilt.`,
    )
    await reporter.message('summary', { ...rebuilt, exit_code: exitCode })
    return exitCode
  },
}
