/** `firn config [--origin]`: the settings in force, and where each came from. */
import { EXIT } from '#libs/errors/errors.js'
import { redacted } from '#libs/errors/redacted.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { type Config, SETTING_KEYS, variableOf } from '#libs/runtime/config.js'

interface ConfigFlags extends CommonFlags {
  readonly origin?: boolean
}

function shownValue(config: Config, key: keyof Config): string | number | boolean {
  if (key === 'vaults') return config.vaults.map(redacted).join(' ')
  if (key === 'roots') return (config.roots ?? []).join(' ')
  const value = config[key]
  return key.endsWith('Url') ? redacted(String(value)) : (value as string | number | boolean)
}

export const configCommand: CommandSpec<ConfigFlags> = {
  name: 'firn config',
  define: (command) =>
    commonOptions(command)
      .description('Prints the settings in force. Passwords are not shown.')
      .option('--origin', 'and where each one came from'),
  run: async ({ flags, config, origins, reporter }) => {
    for (const key of SETTING_KEYS) {
      const value = shownValue(config, key)
      await reporter.result(`${variableOf(key)}=${value}${flags.origin ? `\t${origins[key]}` : ''}`)
      await reporter.message('status', { setting: variableOf(key), value, ...(flags.origin && { origin: origins[key] }) })
    }
    return EXIT.done
  },
}
