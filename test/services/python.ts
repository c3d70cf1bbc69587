/** Servers that come from PyPI: each in a virtual environment of its own, kept from run to run. */
import { execFileSync } from 'node:child_process'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Makes the environment below `directory` with these packages, unless it is there whole. */
export function installPython(directory: string, packages: readonly string[]): void {
  const venv = join(directory, 'venv')
  const whole = join(venv, 'installed')
  if (existsSync(whole)) return
  rmSync(venv, { recursive: true, force: true }) // an install that was broken off
  execFileSync('python3', ['-m', 'venv', venv], { stdio: 'inherit' })
  execFileSync(join(venv, 'bin', 'pip'), ['install', '-q', '--disable-pip-version-check', ...packages], { stdio: 'inherit' })
  writeFileSync(whole, `${packages.join('\n')}\n`)
}

export const pythonProgram = (directory: string, name: string): string => join(directory, 'venv', 'bin', name)
