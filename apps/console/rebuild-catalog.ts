/** `firn rebuild-catalog --from <vault url>`: the catalog again, from the manifests alone. */
import { catchUpIndex } from '#libs/archive/index-bundle.js'
import { claimVault, mustBeThere, noteOf, OWNER_KEY, type VaultNote } from '#libs/archive/own-vault.js'
import { holdsBundles, rebuildCatalog } from '#libs/archive/rebuild-catalog.js'
import type { Catalog } from '#libs/catalog/catalog.js'
import { EXIT, FirnError, isFirnError } from '#libs/errors/errors.js'
import { shownText } from '#libs/os/raw.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { vaultFromFlag } from '#libs/runtime/config.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { plural } from '#libs/runtime/terminal/sizes.js'
import type { Vault } from '#libs/vault/vault.js'

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
        'Adopts every bundle of a vault that the catalog does not know, from its manifests, and restores its sets from their records; also into a catalog that is not empty. Names what the records list and the vault does not hold. Retrievals cannot be rebuilt.',
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
    const note = await noteHere({ catalog }, vault, { signal, takeOver: flags.takeOver ?? false })
    if (flags.takeOver) {
      await claimVault(vault, { catalog, url }, { takeOver: true, signal })
      await catalog.audit({
        kind: 'take-over',
        by: runtime.by,
        subject: vault.id,
        detail: { owner_before: note?.catalog ?? null },
      })
    } else if (note?.vault !== undefined) await catalog.recogniseVault({ id: vault.id, url }, note.vault)
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
      onLost: ({ bundle, key, files: lost }) =>
        reporter.warn(
          shownText(
            `bundle ${bundle} with ${plural(lost, 'file')} is not in ${vault.id}, though the record of its set lists it (${key})`,
          ),
        ),
      onStray: (key) =>
        reporter.note(shownText(`${key} has no tar: a stopped attempt leaves such a manifest, and nothing is lost by it`)),
    })
    try {
      await catchUpIndex({ catalog, index }, { signal })
      await index.settle({ signal })
    } catch (error) {
      if (!isFirnError(error, 'search-away')) throw error
      reporter.warn(`${error.message} What was adopted becomes searchable then.`)
    }
    if (note !== undefined && note.catalog !== catalog.catalogId && !flags.takeOver) {
      reporter.note('another catalog writes this vault; this one only reads it, until rebuild-catalog --take-over')
    }
    const { adopted, known, refused, failed, lost, sets, unread } = rebuilt
    const nothingRead = adopted + known === 0 && refused + failed > 0
    const exitCode = nothingRead ? EXIT.failed : refused + failed + lost + unread > 0 ? EXIT.incomplete : EXIT.done
    const parts = [
      `adopted ${plural(adopted, 'bundle')} with ${plural(files, 'entry', 'entries')}`,
      `${known} known already`,
      ...(sets > 0 ? [`${plural(sets, 'set')} restored`] : []),
      ...(refused > 0 ? [`${plural(refused, 'bundle')} refused`] : []),
      ...(failed > 0 ? [`${plural(failed, 'bundle')} could not be read`] : []),
      ...(unread > 0 ? [`the records of ${plural(unread, 'set')} could not be read`] : []),
      ...(lost > 0 ? [`${plural(lost, 'bundle')} LOST, each named above`] : []),
    ]
    reporter.note(`${parts.join('; ')}. Retrievals cannot be rebuilt.`)
    await reporter.message('summary', { ...rebuilt, exit_code: exitCode })
    return exitCode
  },
}

/**
 * What is to be rebuilt from must be a vault: one that the catalog knows must show itself, any other holds a note or at least a bundle.
 * Makes nothing. `takeOver`: a note that was lost is written again, where bundles show that this is a vault.
 */
async function noteHere(
  { catalog }: { catalog: Pick<Catalog, 'catalogId' | 'knownVault'> },
  vault: Vault,
  { signal, takeOver }: { signal: AbortSignal; takeOver: boolean },
): Promise<VaultNote | undefined> {
  const known = await catalog.knownVault(vault.id)
  try {
    const note = await noteOf(vault, { signal })
    if (note !== undefined && takeOver) return note
    if (known !== undefined && (note !== undefined || !takeOver)) return await mustBeThere(catalog, vault, known, { signal })
    if (note !== undefined || (await holdsBundles(vault, { signal }))) return note
  } catch (error) {
    if (known !== undefined || !isFirnError(error, 'vault-away')) throw error
  }
  if (known !== undefined) return await mustBeThere(catalog, vault, known, { signal })
  throw new FirnError(
    'usage',
    `${vault.id} is no vault of Firn's: it holds neither ${OWNER_KEY} nor a bundle. Is the URL right, and its disk mounted?`,
  )
}
