#!/usr/bin/env node
/** The front door: hands each sub-command to its app, and loads only that one. */
import { EXIT } from '#libs/errors/errors.js'
import { runCommand } from '#libs/runtime/command.js'
import { nearest } from '#libs/runtime/nearest.js'

interface SubCommand {
  readonly what: string
  readonly run: (argv: readonly string[]) => Promise<void>
}

const SUB_COMMANDS: Readonly<Record<string, SubCommand>> = {
  archive: {
    what: 'archive files (archive-files)',
    run: async (argv) => runCommand((await import('./crawler/command.js')).archiveCommand('firn archive'), argv),
  },
  find: {
    what: 'find files and bring them back (find-and-retrieve)',
    run: async (argv) => runCommand((await import('./finder/command.js')).findCommand('firn find'), argv),
  },
  status: {
    what: 'sets and retrievals, and how they stand',
    run: async (argv) => runCommand((await import('./console/status.js')).statusCommand, argv),
  },
  resume: {
    what: 'finish what an interrupted run left',
    run: async (argv) => runCommand((await import('./crawler/resume.js')).resumeCommand, argv),
  },
  cancel: {
    what: 'end a set that is under way or was interrupted',
    run: async (argv) => runCommand((await import('./console/cancel.js')).cancelCommand, argv),
  },
  check: {
    what: 'does the vault hold what the catalog says?',
    run: async (argv) => runCommand((await import('./console/check.js')).checkCommand, argv),
  },
  'rebuild-catalog': {
    what: 'the catalog again, from the vault alone',
    run: async (argv) => runCommand((await import('./console/rebuild-catalog.js')).rebuildCatalogCommand, argv),
  },
  reindex: {
    what: 'the search index again, from the catalog',
    run: async (argv) => runCommand((await import('./console/reindex.js')).reindexCommand, argv),
  },
  doctor: {
    what: 'is everything there that Firn needs?',
    run: async (argv) => runCommand((await import('./console/doctor.js')).doctorCommand, argv),
  },
  config: {
    what: 'the settings in force',
    run: async (argv) => runCommand((await import('./console/config.js')).configCommand, argv),
  },
  migrate: {
    what: 'make or update the tables of a database',
    run: async (argv) => runCommand((await import('./console/migrate.js')).migrateCommand, argv),
  },
  worker: {
    what: 'pack and store bundles until stopped',
    run: async (argv) => runCommand((await import('./worker/command.js')).workerCommand, argv),
  },
  retriever: {
    what: 'watch thaws and complete detached retrievals',
    run: async (argv) => runCommand((await import('./retriever/command.js')).retrieverCommand, argv),
  },
  up: {
    what: 'worker and retriever in one process',
    run: async (argv) => runCommand((await import('./console/up.js')).upCommand, argv),
  },
}

const [name, ...rest] = process.argv.slice(2)
const command = name !== undefined && Object.hasOwn(SUB_COMMANDS, name) ? SUB_COMMANDS[name] : undefined
if (command !== undefined) await command.run(rest)
else if (name === undefined || ['--help', '-h', 'help'].includes(name)) help(name === undefined ? EXIT.usage : EXIT.done)
else {
  const meant = nearest(name, Object.keys(SUB_COMMANDS))
  process.stderr.write(`firn: there is no command ${JSON.stringify(name)}; did you mean ${meant}? See firn --help\n`)
  process.exitCode = EXIT.usage
}

function help(exitCode: number): void {
  const lines = Object.entries(SUB_COMMANDS).map(([command, { what }]) => `  ${command.padEnd(17)}${what}`)
  const stream = exitCode === EXIT.done ? process.stdout : process.stderr
  stream.write(`Usage: firn <command> [options]\n\nCommands:\n${lines.join('\n')}\n\nfirn <command> --help says the rest.\n`)
  process.exitCode = exitCode
}
