#!/usr/bin/env node
/** `archive-files`: puts a tree away. */
import { runCommand } from '#libs/runtime/command.js'
import { archiveCommand } from './command.js'

await runCommand(archiveCommand('archive-files'), process.argv.slice(2))
