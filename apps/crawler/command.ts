/** `archive-files` as a command: its options, and what runs it, which is loaded only then: `--help` need not wait for it. */
import type { CommandSpec } from '#libs/runtime/command.js'
import { type ArchiveFlags, archiveOptions } from './options.js'

export const archiveCommand = (name: string): CommandSpec<ArchiveFlags> => ({
  name,
  define: archiveOptions,
  settings: {
    filesPerBundle: ['filesPerBundle', '--files-per-bundle'],
    bundleSize: ['bundleBytes', '--bundle-size'],
    vault: ['vaultUrl', '--vault'],
    workers: ['workers', '--workers'],
    host: ['host', '--host'],
  },
  run: async (context) => (await import('./archive.js')).archive(context),
})
