/** `find-and-retrieve` as a command: its options, and what runs it, which is loaded only then: `--help` need not wait for it. */
import type { CommandSpec } from '#libs/runtime/command.js'
import { type FindFlags, findOptions } from './options.js'

export const findCommand = (name: string): CommandSpec<FindFlags> => ({
  name,
  define: findOptions,
  run: async (context) => (await import('./find.js')).find(context),
})
