/** `firn check`: does the vault hold what the catalog says, and nothing that nobody knows? */
import { checkVault } from '#libs/archive/check.js'
import { openKnown } from '#libs/archive/own-vault.js'
import { EXIT, FirnError, isFirnError } from '#libs/errors/errors.js'
import { shown, shownText } from '#libs/os/raw.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { plural } from '#libs/runtime/terminal/sizes.js'
import type { Vault } from '#libs/vault/vault.js'

interface CheckFlags extends CommonFlags {
  readonly readData?: boolean
  readonly subset?: string
}

export const checkCommand: CommandSpec<CheckFlags> = {
  name: 'firn check',
  define: (command) =>
    commonOptions(command)
      .description(
        'Checks every stored bundle against its vault: presence and size, and with --read-data every hash. Deletes nothing.',
      )
      .option('--read-data', 'read every byte, and compare the hashes of bundles and files')
      .option('--subset <n/m>', 'only the n-th of m parts of the bundles'),
  run: async (context) => {
    const { flags, reporter, signal } = context
    const subset = subsetFrom(flags.subset)
    await using runtime = openRuntime(context)
    const catalog = await runtime.catalog()
    let bundles = 0
    let bytes = 0
    let wrong = 0
    let unread = 0
    let away = 0
    for (const { id } of await catalog.vaults()) {
      let vault: Vault
      try {
        vault = await openKnown({ catalog, vaults: runtime.vaults }, id, { signal })
      } catch (error) {
        if (!isFirnError(error, 'vault-away', 'vault-failed')) throw error
        away++ // nothing is said of its bundles, and nothing marked
        reporter.warn(shownText(error.message))
        await reporter.message('problem', { kind: 'vault-away', vault: id, reason: error.message })
        continue
      }
      const findings = checkVault({ catalog }, vault, {
        readData: flags.readData ?? false,
        ...(subset && { subset }),
        signal,
        onBundle: (bundle) => {
          bundles++
          bytes += bundle.bytes
          reporter.progress({ label: 'checking', files: bundles, bytes, note: id })
        },
      })
      for await (const finding of findings) {
        if (finding.kind === 'unread') {
          unread++ // no news of it, good or bad: said in one line below
          continue
        }
        if (finding.kind !== 'no-manifest') wrong++
        const bundle = 'bundle' in finding ? finding.bundle : undefined
        await reporter.result(
          shownText(
            `${finding.kind}: ${bundle ? `bundle ${bundle.id}: ` : `${'key' in finding ? finding.key : ''}: `}${finding.reason}`,
          ),
        )
        for (const path of ('files' in finding && finding.files) || []) await reporter.result(`  damaged file: ${shown(path)}`)
        await reporter.message('problem', {
          kind: finding.kind,
          vault: id,
          bundle_id: bundle?.id,
          key: 'key' in finding ? finding.key : bundle?.key,
          reason: finding.reason,
        })
      }
    }
    const exitCode = wrong > 0 ? EXIT.failed : away > 0 ? EXIT.tryAgain : EXIT.done
    reporter.note(
      `checked ${plural(bundles, 'bundle')}${flags.readData ? (unread > 0 ? ', every byte that can be read' : ', every byte') : ''}: ${wrong > 0 ? `${plural(wrong, 'thing')} wrong` : away > 0 ? 'nothing wrong among them' : 'all is well'}`,
    )
    if (away > 0) reporter.note(`${plural(away, 'vault')} could not be reached, and ${away === 1 ? 'was' : 'were'} not checked`)
    if (unread > 0)
      reporter.note(
        `${plural(unread, 'bundle')} ${unread === 1 ? 'is' : 'are'} cold and ${unread === 1 ? 'was' : 'were'} not read`,
      )
    await reporter.message('summary', { bundles, bytes, wrong, unread, vaults_away: away, exit_code: exitCode })
    return exitCode
  },
}

function subsetFrom(text: string | undefined): { n: number; m: number } | undefined {
  if (text === undefined) return undefined
  const [, n, m] = (/^([1-9]\d*)\/([1-9]\d*)$/.exec(text) ?? []).map(Number)
  if (n === undefined || m === undefined || n > m)
    throw new FirnError('usage', `--subset takes n/m such as 2/7, not ${JSON.stringify(text)}`)
  return { n, m }
}
