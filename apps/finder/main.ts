#!/usr/bin/env node
/** `find-and-retrieve`: finds archived files and brings them back. */
import { runCommand } from '#libs/runtime/command.js'
import { findCommand } from './command.js'

await runCommand(findCommand('find-and-retrieve'), process.argv.slice(2))
