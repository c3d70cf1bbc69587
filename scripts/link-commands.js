#!/usr/bin/env node
// Makes `npx archive-files` work inside a clone: npm links the commands of dependencies, never those of the project itself. They stand
// under "commands" and not under "bin", because for a "bin" of the project npx first installs the project into its own cache.
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'

const project = new URL('..', import.meta.url)
const { commands } = JSON.parse(readFileSync(new URL('package.json', project), 'utf8'))
const links = new URL('node_modules/.bin/', project)

mkdirSync(links, { recursive: true })
for (const [command, file] of Object.entries(commands)) {
  chmodSync(new URL(file, project), 0o755)
  rmSync(new URL(command, links), { force: true })
  symlinkSync(`../../${file}`, new URL(command, links))
}
